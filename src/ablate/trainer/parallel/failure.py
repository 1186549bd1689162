"""A job of several processes ends together within seconds, with the cause on top, and never hangs.

Every rank runs a watching thread. The thread writes a heartbeat to the job's store and reads there whether another rank
failed or stopped beating. If so, it ends this process, wherever the main thread waits (in a collective, in the engine).
On one machine no rank waits for a missing heartbeat: the kernel reports at once which rank's process has ended.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NoReturn

import torch.distributed as dist

from ablate.errors import UserError
from ablate.trainer.parallel import hung
from ablate.trainer.parallel.leader import LEADER
from ablate.trainer.parallel.neighbours import Neighbours

CAUSE, CLAIM = "ablate/cause", "ablate/claim"
POLL_S = 0.5
NEIGHBOURS_POLL_S = 0.1
GRACE_S = 3.0  # for the main thread to record how the run ended
PATIENCE_S = 3.0  # how long to wait, after a collective breaks, for the failed peer to report a cause or go silent
SILENT_AFTER_S = 2.0
LINGER_S = 10.0  # how long rank 0, which may host the store, waits for the others to read why the job failed
INTERRUPT = signal.SIGUSR2  # raises, in the main thread of this process, what its watch has seen
BROKEN_COLLECTIVE = ("connection closed by peer", "connection reset by peer", "broken pipe", "nccl", "timed out")
TIMED_OUT = "timed out"
EXIT_CODE = 1


class JobFailed(UserError):
    """Some rank failed; the message says which rank was first, and why. That rank has printed its traceback.

    Two ranks print the message: the one that was first, and the leader.
    """

    def __init__(self, cause: str, is_said: bool = False) -> None:
        super().__init__(cause)
        self.is_said = is_said


class Watch:
    """This rank's view of the others, through the store that torchrun (or rank 0) hosts.

    Args:
        silence_s: a rank that sends no heartbeat for this long counts as dead.
    """

    def __init__(self, rank: int, size: int, silence_s: float) -> None:
        self.rank, self.size, self.silence_s = rank, size, silence_s
        # A separate connection: a waiting main thread may hold the store of the default group.
        self.store = dist.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=silence_s),
        )
        self.neighbours = Neighbours(self.store, rank, size)
        self._beats = [(0, time.monotonic())] * size
        self._done: set[int] = set()
        self._ended = threading.Event()
        self._seen: str | None = None
        self._has_failed = False
        self.is_first = False  # this rank has recorded the cause
        self._leaving = threading.Lock()
        signal.signal(INTERRUPT, self._raise_what_was_seen)
        atexit.register(self.end)  # a rank that finishes early has not died
        self.thread = threading.Thread(target=self._run, name="ablate-watch", daemon=True)
        self.thread.start()

    @property
    def speaks(self) -> bool:
        """Whether this rank prints why the job failed: the leader does, and the rank that said it first."""
        return self.rank == LEADER or self.is_first

    def claim(self, cause: str) -> str:
        """Record ``cause`` unless a cause is recorded already; return the recorded one.

        The process that hosts the store may have reported its cause and ended: then ``cause`` stands.
        """
        self._has_failed = True
        try:
            if self.store.add(CLAIM, 1) == 1:
                self.is_first = True
                self.store.set(CAUSE, cause)
            return self.store.get(CAUSE).decode()
        except dist.DistError:
            self.is_first = True
            return cause

    def cause_elsewhere(self) -> str | None:
        """Return why a collective broke (another rank reported a cause or fell silent); None if all ranks are well."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.store.check([CAUSE]):
                return self.store.get(CAUSE).decode()
            if cause := self._dead_neighbour():
                return cause
            time.sleep(POLL_S / 5)
        silent = [r for r, (_, heard) in enumerate(self._beats) if end - heard > SILENT_AFTER_S and r not in self._done]
        return f"rank {silent[0]} ended without a word: it was killed" if silent else None

    def end(self) -> None:
        """Stop watching and mark this rank as done."""
        self._ended.set()
        self.thread.join()
        with suppress(dist.DistError):  # the process that hosts the store may be done already
            self.store.set(f"ablate/done/{self.rank}", "")
            if self._has_failed and self.rank == LEADER:
                self._wait_for_the_others()

    def _wait_for_the_others(self) -> None:
        """The store may end with this process, and with it the cause: let the other ranks read it and end first."""
        end = time.monotonic() + LINGER_S
        while time.monotonic() < end and not self.store.check([f"ablate/done/{rank}" for rank in range(self.size)]):
            time.sleep(POLL_S / 5)

    def _run(self) -> None:
        look_at = time.monotonic() + POLL_S
        while not self._ended.wait(NEIGHBOURS_POLL_S):
            try:
                cause = self._dead_neighbour()
                if cause is None and time.monotonic() > look_at:
                    cause, look_at = self._look(), time.monotonic() + POLL_S
            except dist.DistError:
                if LEADER in self._done or self._ended.wait(POLL_S):
                    return
                cause = "the job's store is gone: the process that hosts it ended"
            if cause is None:
                continue
            self._seen = cause
            signal.pthread_kill(threading.main_thread().ident, INTERRUPT)
            if not self._ended.wait(GRACE_S):  # the main thread hangs where no signal reaches it
                self._leave(cause, f" (seen by rank {self.rank})")

    def _dead_neighbour(self) -> str | None:
        """A rank of this machine that ended without saying why, in words; None if there is none.

        If that is the leader, this process ends here: the leader has the records, so nothing is left to be written.
        """
        for rank in self.neighbours.ended() - self._done:
            if self.store.check([f"ablate/done/{rank}"]):
                self._done.add(rank)
                continue
            if self.store.check([CAUSE]):
                return self.store.get(CAUSE).decode()
            cause = f"rank {rank} ended without a word: it was killed"
            if rank == LEADER:
                self._leave(cause)
            return cause
        return None

    def _leave(self, cause: str, remark: str = "") -> NoReturn:
        with self._leaving:  # main thread and watch may both come here; the process ends inside the block
            self.claim(cause)
            if self.speaks:
                print(f"error: {cause}{remark}", file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)

    def _raise_what_was_seen(self, *_: object) -> None:
        raise JobFailed(self._seen, is_said=not self.speaks)

    def _look(self) -> str | None:
        self.store.add(f"ablate/beat/{self.rank}", 1)
        self.neighbours.find()
        hung.answer_if_asked(self.store, self.rank)
        if self.store.check([CAUSE]):
            return self.store.get(CAUSE).decode()
        now = time.monotonic()
        for rank in set(range(self.size)) - self._done:
            if self.store.check([f"ablate/done/{rank}"]):
                self._done.add(rank)
                continue
            beat = self.store.add(f"ablate/beat/{rank}", 0)
            if beat != self._beats[rank][0]:
                self._beats[rank] = (beat, now)
            elif now - self._beats[rank][1] > self.silence_s:
                return f"rank {rank} has been silent for {self.silence_s:g} s: it was killed or its node is gone"
        return None


