"""The process of the collector: it works for the leader, one thing after the other, until that closes the line."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.process.preemption import STOP_SIGNALS, Preempted
from ablate.records.trace import Trace
from ablate.rollout.open import close_engines
from ablate.rollout.weights.buckets import unpacked
from ablate.rollout.weights.shared import SharedReader
from ablate.sampling import RolloutBatch, Sampling, WeightsVersion, open_sampling
from ablate.types import EvalRow
from ablate.verify.shared import close_verifiers, shared_verifier

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch import Tensor

TAKEN = None  # what the collector says of a message of weights that it has read


def serve(line: Connection, device: int | None) -> None:
    """Do what comes over ``line`` until the leader closes it."""
    for number in (*STOP_SIGNALS, signal.SIGINT):  # a signal may reach the whole group, and the leader decides
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not inherited by the programs that are started
    if device is not None:
        torch.cuda.set_device(device)
    answers: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=send_all, args=(line, answers), daemon=True).start()
    worker = Worker(line, answers)
    try:
        while True:
            number, work, arguments = line.recv()
            try:
                answers.put((number, True, work(worker, *arguments)))
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


class Worker:
    """What the leader asks for, by method; the arguments and results travel over the line."""

    def __init__(self, line: Connection, answers: SimpleQueue[Any]) -> None:
        self.line, self.answers = line, answers
        self.reader = SharedReader()
        self.sampling: Sampling

    def open(self, config: RunConfig, model_dir: Path, run: Path) -> None:
        self.sampling = open_sampling(config, model_dir, shared_verifier(config.verify), Trace(run))

    def has_weights(self, context_length: int, version: WeightsVersion) -> bool:
        return self.sampling.has_weights(context_length, version)

    def collect(self, *arguments: Any) -> RolloutBatch:
        return self.sampling.collect(*arguments)

    def evaluate(self, *arguments: Any) -> list[EvalRow]:
        return self.sampling.evaluate(*arguments)

    def load_weights(self, context_length: int, version: WeightsVersion) -> bool:
        """Hand the weights that follow on the line to the engine; return whether it has all of them now."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def tensors() -> Iterator[tuple[str, Tensor]]:
            while (each := self.line.recv()) is not None:
                layout, path, num_mapped = each
                buffer = self.reader.take(path, num_mapped, layout.num_bytes, device)
                self.answers.put(TAKEN)  # the leader may write the next message over this one
                yield from unpacked(layout, buffer)

        left = tensors()
        try:
            self.sampling.load_weights(context_length, version, left)
        finally:
            for _ in left:  # an engine may stop reading early, and the leader sends all
                pass
        return self.has_weights(context_length, version)
