"""The verifier: a bounded queue before a few workers, three outcomes, retries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.config import VerifyConfig
from ablate.errors import UserError
from ablate.types import Problem, Verdict, VerdictKind
from ablate.verify.cache import VerdictCache, verdict_key
from ablate.verify.cgroups import NO_GROUP
from ablate.verify.compare import COMPARISONS
from ablate.verify.container import MISSING_BUBBLEWRAP
from ablate.verify.extract import EXTRACTIONS
from ablate.verify.jobs import CANCELLED, Job, infrastructure_error, make_job, verdict_of
from ablate.verify.local import Worker, WorkerError

if TYPE_CHECKING:
    from ablate.verify.modal import ModalWorker

log = logging.getLogger(__name__)
BACK_OFF_S = 0.1  # doubled at every retry
CHOICES = {
    "backend": ("local", "modal"),
    "container": ("rollout", "problem", "test"),
    "comparison": tuple(COMPARISONS),
    "extraction": tuple(EXTRACTIONS),
}
POSITIVE = (
    "workers",
    "queue_size",
    "time_limit_s",
    "wall_factor",
    "memory_limit_mib",
    "output_limit_kib",
    "max_processes",
)
QUEUE_POLL_S = 0.01  # asyncio cannot wait for a thread's queue


def make_worker(backend: str) -> Worker | ModalWorker:
    if backend == "local":
        return Worker()
    from ablate.verify.modal import ModalWorker

    return ModalWorker()


@dataclass(frozen=True)
class Turn:
    """A place in the queue."""

    future: Future[Verdict]
    job: Job
    key: str | None  # of the cache


class Verifier:
    """Judges programs in sandboxes. Thread-safe; close it, or use it as a context manager.

    ``submit`` blocks while ``queue_size`` programs wait (back-pressure); ``judge`` awaits instead. A future that is
    cancelled before its turn is never run; ``judge`` cancelled in mid-run calls its program off.
    """

    def __init__(self, config: VerifyConfig) -> None:
        self.config = config
        self.waiting: queue.Queue[Turn | None] = queue.Queue(config.queue_size)
        self.workers = [make_worker(config.backend) for _ in range(config.workers)]
        self.running: dict[Future, tuple[Worker, int]] = {}
        self.cache = VerdictCache(Path(config.cache_dir)) if config.cache else None
        self.num_retries = 0
        self.closed = False
        try:
            for worker in self.workers:
                worker.start()
        except (WorkerError, UserError) as error:
            for worker in self.workers:
                worker.stop()
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{error}: mend the machine's sandbox support, untrusted programs are never run without"
            ) from error
        containment = self.workers[0].containment
        log.log(logging.WARNING if containment.startswith(NO_GROUP) else logging.INFO, "judge: %s", containment)
        self.threads = [threading.Thread(target=self.work, args=(worker,), daemon=True) for worker in self.workers]
        for thread in self.threads:
            thread.start()

    def submit(self, problem: Problem, program: str, use_cache: bool = True) -> Future[Verdict]:
        """Queue one program; blocks while the queue is full.

        Raises:
            UserError: for a problem that cannot be judged, such as one without tests.
        """
        turn = self.prepare(problem, program, use_cache)
        if not turn.future.done():
            self.waiting.put(turn)
        return turn.future

    def prepare(self, problem: Problem, program: str, use_cache: bool) -> Turn:
        """A program's job and its future, which has the verdict already when the cache knows it."""
        if self.closed:
            raise RuntimeError("the verifier is closed")
        job = make_job(self.config, problem, program)
        turn = Turn(Future(), job, verdict_key(job) if self.cache is not None and use_cache else None)
        known = self.known(turn)
        if known is not None:
            turn.future.set_result(known)
        return turn

    def known(self, turn: Turn) -> Verdict | None:
        return self.cache.get(turn.key) if turn.key is not None else None

    def program_of(self, text: str) -> str | None:
        """The program in a model's answer, by the configured rule."""
        return EXTRACTIONS[self.config.extraction](text)

    def submit_answer(self, problem: Problem, text: str) -> Future[Verdict]:
        """Queue the program in a model's answer; an answer without one is judged at once."""
        program = self.program_of(text)
        if program is not None:
            return self.submit(problem, program)
        future: Future[Verdict] = Future()
        num_tests = len(problem.tests[: self.config.max_tests])
        future.set_result(Verdict(VerdictKind.no_code, 0, num_tests, None, 0.0, 0.0, 0.0))
        return future

    def flake_rate(self, cases: Sequence[tuple[Problem, str]], repeats: int) -> float:
        """Judge every program ``repeats`` times, without the cache: the share with verdicts of more than one kind."""
        runs = [[self.submit(*case, use_cache=False) for _ in range(repeats)] for case in cases]
        kinds = [{future.result().kind for future in futures} for futures in runs]
        return sum(len(different) > 1 for different in kinds) / max(len(kinds), 1)

    async def judge(self, problem: Problem, program: str) -> Verdict:
        """Judge one program; waits its turn without blocking the event loop."""
        turn = self.prepare(problem, program, use_cache=True)
        while not turn.future.done():
            try:
                self.waiting.put_nowait(turn)
                break
            except queue.Full:
                await asyncio.sleep(QUEUE_POLL_S)
        try:
            return await asyncio.wrap_future(turn.future)
        except asyncio.CancelledError:
            self.call_off(turn.future)
            raise

    def call_off(self, future: Future) -> None:
        worker, number = self.running.get(future, (None, None))
        if worker is not None:
            worker.cancel(number)

    def work(self, worker: Worker) -> None:
        """One worker's thread: takes its turn at the queue until the verifier closes."""
        while (turn := self.waiting.get()) is not None:
            if not turn.future.set_running_or_notify_cancel():
                continue
            self.running[turn.future] = worker, turn.job.number
            try:
                # Its twin may have been judged while it waited: samples of one prompt are often the same program.
                verdict = self.known(turn)
                if verdict is None:
                    verdict = self.run_with_retries(worker, turn.job)
                    if turn.key is not None:
                        self.cache.put(turn.key, verdict)
                turn.future.set_result(verdict)
            finally:
                del self.running[turn.future]

    def run_with_retries(self, worker: Worker, job: Job) -> Verdict:
        """Run a job; what failed for the judge's own reasons is run again, after a pause, and never scored."""
        for attempt in range(self.config.retries + 1):
            if attempt:
                self.num_retries += 1
                time.sleep(BACK_OFF_S * 2 ** (attempt - 1))
            try:
                report = worker.run(job)
            except WorkerError as error:
                report = infrastructure_error(job, str(error))
            if not report.is_infrastructure_error or report.detail == CANCELLED or self.closed:
                break
            log.warning("judge: attempt %d failed for the judge's own reason: %s", attempt + 1, report.detail)
            job = replace(job, fresh=True)
        return verdict_of(report)

    def close(self) -> None:
        """Call off what runs, drop what waits, and remove every container."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(queue.Empty):
            while (turn := self.waiting.get_nowait()) is not None:
                turn.future.cancel()
        for _ in self.threads:
            self.waiting.put(None)
        for future in list(self.running):
            self.call_off(future)
        for thread in self.threads:
            thread.join()
        for worker in self.workers:
            worker.stop()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_verifier(config: VerifyConfig) -> Verifier:
    """Start the judge that ``config`` describes.

    Raises:
        UserError: when no sandbox can be had here; programs are never run without one.
    """
    for key, allowed in CHOICES.items():
        value = getattr(config, key)
        if value not in allowed:
            raise UserError(f"verify.{key}={value} is not one of {', '.join(allowed)}")
    for key in POSITIVE:
        if not getattr(config, key) > 0:
            raise UserError(f"verify.{key} must be above 0, not {getattr(config, key)}")
    if config.backend == "local" and shutil.which("bwrap") is None:
        raise UserError(MISSING_BUBBLEWRAP)
    return Verifier(config)
