"""Problems as the model sees them: messages through the tokenizer's chat template."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ablate.data.templates import Templates
from ablate.errors import UserError
from ablate.types import Problem, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 256  # number of prompts in memory at once while their lengths are counted


def make_prompts(problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, templates: Templates) -> list[Prompt]:
    """Return one prompt per problem, in order.

    Raises:
        UserError: for a problem that no template fits.
    """
    return [make_prompt(problem, tokenizer, templates) for problem in problems]


def make_prompt(problem: Problem, tokenizer: PreTrainedTokenizerBase, templates: Templates) -> Prompt:
    messages = [{"role": "user", "content": templates.message_for(problem)}]
    if templates.system is not None:
        messages.insert(0, {"role": "system", "content": templates.system})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    # The template writes the special tokens itself; the tokenizer would add them a second time.
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
