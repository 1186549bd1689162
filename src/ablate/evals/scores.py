"""Evaluation samples as rows, and rows as metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ablate.config import EvalConfig, RunConfig
from ablate.errors import UserError
from ablate.evals.passk import bootstrap_interval, pass_at_k
from ablate.types import Completion, EvalRow, Problem, Verdict, VerdictKind

SUBSETS = ("difficulty", "platform", "month")  # columns of EvalRow by which Pass@1 is split


def eval_rows(
    step: int,
    context: int,
    problem: Problem,
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
) -> list[EvalRow]:
    """One row per sample of a problem, in sample order. Infrastructure errors have rows too, so they are counted."""
    return [
        EvalRow(
            step=step,
            context=context,
            problem_id=problem.id,
            difficulty=problem.difficulty,
            sample=completion.sample,
            num_tokens=len(completion.response_ids),
            finished=completion.finished,
            passed=verdict.passed,
            verdict=verdict.kind.value,
            platform=problem.platform,
            month=problem.date[:7] if problem.date else None,
            passed_second=verdict.passed_second,
        )
        for completion, verdict in zip(completions, verdicts, strict=True)
    ]


def summarise(rows: Sequence[EvalRow], config: EvalConfig) -> dict[str, float]:
    """The metrics of one evaluation, for each context of c tokens and each difficulty, platform and month d.

    ``eval/pass@k/c`` with ``.../low`` and ``.../high`` (95 %, over problems), ``eval/pass@1/c/d``,
    ``eval/truncated/c``, ``eval/length_mean/c`` (response tokens), ``eval/infrastructure_errors/c`` (samples without
    a verdict: no other metric counts them). Where the samples were also verified by ``verify.second_comparison``:
    ``eval/second_pass@1/c`` by that comparison, and ``eval/verdicts_differ/c`` (samples).

    Raises:
        ValueError: for rows of different steps.
    """
    if len({row.step for row in rows}) > 1:
        raise ValueError(f"all rows must be of one step, not of {sorted({row.step for row in rows})}")
    metrics: dict[str, float] = {}
    for context in sorted({row.context for row in rows}):
        metrics |= summarise_context([row for row in rows if row.context == context], context, config)
    return metrics


def summarise_context(rows: Sequence[EvalRow], context: int, config: EvalConfig) -> dict[str, float]:
    """The metrics of one context; ``context`` (tokens) is part of their names."""
    verified = [row for row in rows if row.verdict != VerdictKind.infrastructure_error]
    metrics = {f"eval/infrastructure_errors/{context}": float(len(rows) - len(verified))}
    if not verified:
        return metrics
    metrics[f"eval/truncated/{context}"] = mean([not row.finished for row in verified])
    metrics[f"eval/length_mean/{context}"] = mean([row.num_tokens for row in verified])
    for k in config.pass_at:
        scores = scores_at_k(verified, k)
        if scores:
            low, high = bootstrap_interval(list(scores.values()), config.bootstrap_resamples, config.seed)
            name = f"eval/pass@{k}/{context}"
            metrics |= {name: mean(list(scores.values())), f"{name}/low": low, f"{name}/high": high}
    if any(row.passed_second is not None for row in verified):
        second = by_second_comparison(verified)
        metrics[f"eval/second_pass@1/{context}"] = mean(list(scores_at_k(second, 1).values()))
        differ = sum(row.passed != other.passed for row, other in zip(verified, second, strict=True))
        metrics[f"eval/verdicts_differ/{context}"] = float(differ)
    for column in SUBSETS:
        for value in sorted({getattr(row, column) for row in verified} - {None}):
            scores = scores_at_k([row for row in verified if getattr(row, column) == value], 1)
            metrics[f"eval/pass@1/{context}/{value}"] = mean(list(scores.values()))
    return metrics


def by_second_comparison(rows: Sequence[EvalRow]) -> list[EvalRow]:
    """The same samples, with ``passed`` by ``verify.second_comparison``."""
    return [row if row.passed_second is None else replace(row, passed=row.passed_second) for row in rows]


def scores_at_k(rows: Sequence[EvalRow], k: int) -> dict[str, float]:
    """pass@k of every problem with at least k verified samples."""
    passed: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        passed[row.problem_id].append(row.passed)
    return {name: pass_at_k(len(each), sum(each), k) for name, each in passed.items() if len(each) >= k}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def check_count(config: RunConfig, num_problems: int) -> None:
    """Raise ``UserError`` unless the evaluation set has the number of problems that its benchmark has."""
    expected = config.eval.expected_problems
    if expected is not None and num_problems != expected:
        raise UserError(
            f"{config.data.eval} holds {num_problems} problems whose prompts fit data.max_prompt_tokens="
            f"{config.data.max_prompt_tokens}, and eval.expected_problems={expected}: use the data set that belongs to "
            f"this evaluation, or set eval.expected_problems={num_problems}"
        )
