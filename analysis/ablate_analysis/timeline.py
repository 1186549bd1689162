"""The seconds of trace.json: what each step waited for, what was hidden, and which resource worked for which share.

The engines and the verifier make a step's batch (its generation), and the trainer trains on it. With ``rollout.lag=0``
the trainer waits for the whole generation; with 1 the next batch is generated while it trains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from ablate.process.activity import VERIFIER
from ablate.records.timeline import Interval, length, union, without
from ablate.records.trace import TRAINER
from ablate_analysis.load import Run

NOT_OF_A_STEP = ("evaluate", "checkpoint", "engine")


@dataclass(frozen=True)
class Span:
    """One bar of the timeline. Times are seconds since the epoch.

    Example: ``Span("trainer", "update", step=3, start=1764265800.0, stop=1764265800.3, args={"step": 3})``
    """

    row: str
    name: str
    step: int
    start: float
    stop: float
    args: dict[str, Any]


@dataclass(frozen=True)
class StepSeconds:
    """The seconds of a step, or the sums of several. Stages that an old trace does not record are NaN."""

    wall: float  # of the trainer, without evaluations and checkpoints
    waited: float  # the trainer waited for its batch
    generation: float  # from the first request to the last verdict
    sampling: float  # some engine sampled a response that the batch received
    sampling_exposed: float  # the trainer waited meanwhile
    verification: float  # some program ran
    verification_exposed: float  # the trainer waited meanwhile, and no engine sampled
    requests: float  # summed over the requests
    programs: float  # summed over the programs

    @property
    def training(self) -> float:
        return self.wall - self.waited


def read_spans(run: Run) -> list[Span]:
    """Every span of a run's trace, in the order of their starts; an old trace has only the trainer's row."""
    events = run.directory.trace.events()
    rows = {event["tid"]: event["args"]["name"] for event in events if event.get("name") == "thread_name"}
    spans = [
        Span(
            row=rows.get(event["tid"], TRAINER),
            name=event["name"],
            step=event["args"]["step"],
            start=event["ts"] / 1e6,
            stop=(event["ts"] + event["dur"]) / 1e6,
            args=event["args"],
        )
        for event in events
        if event.get("ph") == "X"
    ]
    return sorted(spans, key=lambda span: span.start)


def has_rows(spans: Iterable[Span]) -> bool:
    return any(span.row != TRAINER for span in spans)


def engines(spans: Iterable[Span]) -> list[str]:
    """The rows of the engines, in the order in which they first sampled."""
    return list(dict.fromkeys(span.row for span in spans if span.row not in (TRAINER, VERIFIER)))


def trained_steps(spans: Iterable[Span]) -> list[int]:
    """The steps that the trainer finished. A step that was killed is among them once it was repeated."""
    return sorted({span.step for span in spans if span.row == TRAINER and span.name == "update"})


def of_step(spans: Sequence[Span], step: int) -> list[Span]:
    """What trained the step and made its batch, without evaluations; of what was repeated, the last time."""
    mine = [span for span in spans if span.step == step and span.args.get("purpose") != "evaluation"]
    trainer = [span for span in mine if span.row == TRAINER and span.name not in NOT_OF_A_STEP]
    update = [span for span in trainer if span.name == "update"][-1]
    # In an attempt each happens once before the update; later weights are those for an evaluation.
    last = {span.name: span for span in trainer if span.start <= update.start and span.name != "records"}
    records = [span for span in trainer if span.name == "records" and span.start >= update.start]
    batch = [span for span in mine if span.row != TRAINER]
    newest = max((span.args.get("began", 0.0) for span in batch), default=0.0)
    return [*last.values(), *records, *(span for span in batch if span.args.get("began", 0.0) == newest)]


def step_seconds(spans: Sequence[Span], step: int) -> StepSeconds:
    """Where the seconds of one of the ``trained_steps`` went."""
    mine = of_step(spans, step)
    evaluations = intervals(spans, TRAINER, "evaluate")
    trainer = union([(span.start, span.stop) for span in mine if span.row == TRAINER])
    wall, waits = length(without(trainer, evaluations)), intervals(mine, TRAINER, "wait_batch")
    if not has_rows(mine):
        return StepSeconds(wall, length(waits), length(waits), *[math.nan] * 6)
    batch = [span for span in mine if span.row != TRAINER]
    verifications = [span for span in batch if span.name == "verify"]
    sampled = [span for span in batch if span.name == "sample"]
    alone = intervals(batch, VERIFIER, "verify_alone")
    sampling = without(union([(span.start, span.stop) for span in sampled]), alone)
    return StepSeconds(
        wall=wall,
        waited=length(waits),
        generation=max(span.stop for span in batch) - min(span.start for span in batch),
        sampling=length(sampling),
        sampling_exposed=length(both(sampling, waits)),
        verification=sum(span.args["busy_seconds"] for span in verifications),
        verification_exposed=length(both(alone, waits)),
        requests=sum(span.args["request_seconds"] for span in sampled),
        programs=sum(span.args["program_seconds"] for span in verifications),
    )


def intervals(spans: Iterable[Span], row: str, name: str) -> list[Interval]:
    return union([(span.start, span.stop) for span in spans if (span.row, span.name) == (row, name)])


def both(first: Sequence[Interval], second: Sequence[Interval]) -> list[Interval]:
    """The points of time in both; each is the result of ``union``."""
    return without(first, without(first, second))


def measured_steps(spans: Sequence[Span]) -> list[StepSeconds]:
    """The seconds of every step but the first, in which engines warm up; of the first, if there is no other."""
    steps = trained_steps(spans)
    return [step_seconds(spans, step) for step in steps[1:] or steps]


def total(steps: Sequence[StepSeconds]) -> StepSeconds:
    return StepSeconds(*(sum(values) for values in zip(*map(astuple, steps), strict=True)))


def mean(steps: Sequence[StepSeconds]) -> StepSeconds:
    summed = total(steps)
    return StepSeconds(*(getattr(summed, field.name) / len(steps) for field in fields(StepSeconds)))


def speed_up_bound(steps: Sequence[StepSeconds]) -> float:
    """What one batch ahead can gain at most, if no stage slows down another: sum(G + T) / sum(max(G, T)).

    G is the generation of a step's batch, and T the training of the step before, which goes on at the same time.
    """
    pairs = [(after.generation, before.training) for before, after in itertools.pairwise(steps)]
    return sum(map(sum, pairs)) / sum(map(max, pairs)) if pairs else math.nan
