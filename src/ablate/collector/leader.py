"""The leader's side of the collector: it starts the process, asks it for work, and hands it weights."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from ablate.collector.process import TAKEN, Worker, serve
from ablate.config import RunConfig
from ablate.process.preemption import POLL_S, Preempted, is_preempted
from ablate.records.eval_texts import EvalTexts
from ablate.rollout.vllm.process import children_end_with_us, environment_for_children, prepare_environment
from ablate.rollout.weights.buckets import buckets
from ablate.rollout.weights.shared import SharedBuffer
from ablate.sampling import RolloutBatch, WeightsVersion
from ablate.types import EvalRow

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
MIB = 1024**2
END_TIMEOUT_S = 30.0  # for an engine and the sandboxes to end


class Collector:
    """The leader's side of the process, which a run uses as its ``RolloutSide``.

    ``begin_batch`` and ``begin_evaluation`` return before the work is done. Weights and other calls wait until what was
    started before is done.
    """

    def __init__(self, config: RunConfig) -> None:
        prepare_environment(config.rollout.engine)
        self._line, theirs = multiprocessing.Pipe()
        device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, device))
        with environment_for_children(config.rollout.engine.num_threads), children_end_with_us():
            self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self._answers: dict[int, Any] = {}
        self._version: WeightsVersion | None = None
        self._shared = SharedBuffer()

    def open(self, config: RunConfig, model_dir: Path, run: Path) -> None:
        """Work for this run from now on.

        Raises:
            UserError: as ``open_sampling`` and ``open_verifier`` do.
        """
        engine = config.rollout.engine
        self._bucket_bytes = engine.bucket_mib * MIB
        if engine.placement == "auto":  # checks.py has refused an engine in the trainer's process
            engine = replace(engine, placement="child")
        config = replace(config, rollout=replace(config.rollout, engine=engine))
        self._version = None
        self._begin(Worker.open, config, model_dir, run).result()

    def begin_batch(self, problem_order: dict[str, Any] | None, step: int, context_length: int) -> Answer[RolloutBatch]:
        return self._begin(Worker.collect, problem_order, step, context_length)

    def begin_evaluation(
        self, step: int, context_length: int, is_held_out: bool, kept_samples: Path, texts: EvalTexts | None
    ) -> Answer[list[EvalRow]]:
        return self._begin(Worker.evaluate, step, context_length, is_held_out, kept_samples, texts)

    def has_weights(self, context_length: int, version: WeightsVersion) -> bool:
        """Does the collector's engine, which serves every context, have these weights? An engine without any starts."""
        if self._version is None:
            return self._begin(Worker.has_weights, context_length, version).result()
        return self._version == version

    def load_weights(self, context_length: int, version: WeightsVersion, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the weights of the engine; see ``Sampling.load_weights``.

        One message of ``rollout.engine.bucket_mib`` is on its way at a time.
        """
        self._version = None
        loaded = self._begin(Worker.load_weights, context_length, version)
        for layout, buffer in buckets(weights, self._bucket_bytes):
            self._put((layout, self._shared.path, self._shared.put(buffer)))
            while (answer := self._take()) is not TAKEN:
                self._keep(answer)
                if loaded.number in self._answers:  # it has failed, and takes no more messages
                    loaded.result()
                    return
        self._put(None)
        if loaded.result():
            self._version = version

    def end(self, *, at_once: bool = False) -> None:
        """Let the process end: when it has nothing left to do, or ``at_once``, and everything it started with it."""
        if at_once:
            self._process.kill()
        self._line.close()
        self._process.join(END_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _begin(self, work: Callable[..., Result], *arguments: Any) -> Answer[Result]:
        """Begin a method of ``Worker``."""
        number = next(self._numbers)
        self._put((number, work, arguments))
        return Answer(self, number)

    def answer(self, number: int, patience_s: float) -> Any:
        """The result of a piece of work.

        Raises:
            Preempted: if the process is preempted and the work does not end in ``patience_s`` from then on.
        """
        give_up_at: float | None = None
        while number not in self._answers:
            if self._line.poll(POLL_S):
                self._keep(self._take())
            elif is_preempted():
                give_up_at = give_up_at or time.monotonic() + patience_s
                if time.monotonic() >= give_up_at:
                    raise Preempted
        is_done, value = self._answers.pop(number)
        if not is_done:
            raise value
        return value

    def _keep(self, answer: tuple[int, bool, Any]) -> None:
        number, is_done, value = answer
        self._answers[number] = is_done, value

    def _put(self, message: Any) -> None:
        try:
            self._line.send(message)
        except OSError as error:
            raise self._lost() from error

    def _take(self) -> Any:
        try:
            return self._line.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> RuntimeError:
        self._process.join(END_TIMEOUT_S)
        return RuntimeError(f"the collector's process ended with code {self._process.exitcode}; it prints why")


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """The result of a piece of work that the collector does or will do."""

    collector: Collector
    number: int

    def result(self, patience_s: float = 0.0) -> Result:
        """Wait for it; see ``Collector.answer``."""
        return self.collector.answer(self.number, patience_s)


_open: list[Collector] = []  # at most one: the cells of a sweep share it


@contextmanager
def open_collector(config: RunConfig, model_dir: Path, run: Path) -> Iterator[Collector]:
    """The process's collector, working for this run; after an exception it is gone, with everything it was doing."""
    if not _open:
        _open.append(Collector(config))
    try:
        _open[0].open(config, model_dir, run)
        yield _open[0]
    except BaseException:
        _open.pop().end(at_once=True)
        raise


@atexit.register
def close_collector() -> None:
    """End the process's collector if it has one."""
    while _open:
        _open.pop().end()
