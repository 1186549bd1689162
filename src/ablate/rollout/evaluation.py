"""Evaluation by the very path that training samples with: only the seeds and the context differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ablate.config import EvalConfig
from ablate.evals.evaluate import eval_rows
from ablate.rollout.collect import Decode, Judge, Task, draw_samples, sample_and_judge
from ablate.rollout.engine import Engine
from ablate.types import EvalRow


def evaluate(
    engine: Engine,
    verifier: Judge,
    tasks: Sequence[Task],
    *,
    config: EvalConfig,
    step: int,
    context_length: int,
    infrastructure_retries: int,
    decode: Decode,
) -> list[EvalRow]:
    """Sample ``config.samples_per_problem`` responses of every task and judge them; rows in the order of ``tasks``.

    Seeds depend on (``config.seed``, problem, sample) alone: every arm, step and context is asked the same.

    Args:
        context_length: tokens of prompt and response; ``engine`` was opened for it.
    """
    judged = sample_and_judge(
        engine,
        verifier,
        draw_samples(tasks, config.samples_per_problem, (config.seed, "eval"), Counter()),
        context_length=context_length,
        temperature=config.temperature,
        top_p=config.top_p,
        infrastructure_retries=infrastructure_retries,
        decode=decode,
    )
    return [
        row for each in judged for row in eval_rows(step, context_length, each.problem, each.completions, each.verdicts)
    ]
