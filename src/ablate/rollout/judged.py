"""What came back from sampling and judging, and what a step says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.types import Completion, Problem, RolloutGroup, Verdict


@dataclass(frozen=True)
class Judged:
    """The completions of one draw in sample order, and their verdicts; some may be infrastructure errors."""

    problem: Problem
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def num_infrastructure_errors(self) -> int:
        return sum(verdict.is_infrastructure_error for verdict in self.verdicts)


@dataclass(frozen=True)
class CollectStats:
    """What one step sampled. Shares are of all rollouts sampled, before any filter, unless the name says otherwise."""

    pass_rate: float  # of those judged
    pass_rate_trained: float  # of the groups handed on
    truncated: float  # share that met the context limit
    length_mean: float  # response tokens
    num_groups: int  # sampled
    num_groups_all_right: int
    num_groups_all_wrong: int
    num_groups_filtered: int  # dropped by the objective's `keep`
    num_groups_surplus: int  # good, but the batch was full
    num_groups_failed: int  # dropped for an infrastructure error
    num_infrastructure_errors: int  # rollouts without a verdict after all retries
    num_refill_rounds: int
    is_short: bool  # fewer groups than asked for

    def metrics(self) -> dict[str, float]:
        """The same as rows of metrics.jsonl, ``rollout/<name>``."""
        return {f"rollout/{name}": float(value) for name, value in vars(self).items()}


def whole_groups(judged: Sequence[Judged]) -> list[RolloutGroup]:
    """The draws of which every rollout has a verdict, as groups."""
    whole = [each for each in judged if each.num_infrastructure_errors == 0]
    return [RolloutGroup(each.problem, each.completions, each.verdicts) for each in whole]


def summarise(judged: Sequence[Judged], kept: Sequence[RolloutGroup], wanted: int, num_refills: int) -> CollectStats:
    """Count what was sampled, judged, dropped and kept."""
    completions = [completion for each in judged for completion in each.completions]
    verdicts = [verdict for each in judged for verdict in each.verdicts if not verdict.is_infrastructure_error]
    whole = whole_groups(judged)
    passed = [verdict.passed for verdict in verdicts]
    trained = [verdict.passed for group in kept[:wanted] for verdict in group.verdicts]
    one_outcome = [group.verdicts[0].passed for group in whole if group.has_one_outcome]
    return CollectStats(
        pass_rate=mean(passed),
        pass_rate_trained=mean(trained),
        truncated=mean([not completion.finished for completion in completions]),
        length_mean=mean([len(completion.response_ids) for completion in completions]),
        num_groups=len(judged),
        num_groups_all_right=sum(one_outcome),
        num_groups_all_wrong=len(one_outcome) - sum(one_outcome),
        num_groups_filtered=len(whole) - len(kept),
        num_groups_surplus=max(0, len(kept) - wanted),
        num_groups_failed=len(judged) - len(whole),
        num_infrastructure_errors=len(completions) - len(verdicts),
        num_refill_rounds=num_refills,
        is_short=len(kept) < wanted,
    )


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing, so that an empty step still has its row."""
    return sum(values) / len(values) if values else 0.0
