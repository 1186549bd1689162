"""Worker processes that make the runs of a sweep, and what ends them.

A worker is a process of its own process group, so that Ctrl-C reaches the pool alone and every worker hears it once.
The pool passes on every signal that asks it to stop. A worker that leaves with an exit code of the run (75, 130) ends
the sweep, as it does where one process makes all runs: the other workers are preempted and write their checkpoints.
A worker that crashes fails its run only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from ablate.launch.display import SweepDisplay
from ablate.launch.failures import RunFailed, failed_runs, note_failure
from ablate.launch.worker import Ended

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}  # of a run that got the signal


@dataclass(eq=False)
class Worker:
    place: int  # 0, 1, ...: which GPU it has
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    end: int  # a descriptor that becomes readable when the process ends
    run: int | None = None  # index of the run that it makes
    line: bytes = b""  # the unfinished line that it has printed

    def sources(self) -> list[Any]:
        output = self.process.stdout
        return [self.end, *([] if self.connection.closed else [self.connection]), *([output] if output else [])]


@dataclass
class WorkerPool:
    """Makes every run once, each in the next worker that is free.

    Args:
        runs: the overrides of each run.
        task: "module:function", which takes (descriptor, process id of the pool, has_bars) and calls ``worker.serve``.
        num_workers: processes at once.
        devices: GPUs; worker k sees the k-th of them only. Empty: the workers see what this process sees.
    """

    runs: Sequence[Sequence[str]]
    task: str
    num_workers: int
    devices: Sequence[str]
    display: SweepDisplay
    workers: list[Worker] = field(default_factory=list)
    ended: dict[int, Ended] = field(default_factory=dict)
    exit_code: int = 0  # of the sweep, once something asked it to stop
    signals: deque[int] = field(default_factory=deque)  # received, and not passed on yet
    wake: tuple[int, int] = field(default_factory=os.pipe)  # readable once a signal was received

    def make_all(self) -> list[Ended]:
        """Make all runs and return how each ended.

        Raises:
            SystemExit: with 75 or 130, after every worker has ended, if the sweep was preempted.
        """
        waiting = deque(range(len(self.runs)))
        try:
            with self.signals_passed_on():
                self.hand_out(waiting)
                while self.workers:
                    self.follow()
                    self.hand_out(waiting)
        finally:
            for worker in self.workers:  # after an error of the pool itself
                worker.process.kill()
            self.display.close()
        if self.exit_code:
            sys.exit(self.exit_code)
        return [self.ended[index] for index in range(len(self.runs))]

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Note signals as they come; ``follow`` passes them on, so that a worker that is just starting misses none."""

        def note(number: int, _: object) -> None:
            self.signals.append(number)
            os.write(self.wake[1], b"!")

        before = {number: signal.signal(number, note) for number in EXIT_CODES}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, number: int) -> None:
        """Pass a signal on to every worker; hand out no run from now on."""
        self.exit_code = self.exit_code or EXIT_CODES[signal.Signals(number)]
        for worker in self.workers:
            worker.process.send_signal(number)

    # --- workers ----------------------------------------------------------------------------------------------------

    def hand_out(self, waiting: deque[int]) -> None:
        """Give a run to every idle worker, and start workers while there are runs; a worker without a run may end."""
        if self.exit_code:
            waiting.clear()
        num_busy = sum(worker.run is not None for worker in self.workers)
        wanted = range(min(self.num_workers, num_busy + len(waiting)))
        taken = [worker.place for worker in self.workers]
        self.workers += [self.start(place) for place in wanted if place not in taken]
        for worker in self.workers:
            if worker.run is None and not worker.connection.closed:
                self.give(worker, waiting)

    def give(self, worker: Worker, waiting: deque[int]) -> None:
        if not waiting:
            worker.connection.close()
            return
        try:
            worker.connection.send(list(self.runs[waiting[0]]))
        except OSError:  # its process has ended just now: another one makes the run
            worker.connection.close()
        else:
            worker.run = waiting.popleft()

    def start(self, place: int) -> Worker:
        ours, theirs = Pipe()
        module, function = self.task.split(":")
        arguments = f"{theirs.fileno()}, {os.getpid()}, {self.display.has_bars}"
        process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import {function}; {function}({arguments})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.display.has_bars else None,
            stderr=subprocess.STDOUT if self.display.has_bars else None,
            env=os.environ | ({"CUDA_VISIBLE_DEVICES": self.devices[place]} if self.devices else {}),
            pass_fds=(theirs.fileno(),),
            process_group=0,
        )
        theirs.close()
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
        return Worker(place, process, ours, os.pidfd_open(process.pid))

    def follow(self) -> None:
        """Wait until a worker sends, prints or ends, or a signal comes, and take note of it."""
        worker_of = {source: worker for worker in self.workers for source in worker.sources()}
        for source in wait([self.wake[0], *worker_of]):
            if source == self.wake[0]:
                os.read(self.wake[0], 1)
                self.stop(self.signals.popleft())
                continue
            worker = worker_of[source]
            if worker not in self.workers:  # it left in this round
                continue
            if source is worker.connection:
                self.receive(worker)
            elif source == worker.end:
                self.take_leave(worker)
            else:
                self.show_output(worker)

    def receive(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):  # its process is about to end
            worker.connection.close()
            return
        if not isinstance(message, Ended):
            self.display.receive(message)
            return
        self.note(worker, message)

    def note(self, worker: Worker, ended: Ended) -> None:
        failed_runs.extend(ended.failures)
        self.ended[worker.run] = ended
        worker.run = None
        self.display.show_ended(len(self.ended))

    def take_leave(self, worker: Worker) -> None:
        """A worker's process has ended: read what it has left, and find out why it ended."""
        while not worker.connection.closed and worker.connection.poll():
            self.receive(worker)
        if worker.process.stdout:
            self.show_output(worker)
            worker.process.stdout.close()
        os.close(worker.end)
        worker.connection.close()
        self.workers.remove(worker)
        code = worker.process.wait()
        if worker.run is None:
            return
        if code in EXIT_CODES.values() and not self.exit_code:
            self.stop(signal.SIGINT if code == EXIT_CODES[signal.SIGINT] else signal.SIGTERM)
        elif not self.exit_code:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            sentence = f"{' '.join(self.runs[worker.run])}: the process of this run {how}"
            note_failure(sentence)
            self.note(worker, Ended(error=RunFailed(sentence)))

    def show_output(self, worker: Worker) -> None:
        """Show the whole lines that a worker has printed."""
        assert worker.process.stdout is not None
        text = worker.process.stdout.read() or b""  # does not block
        *lines, worker.line = (worker.line + text).split(b"\n")
        for line in lines:
            self.display.say(line.decode(errors="replace"))