@contextmanager
def ending_together(watch: Watch | None, *expected: type[BaseException]) -> Iterator[None]:
    """End all ranks when any rank raises an exception.

    The first rank to fail prints its traceback. The collectives of the other ranks break in turn, and those ranks only
    say who failed first. If the job has one process (``watch`` is None), exceptions pass unchanged.

    Args:
        expected: exceptions that all ranks raise together and that are not failures.

    Raises:
        JobFailed: with the first rank's cause.
    """
    if watch is None:
        yield
        return
    try:
        yield
    except (KeyboardInterrupt, SystemExit, *expected):
        raise
    except BaseException as error:
        text, own = traceback.format_exc(), describe(watch, error)
        first = watch.claim(own)
        if first == own and own.startswith(f"rank {watch.rank} ") and not isinstance(error, UserError):
            print(text, file=sys.stderr, flush=True)
        raise JobFailed(first, is_said=not watch.speaks) from None


def describe(watch: Watch, error: BaseException) -> str:
    """Return the cause as this rank knows it; a broken collective is only a consequence, so look elsewhere first."""
    if isinstance(error, JobFailed):
        return str(error)
    if isinstance(error, UserError):
        return f"rank {watch.rank} failed: {error}"
    elsewhere = None
    if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in BROKEN_COLLECTIVE):
        elsewhere = watch.cause_elsewhere()
        if elsewhere is None and TIMED_OUT in str(error).lower():
            elsewhere = hung.who_hangs(watch.store, watch.size)
    return elsewhere or f"rank {watch.rank} failed: {type(error).__name__}: {error}"
