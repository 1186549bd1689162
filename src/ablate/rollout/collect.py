"""From problems to the groups of one step: draw, sample and verify, and leave out what the objective refuses.

What a step trains on is a function of (run seed, step) and the weights alone: seeds are derived from what they are
for, and groups are accepted in the order in which their problems were drawn, never in the order in which they ended.
How many problems are drawn ahead, before it is known that they are needed, depends on time and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ablate.config import RolloutConfig
from ablate.config.schedule import num_to_draw
from ablate.errors import UserError
from ablate.rollout.draws import Conditions, Draw, Task, draw_samples
from ablate.rollout.engine import Change
from ablate.rollout.in_flight import InFlight, Sampler
from ablate.types import RolloutGroup


@dataclass(frozen=True)
class CollectStats:
    """What one step drew, up to the last group that it trains on; a short batch counts all ``rollout.max_draws``.

    Shares are of all rollouts of these draws, before any filter, unless the name says otherwise.
    """

    pass_rate: float  # of the rollouts with a verdict
    pass_rate_trained: float  # of the groups handed on
    truncated: float  # share that met the context limit
    length_mean: float  # response tokens
    num_groups: int  # drawn
    num_groups_all_right: int
    num_groups_all_wrong: int
    num_groups_filtered: int  # dropped by the objective's `keep`
    num_groups_failed: int  # dropped for an infrastructure error
    num_infrastructure_errors: int  # rollouts without a verdict after all retries
    is_short: bool  # fewer groups than asked for
    one_outcome: tuple[bool | None, ...]  # of each draw, in draw order; None: a rollout has no verdict. No metric

    def metrics(self) -> dict[str, float]:
        """The same as rows of metrics.jsonl, ``rollout/<name>``."""
        counts = {name: value for name, value in vars(self).items() if name != "one_outcome"}
        return {f"rollout/{name}": float(value) for name, value in counts.items()}


def collect_groups(
    sampler: Sampler,
    conditions: Conditions,
    tasks: Iterator[Task],
    *,
    config: RolloutConfig,
    keeps: Callable[[Sequence[float]], bool],
    seed: int,
    step: int,
    repeat: int = 0,
    share_kept: float = 1.0,
) -> tuple[list[RolloutGroup], CollectStats]:
    """Collect the first ``config.prompts_per_step`` groups, in draw order, that the objective keeps.

    A group is dropped if ``keeps`` refuses its +1/-1 rewards (dynamic sampling, DAPO, arXiv 2503.14476, section 3.2) or
    if one of its rollouts has no verdict. Further problems are drawn while others are still sampled; as soon as the
    batch is decided, what is left of them is aborted.

    Args:
        tasks: problems with their prompts, in the order in which they are to be drawn; endless.
        seed: the run's seed.
        repeat: ``fork.repeat``; samples of another repeat have other random numbers.
        share_kept: a guess of the share of draws that the objective keeps. It changes how many are drawn ahead only.

    Returns:
        The groups in draw order, and what was drawn. There are fewer groups than asked for only with
        ``on_short_batch=train``; then there may be none.

    Raises:
        UserError: with ``on_short_batch=error``, if ``config.max_draws`` are used up before the batch is full.
    """
    drawn: Counter[str] = Counter()
    batch = GroupsInOrder(config.prompts_per_step, config.max_draws, keeps)

    def begin(number: int) -> list[Draw]:
        batch.num_begun += number
        return draw_samples([next(tasks) for _ in range(number)], config.samples_per_prompt, parts, drawn)

    def change(flight: InFlight) -> Change:
        batch.note(flight.newly_verified())
        dropped = flight.drop(batch.not_needed())
        return Change(flight.begin(begin(batch.num_to_begin(share_kept))), dropped)

    parts = (seed, "rollout", step, *([f"repeat {repeat}"] if repeat else []))
    with sampler.in_flight(conditions) as flight:
        while not batch.is_decided:
            first = change(flight).added
            if first:
                sampler.engine.sample(first, flight.on_finish, lambda: change(flight))
            elif not batch.is_decided:
                batch.note(flight.wait_for_verified())
    groups = batch.groups()
    stats = collect_stats(batch.counted(), groups, config.prompts_per_step)
    if stats.is_short and config.on_short_batch == "error":
        raise UserError(short_batch_sentence(stats, len(groups), config))
    return groups, stats


class GroupsInOrder:
    """Which draws make the batch, as their verdicts come in any order."""

    def __init__(self, wanted: int, max_draws: int, keeps: Callable[[Sequence[float]], bool]) -> None:
        self.wanted, self.max_draws, self.keeps = wanted, max_draws, keeps
        self.num_begun = 0
        self.verified: dict[int, RolloutGroup] = {}
        self.is_kept: dict[int, bool] = {}  # by the number of the draw

    def note(self, verified: dict[int, RolloutGroup]) -> None:
        self.verified |= verified
        for number, draw in verified.items():
            self.is_kept[number] = draw.is_whole and self.keeps(draw.rewards)

    @property
    def is_decided(self) -> bool:
        return self._num_counted() is not None

    def _num_counted(self) -> int | None:
        return num_counted([self.is_kept.get(number) for number in range(self.max_draws)], self.wanted)

    def not_needed(self) -> range:
        """The draws that cannot enter the batch, because enough groups before them are kept."""
        kept = sorted(number for number, is_kept in self.is_kept.items() if is_kept)
        return range(kept[self.wanted - 1] + 1 if len(kept) >= self.wanted else self.num_begun, self.num_begun)

    def num_to_begin(self, share_kept: float) -> int:
        """How many further problems to draw now."""
        num_kept = sum(self.is_kept.values())
        num_open = self.num_begun - len(self.is_kept)
        wanted = num_to_draw(self.wanted - num_kept, num_kept, len(self.is_kept), share_kept)
        return max(0, min(wanted - num_open, self.max_draws - self.num_begun))

    def counted(self) -> list[RolloutGroup]:
        """The draws up to the last one that is accepted, once that is decided."""
        return [self.verified[number] for number in range(self._num_counted())]

    def groups(self) -> list[RolloutGroup]:
        """The accepted groups, once they are decided."""
        return [self.verified[n] for n in range(self._num_counted()) if self.is_kept[n]]


def num_counted(is_kept: Sequence[bool | None], wanted: int) -> int | None:
    """How many draws, in draw order, it takes to have ``wanted`` kept ones, or all if there are fewer.

    Args:
        is_kept: for every draw that is allowed; None for one that has no verdict.

    Returns:
        None as long as the answer depends on a draw that has no verdict.
    """
    num_kept = 0
    for number, kept in enumerate(is_kept):
        if kept is None:
            return None
        num_kept += kept
        if num_kept == wanted:
            return number + 1
    return len(is_kept)


def collect_stats(drawn: Sequence[RolloutGroup], accepted: Sequence[RolloutGroup], wanted: int) -> CollectStats:
    """Count what was drawn, verified, dropped and accepted."""
    completions = [completion for draw in drawn for completion in draw.completions]
    verdicts = [verdict for draw in drawn for verdict in draw.verdicts if not verdict.is_infrastructure_error]
    whole = [group for group in drawn if group.is_whole]
    one_outcome = [group.verdicts[0].passed for group in whole if group.has_one_outcome]
    return CollectStats(
        pass_rate=mean([verdict.passed for verdict in verdicts]),
        pass_rate_trained=mean([verdict.passed for group in accepted for verdict in group.verdicts]),
        truncated=mean([not completion.finished for completion in completions]),
        length_mean=mean([len(completion.response_ids) for completion in completions]),
        num_groups=len(drawn),
        num_groups_all_right=sum(one_outcome),
        num_groups_all_wrong=len(one_outcome) - sum(one_outcome),
        num_groups_filtered=len(whole) - len(accepted),
        num_groups_failed=len(drawn) - len(whole),
        num_infrastructure_errors=len(completions) - len(verdicts),
        is_short=len(accepted) < wanted,
        one_outcome=tuple(group.has_one_outcome if group.is_whole else None for group in drawn),
    )


def mean(values: Sequence[float]) -> float:
    """The mean, or 0 for an empty sequence, so that an empty step still has its row."""
    return sum(values) / len(values) if values else 0.0


def short_batch_sentence(stats: CollectStats, num_accepted: int, config: RolloutConfig) -> str:
    return (
        f"only {num_accepted} of {config.prompts_per_step} groups after rollout.max_draws={config.max_draws} draws "
        f"({stats.num_groups_all_right} all right, {stats.num_groups_all_wrong} all wrong, "
        f"{stats.num_groups_failed} without a verdict): raise it, choose problems of another difficulty, or set "
        "rollout.on_short_batch=train"
    )
