"""Problems as the model sees them: one user message through the tokenizer's chat template."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.types import Problem, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDER = "{statement}"
CHUNK = 256  # prompts that are in memory at once while their lengths are counted


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


def within(
    problems: Sequence[Problem], prompts_of: Callable[[Sequence[Problem]], list[Prompt]], max_prompt_tokens: int
) -> list[Problem]:
    """Return the problems whose prompts have at most ``max_prompt_tokens`` tokens, in order; keeps no prompt.

    Raises:
        UserError: when no prompt is short enough.
    """
    kept: list[Problem] = []
    shortest = math.inf
    for start in range(0, len(problems), CHUNK):
        chunk = problems[start : start + CHUNK]
        lengths = [len(prompt.token_ids) for prompt in prompts_of(chunk)]
        kept += [problem for problem, length in zip(chunk, lengths, strict=True) if length <= max_prompt_tokens]
        shortest = min(shortest, *lengths)
    if not kept:
        raise UserError(
            f"no prompt has at most data.max_prompt_tokens={max_prompt_tokens} tokens (the shortest has {shortest}): "
            "raise it"
        )
    return kept
