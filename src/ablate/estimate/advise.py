"""Which single changes would shorten a run, and which of them together: the rows of conf/advise.yaml, estimated.

Everything is asked of the estimator that ``ablate.estimate`` uses, for the same number of devices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.cli import CONF_DIR, changed, compose
from ablate.config import ParallelConfig, RunConfig, parse
from ablate.errors import UserError
from ablate.estimate.cells import estimates_of
from ablate.estimate.collect import Collected
from ablate.estimate.device import AssumptionsConfig, DeviceConfig
from ablate.estimate.estimator import Estimator
from ablate.estimate.machine import memory_warnings
from ablate.estimate.memory import rank_memory
from ablate.estimate.page import Table, number
from ablate.estimate.shape import shape_of
from ablate.estimate.training import layout_of
from ablate.files import read_yaml

WORTH = 0.995  # of the hours before: a change that saves less is left out of a combination
TIMES = re.compile(r"\{([\w.]+)\*([\d.]+)\}")


@dataclass(frozen=True)
class Alternative:
    """One change. Example: ``Alternative("lag", ("rollout.lag=1",), "batches are one step old", off_policy=True)``"""

    group: str
    words: tuple[str, ...]
    changes: str | None
    off_policy: bool = False


@dataclass(frozen=True)
class Tried:
    """What an alternative, or several together, would take; ``fault`` says why they cannot be."""

    hours: float
    devices: str  # that train + that sample
    fault: str | None


@dataclass
class Advisor:
    """Estimates one run under other words."""

    words: Sequence[str]  # the run's overrides
    layouts: dict[str, ParallelConfig]  # of conf/parallel, for this model
    device: DeviceConfig
    assumptions: AssumptionsConfig
    lengths_of: str | None
    simulated: dict[Any, Collected]  # many alternatives share batches and evaluations

    def __post_init__(self) -> None:
        self.composed: dict[tuple[str, ...], Any] = {}  # by the choices of groups
        self.results: dict[tuple[str, ...], Tried | None] = {}
        self.config, self.num_devices = self.configured(()), 0
        estimate = self._estimator(self.config, self.assumptions).run()
        self.num_devices = estimate.num_trainers + estimate.num_samplers
        self.present = self.tried(())

    def configured(self, words: Sequence[str]) -> RunConfig:
        """The run's configuration with these words in addition."""
        choices = tuple(word for word in words if "." not in word.partition("=")[0])
        if choices not in self.composed:
            by_key = {word.partition("=")[0]: word for word in (*self.words, *choices)}
            self.composed[choices] = compose(list(by_key.values()))
        return parse(changed(self.composed[choices], [word for word in words if word not in choices]))

    def _estimator(self, config: RunConfig, assumptions: AssumptionsConfig) -> Estimator:
        (estimator,) = estimates_of([config], self.device, assumptions, self.lengths_of, self.simulated).values()
        return estimator

    def tried(self, alternatives: Iterable[Alternative]) -> Tried | None:
        """What the run would take; None where the changes contradict its configuration, or change nothing."""
        words = tuple(word for each in alternatives for word in each.words)
        if words not in self.results:
            try:
                config = self.configured(words)
                self.results[words] = None if words and config == self.config else self._tried(config)
            except UserError:
                self.results[words] = None
        return self.results[words]

    def _tried(self, config: RunConfig) -> Tried | None:
        engine, device = config.rollout.engine, self.device
        left = self.num_devices - layout_of(config.parallel).world_size
        has_servers, servers = engine.placement == "servers", left // engine.tensor_parallel
        if left < 0 or (has_servers and not servers and not engine.share_gpus):
            return None
        estimator = self._estimator(config, replace(self.assumptions, servers=max(1, servers)))
        estimate, fault = estimator.run(), None
        rank = rank_memory(estimator.shape, config.parallel).on(device)
        if memory_warnings(config, device, estimator.shape):
            fault = "a rank does not fit the device"
        elif not (has_servers or device.is_cpu) and rank > (1 - engine.gpu_memory_utilization) * device.memory_bytes:
            fault = "a rank and the engine do not fit one device"
        elif estimate.kv_tokens < config.longest_context:
            fault = "a cache does not hold the longest row"
        return Tried(estimate.hours, f"{estimate.num_trainers} + {estimate.num_samplers}", fault)

    def alternatives(self) -> list[Alternative]:
        """Every layout, with servers on the devices that it leaves or else on its own; the rows of conf/advise.yaml."""
        found = [Alternative("GPUs", self.words_of_layout(name), None) for name in self.layouts]
        for row in read_yaml(Path(CONF_DIR, "advise.yaml"))["alternatives"]:
            found.append(Alternative(**{**row, "words": tuple(TIMES.sub(self.times, word) for word in row["words"])}))
        return found

    def words_of_layout(self, name: str) -> tuple[str, ...]:
        parallel, words = self.layouts[name], (f"parallel={name}",)
        if self.config.rollout.engine.placement != "servers":
            return words
        if layout_of(parallel).world_size < self.num_devices:
            return (*words, "rollout.engine.share_gpus=false")
        resting = rank_memory(shape_of(self.config.model.architecture), parallel).at_rest(self.device)
        room = math.floor(100 * (1 - resting / self.device.memory_bytes)) / 100
        share = min(self.config.rollout.engine.gpu_memory_utilization, room)
        return (*words, "rollout.engine.share_gpus=true", f"rollout.engine.gpu_memory_utilization={share}")

    def times(self, match: re.Match[str]) -> str:
        """The present value of a key times a factor."""
        found: Any = self.config
        for part in match[1].split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        times = found and found * float(match[2])
        return f"{times:.3g}" if isinstance(found, float) else str(times and max(1, round(times)))

    def combined(self, singles: dict[Alternative, Tried]) -> list[tuple[Alternative, Tried]]:
        """The changes that shorten the run together and keep it on policy, in the order in which they are taken.

        First those that change nothing but hours, then the others. Groups come in the order of what their best row
        saves alone; of each the row is taken that saves most next to those before. The first is asked again at the end.
        """
        taken: dict[str, Alternative] = {}
        best = self.present
        for is_free in (True, False):
            rows = [row for row in singles if (row.changes is None) == is_free and not row.off_policy]
            order = list(dict.fromkeys(row.group for row in sorted(rows, key=lambda row: singles[row].hours)))
            for group in (*order, *order[:1]):
                tries = [(self.tried({**taken, group: row}.values()), row) for row in rows if row.group == group]
                found = [(each.hours, row) for each, row in tries if each is not None and each.fault is None]
                hours, row = min(found, key=lambda pair: pair[0], default=(best.hours, None))
                if row is not None and (hours < WORTH * best.hours or best.fault):
                    taken[group] = row
                    best = self.tried(taken.values())
        rows = list(taken.values())
        return [(row, self.tried(rows[: index + 1])) for index, row in enumerate(rows)]

    def page(self) -> tuple[list[Table], str]:
        """The tables of single changes and of those that go together, and the words that take all of these."""
        singles = {each: tried for each in self.alternatives() if (tried := self.tried([each])) is not None}
        by_hours = sorted(singles.items(), key=lambda pair: (pair[1].fault is not None, pair[1].hours))
        steps = [(Alternative("", ("as it is",), ""), self.present), *self.combined(singles)]
        befores = [self.present, *(tried for _, tried in steps)]
        words = " ".join(word for each, _ in steps[1:] for word in each.words)
        tables = [
            table("One change at a time", by_hours, [self.present] * len(by_hours)),
            table("Together, on policy", steps, befores),
        ]
        return tables, f"All of them: {words}" if words else "No change that keeps the run on policy shortens it."


def table(title: str, rows: Sequence[tuple[Alternative, Tried]], befores: Sequence[Tried]) -> Table:
    """One row for each alternative, with the hours that it saves of those before."""
    cells = []
    for (each, tried), before in zip(rows, befores, strict=False):
        changes = tried.fault or ("nothing but hours" if each.changes is None else each.changes)
        saved = "-" if tried.fault else number(before.hours - tried.hours)
        cells.append((" ".join(each.words), tried.devices, number(tried.hours), saved, changes))
    return Table(title, ("", "devices: train + sample", "hours", "saved", "what it changes"), tuple(cells))
