"""From problems to the groups of one step: draw, sample and verify, drop what the objective refuses, refill.

What a step trains on is a function of (run seed, step) and the weights alone: seeds are derived from what they are
for, and groups are accepted in the order in which their problems were drawn, never in the order in which they ended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablate.config import RolloutConfig
from ablate.errors import UserError
from ablate.rollout.draws import Conditions, Sampler, Task, VerifiedDraw, draw_samples
from ablate.types import RolloutGroup


@dataclass(frozen=True)
class CollectStats:
    """What one step sampled. Shares are of all rollouts sampled, before any filter, unless the name says otherwise."""

    pass_rate: float  # of the rollouts with a verdict
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


def collect_groups(
    sampler: Sampler,
    conditions: Conditions,
    take_tasks: Callable[[int], Sequence[Task]],
    *,
    config: RolloutConfig,
    keeps: Callable[[Sequence[float]], bool],
    seed: int,
    step: int,
) -> tuple[list[RolloutGroup], CollectStats]:
    """Collect ``config.prompts_per_step`` groups that the objective keeps, refilling for those it drops.

    A group is dropped if ``keeps`` refuses its +1/-1 rewards (dynamic sampling, DAPO, arXiv 2503.14476, section 3.2) or
    if one of its rollouts has no verdict. Each refill round draws as many problems as the share kept so far makes
    necessary, at most ``prompts_per_step``.

    Args:
        take_tasks: the next n problems with their prompts; called once per round.
        seed: the run's seed.

    Returns:
        The groups in the order in which their problems were drawn, and the statistics. There are fewer groups than
        asked for only with ``on_short_batch=train``; then there may be none.

    Raises:
        UserError: with ``on_short_batch=error``, if the rounds are used up before the batch is full.
    """
    wanted = config.prompts_per_step
    drawn: Counter[str] = Counter()
    verified: list[VerifiedDraw] = []
    groups: list[RolloutGroup] = []
    num_rounds = 0
    while len(groups) < wanted and num_rounds <= config.max_refill_rounds:
        tasks = take_tasks(num_to_draw(wanted, len(groups), len(verified)))
        draws = draw_samples(tasks, config.samples_per_prompt, (seed, "rollout", step), drawn)
        new = sampler.sample_and_verify(draws, conditions)
        verified += new
        groups += [group for group in whole_groups(new) if keeps(group.rewards)]
        num_rounds += 1
    stats = collect_stats(verified, groups, wanted, num_rounds - 1)
    if stats.is_short and config.on_short_batch == "error":
        raise UserError(short_batch_sentence(stats, len(groups), config))
    return groups[:wanted], stats


def num_to_draw(wanted: int, num_kept: int, num_drawn: int) -> int:
    """How many problems to draw next, when ``num_kept`` of the ``num_drawn`` so far were kept."""
    missing = wanted - num_kept
    if num_kept == 0:
        return wanted
    return min(wanted, math.ceil(missing * num_drawn / num_kept))


def whole_groups(verified: Sequence[VerifiedDraw]) -> list[RolloutGroup]:
    """The draws in which every rollout has a verdict, as groups."""
    whole = [each for each in verified if each.num_infrastructure_errors == 0]
    return [RolloutGroup(each.problem, each.completions, each.verdicts) for each in whole]


def collect_stats(
    verified: Sequence[VerifiedDraw], kept: Sequence[RolloutGroup], wanted: int, num_refills: int
) -> CollectStats:
    """Count what was sampled, verified, dropped and kept."""
    completions = [completion for each in verified for completion in each.completions]
    verdicts = [verdict for each in verified for verdict in each.verdicts if not verdict.is_infrastructure_error]
    whole = whole_groups(verified)
    passed = [verdict.passed for verdict in verdicts]
    trained = [verdict.passed for group in kept[:wanted] for verdict in group.verdicts]
    one_outcome = [group.verdicts[0].passed for group in whole if group.has_one_outcome]
    return CollectStats(
        pass_rate=mean(passed),
        pass_rate_trained=mean(trained),
        truncated=mean([not completion.finished for completion in completions]),
        length_mean=mean([len(completion.response_ids) for completion in completions]),
        num_groups=len(verified),
        num_groups_all_right=sum(one_outcome),
        num_groups_all_wrong=len(one_outcome) - sum(one_outcome),
        num_groups_filtered=len(whole) - len(kept),
        num_groups_surplus=max(0, len(kept) - wanted),
        num_groups_failed=len(verified) - len(whole),
        num_infrastructure_errors=len(completions) - len(verdicts),
        num_refill_rounds=num_refills,
        is_short=len(kept) < wanted,
    )


def mean(values: Sequence[float]) -> float:
    """The mean, or 0 for an empty sequence, so that an empty step still has its row."""
    return sum(values) / len(values) if values else 0.0


def short_batch_sentence(stats: CollectStats, num_kept: int, config: RolloutConfig) -> str:
    return (
        f"only {num_kept} of {config.prompts_per_step} groups after {stats.num_refill_rounds} refill rounds "
        f"({stats.num_groups_all_right} all right, {stats.num_groups_all_wrong} all wrong, "
        f"{stats.num_groups_failed} without a verdict, of {stats.num_groups} sampled): raise "
        "rollout.max_refill_rounds, choose problems of another difficulty, or set rollout.on_short_batch=train"
    )
