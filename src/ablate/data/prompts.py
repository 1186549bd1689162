"""Problems as the model sees them: one user message through the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.types import Problem, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDER = "{statement}"


def make_prompts(problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, template: str) -> list[Prompt]:
    """Return one prompt per problem, in order.

    Args:
        template: the user message, with ``{statement}`` where the statement goes; other braces stand for themselves,
            because statements and templates of programming problems are full of them.

    Raises:
        UserError: when the template has no ``{statement}``.
    """
    if PLACEHOLDER not in template:
        raise UserError(f"data.template={template!r} has no {PLACEHOLDER}: the model would never see the problem")
    return [make_prompt(problem, tokenizer, template) for problem in problems]


def make_prompt(problem: Problem, tokenizer: PreTrainedTokenizerBase, template: str) -> Prompt:
    message = {"role": "user", "content": template.replace(PLACEHOLDER, problem.statement)}
    text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    # The template writes the special tokens itself: adding them again would give the model two.
    token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Prompt(problem_id=problem.id, text=text, token_ids=tuple(token_ids))


def within(prompts: Sequence[Prompt], max_prompt_tokens: int) -> list[Prompt]:
    """Return the prompts of at most ``max_prompt_tokens`` tokens, in order.

    Raises:
        UserError: when none is short enough.
    """
    kept = [prompt for prompt in prompts if len(prompt.token_ids) <= max_prompt_tokens]
    if not kept:
        shortest = min(len(prompt.token_ids) for prompt in prompts)
        raise UserError(
            f"no prompt has at most data.max_prompt_tokens={max_prompt_tokens} tokens (the shortest has {shortest}): "
            "raise it"
        )
    return kept
