"""The collector: a process of the leader's that samples and verifies while the trainer works (``rollout.lag=1``).

It holds the client of the engine, the verifier and the decoding of tokens, so that they and the trainer do not wait for
one interpreter lock. It does what the leader asks for, one thing after the other, and ends when the leader ends.
"""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import multiprocessing.connection
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.preemption import POLL_S, STOP_SIGNALS, Preempted, is_asked_to_stop
from ablate.records.trace import Trace
from ablate.rollout.open import close_engines
from ablate.rollout.process import children_end_with_us, environment_for_children, prepare_environment
from ablate.sampling import Sampling, Started, WeightsVersion, open_sampling
from ablate.verify.shared import close_verifiers, shared_verifier

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch import Tensor

END_TIMEOUT_S = 30.0  # for an engine and the sandboxes to end
TAKEN = None  # what the collector says of a tensor that its engine has read


class Collector:
    """The leader's side. It has the methods of ``Sampling`` that a session uses.

    ``start`` returns before the work is done. Weights and other calls wait until what was started before is done.
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

    def open(self, config: RunConfig, model_dir: Path, run: Path) -> None:
        """Work for this run from now on.

        Raises:
            UserError: as ``open_sampling`` and ``open_verifier`` do.
        """
        engine = config.rollout.engine
        if engine.placement == "auto":  # checks.py has refused an engine in the trainer's process
            engine = replace(engine, placement="child")
        config = replace(config, rollout=replace(config.rollout, engine=engine))
        self._version = None
        self.start("open", config, model_dir, run)()

    def start(self, work: str, *arguments: Any) -> Started:
        """Begin a method of ``Sampling``; call what comes back to have its result."""
        number = self._send(work, *arguments)
        return lambda patience_s=0.0: self._answer(number, patience_s)

    def has_weights(self, context_length: int, version: WeightsVersion) -> bool:
        """Does the collector's engine, which serves every context, have these weights?"""
        return self._version == version

    def load_weights(self, context_length: int, version: WeightsVersion, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the weights of the engine; see ``Sampling.load_weights``.

        One tensor is on its way at a time.
        """
        self._version = None
        number = self._send("load_weights", context_length, version)
        for name, tensor in weights:
            self._put((name, packed(tensor)))
            while (answer := self._take()) is not TAKEN:
                self._keep(answer)
        self._put(None)
        if self._answer(number):
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

    def _send(self, work: str, *arguments: Any) -> int:
        number = next(self._numbers)
        self._put((number, work, arguments))
        return number

    def _answer(self, number: int, patience_s: float = 0.0) -> Any:
        """The result of a piece of work.

        Raises:
            Preempted: if the process is asked to stop and the work does not end in ``patience_s`` from then on.
        """
        give_up_at: float | None = None
        while number not in self._answers:
            if self._line.poll(POLL_S):
                self._keep(self._take())
            elif is_asked_to_stop():
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


def packed(tensor: Tensor) -> Any:
    """What the line carries: a tensor on a GPU stays where it is, and the other process reads it there.

    A tensor on a CPU travels as bytes: torch would share its memory through a socket, which a kill leaves behind.
    """
    tensor = tensor.detach()
    return tensor if tensor.is_cuda else (tensor.dtype, tensor.shape, tensor.flatten().view(torch.uint8).numpy())


def unpacked(carried: Any) -> Tensor:
    if isinstance(carried, torch.Tensor):
        return carried
    dtype, shape, data = carried
    return torch.from_numpy(data).view(dtype).view(shape)


@atexit.register
def close_collector() -> None:
    """End the process's collector if it has one."""
    while _open:
        _open.pop().end()


# --- in the collector's process ---------------------------------------------------------------------------------------


def serve(line: Connection, device: int | None) -> None:
    """Do what comes over ``line`` until the leader closes it."""
    for number in (*STOP_SIGNALS, signal.SIGINT):  # a signal may reach the whole group, and the leader decides
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not inherited by the programs that are started
    if device is not None:
        torch.cuda.set_device(device)
    answers: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=send_all, args=(line, answers), daemon=True).start()
    sampling: Sampling | None = None
    try:
        while True:
            number, work, arguments = line.recv()
            try:
                if work == "open":
                    sampling, result = opened(*arguments), None
                elif work == "load_weights":
                    result = load_weights(sampling, line, answers, *arguments)
                else:
                    result = sampling.start(work, *arguments)()
                answers.put((number, True, result))
            except (UserError, Preempted) as error:
                answers.put((number, False, error))
            except Exception as error:  # the leader decides what it means; not every exception can be pickled
                text = "".join(traceback.format_exception(error))
                answers.put((number, False, RuntimeError(f"{error}\nin the collector's process:\n{text}")))
    except (EOFError, ConnectionResetError):
        pass  # the leader has closed the line
    finally:
        close_engines()
        close_verifiers()


def send_all(line: Connection, answers: SimpleQueue[Any]) -> None:
    """Send answers in a thread: the leader may read a large one late, and the next piece of work does not wait."""
    with suppress(OSError):  # the leader is gone
        while True:
            line.send(answers.get())


def opened(config: RunConfig, model_dir: Path, run: Path) -> Sampling:
    return open_sampling(config, model_dir, shared_verifier(config.verify), Trace(run))


def load_weights(
    sampling: Sampling, line: Connection, answers: SimpleQueue[Any], context_length: int, version: WeightsVersion
) -> bool:
    """Hand the tensors that follow on the line to the engine; return whether it has all of them now."""

    def tensors() -> Iterator[tuple[str, Tensor]]:
        while (each := line.recv()) is not None:
            name, tensor = each
            yield name, unpacked(tensor)
            answers.put(TAKEN)

    left = tensors()
    try:
        sampling.load_weights(context_length, version, left)
    finally:
        for _ in left:  # an engine may stop reading early, and the leader sends all
            pass
    return sampling.has_weights(context_length, version)
