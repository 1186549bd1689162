"""The benchmark's table: Pass@1 of an evaluation, in total and by difficulty, platform and month."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.config import EvalConfig
from ablate.evals.passk import bootstrap_interval
from ablate.evals.scores import SUBSETS, by_second_comparison, mean, scores_at_k
from ablate.types import EvalRow, VerdictKind

Line = tuple[str, str, list[str]]  # subset, number of problems, a score for each context


def benchmark_table(rows: Sequence[EvalRow], config: EvalConfig) -> str:
    """Return a markdown table: a line for each subset of the problems, a column for each context.

    A cell is Pass@1 in percent with its 95 % interval over problems. Samples without a verdict count nowhere.

    Args:
        rows: of one step; all contexts.
    """
    contexts = sorted({row.context for row in rows})
    lines = [line_of("all problems", rows, contexts, config)]
    if any(row.passed_second is not None for row in rows):
        lines.append(line_of("by verify.second_comparison", by_second_comparison(rows), contexts, config))
    for column in SUBSETS:
        values = sorted({getattr(row, column) for row in rows} - {None}, key=by_difficulty)
        if len(values) > 1:
            lines += [
                line_of(value, [row for row in rows if getattr(row, column) == value], contexts, config)
                for value in values
            ]
    header = ["Pass@1, %", "problems", *(f"{context:,} tokens" if context else "samples" for context in contexts)]
    body = [[name, count, *scores] for name, count, scores in lines]
    widths = [max(len(row[index]) for row in [header, *body]) for index in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, rule, *body]
    )


def by_difficulty(name: str) -> tuple[int, str]:
    """easy, medium, hard, as people order them; all others by name."""
    known = ("easy", "medium", "hard")
    return (known.index(name) if name in known else len(known), name)


def line_of(name: str, rows: Sequence[EvalRow], contexts: Sequence[int], config: EvalConfig) -> Line:
    scores = [score([row for row in rows if row.context == context], config) for context in contexts]
    return name, str(len({row.problem_id for row in rows})), scores


def score(rows: Sequence[EvalRow], config: EvalConfig) -> str:
    """Pass@1 with its interval, or a dash when no sample has a verdict."""
    verified = [row for row in rows if row.verdict != VerdictKind.infrastructure_error]
    score_P = list(scores_at_k(verified, 1).values())
    if not score_P:
        return "-"
    low, high = bootstrap_interval(score_P, config.bootstrap_resamples, config.seed)
    return f"{100 * mean(score_P):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
