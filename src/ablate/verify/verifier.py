"""The verifier: a bounded queue in front of a few backends, three outcomes, retries."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.config import VerifyConfig
from ablate.errors import UserError
from ablate.process.activity import VERIFIER, note_work
from ablate.types import Problem, Verdict, VerdictKind
from ablate.verify.backend import Backend, BackendError
from ablate.verify.cache import VerdictCache, verdict_key
from ablate.verify.checker import FINAL
from ablate.verify.choices import BACKENDS, check_verify
from ablate.verify.compiler import CheckerError, Compiler
from ablate.verify.extract import EXTRACTIONS
from ablate.verify.jobs import BROKEN_TEST, CANCELLED, Job, infrastructure_error, make_job
from ablate.verify.local.cgroups import NO_GROUP
from ablate.verify.packages import find_packages
from ablate.verify.speed import scaled, time_scale

log = logging.getLogger(__name__)
BACK_OFF_S = 0.1  # doubled at every retry


@dataclass(frozen=True)
class Turn:
    """A place in the queue."""

    future: Future[Verdict]
    job: Job
    key: str | None  # of the cache


class Verifier:
    """Verifies programs in sandboxes. Thread-safe; close it, or use it as a context manager.

    ``submit`` blocks while ``queue_size`` programs wait (back-pressure). A future that is cancelled before its turn is
    never run; ``cancel`` stops one that runs. Every other future gets a verdict, whatever its backend raises.
    """

    def __init__(self, config: VerifyConfig) -> None:
        self.config = config
        self.waiting: queue.Queue[Turn | None] = queue.Queue(config.queue_size)
        self.backends: list[Backend] = [BACKENDS[config.backend]() for _ in range(config.workers)]
        self.packages = find_packages(config.packages, must_be_here=config.backend == "local")
        for backend in self.backends:
            backend.packages = self.packages
        self.running: dict[Future[Verdict], tuple[Backend, int]] = {}
        self.cache = VerdictCache(Path(config.cache_dir)) if config.cache else None
        self.compiler = Compiler()
        self.num_retries = 0
        self.closed = False
        try:
            for backend in self.backends:
                backend.start()
            self.time_scale = time_scale(config, self.backends[0])
        except (BackendError, UserError) as error:
            for backend in self.backends:
                backend.stop()
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{error}: fix the machine's sandbox support, because untrusted programs are never run without it"
            ) from error
        containment = self.backends[0].containment
        log.log(logging.WARNING if containment.startswith(NO_GROUP) else logging.INFO, "verifier: %s", containment)
        self.threads = [threading.Thread(target=self.work, args=(backend,), daemon=True) for backend in self.backends]
        for thread in self.threads:
            thread.start()

    def submit(self, problem: Problem, program: str, use_cache: bool = True) -> Future[Verdict]:
        """Queue one program; blocks while the queue is full.

        Raises:
            UserError: for a problem that cannot be verified, such as one without tests.
        """
        turn = self.prepare(problem, program, use_cache)
        if not turn.future.done():
            self.waiting.put(turn)
        return turn.future

    def prepare(self, problem: Problem, program: str, use_cache: bool) -> Turn:
        """A program's job and its future, which has the verdict already when the cache knows it."""
        if self.closed:
            raise RuntimeError("the verifier is closed")
        job = make_job(self.config, problem, program, tuple(package.pin for package in self.packages))
        key = verdict_key(job) if self.cache is not None and use_cache else None
        turn = Turn(Future(), scaled(job, self.time_scale), key)
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
        """Queue the program in a model's answer; an answer without a program gets its verdict at once."""
        program = self.program_of(text)
        if program is not None:
            return self.submit(problem, program)
        future: Future[Verdict] = Future()
        num_tests = min(len(problem.tests), self.config.max_tests or len(problem.tests))
        future.set_result(Verdict(VerdictKind.no_code, 0, num_tests, None, 0.0, 0.0, 0.0))
        return future

    def cancel(self, future: Future[Verdict]) -> None:
        """Stop the program of ``future`` if it runs; its verdict is then an infrastructure error."""
        backend, number = self.running.get(future, (None, None))
        if backend is not None:
            backend.cancel(number)

    def work(self, backend: Backend) -> None:
        """One backend's thread: takes its turn at the queue until the verifier closes."""
        while (turn := self.waiting.get()) is not None:
            if not turn.future.set_running_or_notify_cancel():
                continue
            self.running[turn.future] = backend, turn.job.number
            start = time.time()
            try:
                verdict = self.verdict_of(backend, turn)
            # Every exception is caught: a future that is never settled would make the whole run hang.
            except BaseException as error:
                log.exception("verifier: a program could not be verified")
                verdict = infrastructure_error(turn.job, reason_of(error))
            finally:
                del self.running[turn.future]
                note_work(VERIFIER, start)
            turn.future.set_result(verdict)

    def verdict_of(self, backend: Backend, turn: Turn) -> Verdict:
        # Its twin may have been verified while it waited: samples of one prompt are often the same program.
        verdict = self.known(turn)
        if verdict is None:
            verdict = self.run_with_retries(backend, turn.job)
            if turn.key is not None:
                self.cache.put(turn.key, verdict)
        return verdict

    def run_with_retries(self, backend: Backend, job: Job) -> Verdict:
        """Run a job; one that failed for the backend's own reasons is run again, after a pause, and never scored."""
        try:
            job = replace(job, checker_binary=self.compiler.path_of(job.checker))
        except CheckerError as error:
            return infrastructure_error(job, str(error))
        for attempt in range(self.config.retries + 1):
            if attempt:
                self.num_retries += 1
                time.sleep(BACK_OFF_S * 2 ** (attempt - 1))
            try:
                verdict = backend.run(job)
            except BackendError as error:
                verdict = infrastructure_error(job, str(error))
            except BaseException as error:  # a Modal client may raise asyncio.CancelledError, which is no Exception
                backend.stop()  # in an unknown state: the next run starts afresh
                verdict = infrastructure_error(job, reason_of(error))
            is_final = verdict.detail == CANCELLED or verdict.detail.startswith((BROKEN_TEST, *FINAL))
            if not verdict.is_infrastructure_error or is_final or self.closed:
                break
            log.warning("verifier: attempt %d failed for the backend's own reason: %s", attempt + 1, verdict.detail)
            job = replace(job, fresh=True)
        return verdict

    def close(self) -> None:
        """Cancel the programs that run, drop those that wait, and stop every backend."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(queue.Empty):
            while (turn := self.waiting.get_nowait()) is not None:
                turn.future.cancel()
        for _ in self.threads:
            self.waiting.put(None)
        for future in list(self.running):
            self.cancel(future)
        for thread in self.threads:
            thread.join()
        for backend in self.backends:
            backend.stop()
        self.compiler.close()
        if self.spent:
            log.warning("verifier: paid for %s", ", ".join(f"{self.spent[name]:.0f} {name}" for name in self.spent))

    @property
    def spent(self) -> Counter[str]:
        """What backends that cost money have counted so far; empty for the local one."""
        return sum((Counter(getattr(backend, "spent", ())) for backend in self.backends), Counter())

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def reason_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def open_verifier(config: VerifyConfig) -> Verifier:
    """Start the verifier that ``config`` describes.

    Raises:
        UserError: for a value that breaks a rule, or if no sandbox is available; programs are never run without one.
    """
    check_verify(config)
    return Verifier(config)
