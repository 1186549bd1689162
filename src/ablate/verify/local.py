"""The judge's side of one worker: starts its supervisor process, hands over jobs, replaces it when it dies."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from ablate.verify.jobs import Job, Report, receive_message, send_message

SOURCE_DIR = str(Path(__file__).parents[2])
START = """
import socket, sys
sys.path.insert(0, {source!r})
from ablate.verify import supervisor
supervisor.main(socket.socket(fileno={line}))
"""


class WorkerError(Exception):
    """The supervisor process did not start, or ended."""


class Worker:
    """One supervisor process and its container. Used by one thread at a time; ``cancel`` from any."""

    def __init__(self) -> None:
        self.line: socket.socket | None = None
        self.process: subprocess.Popen | None = None
        self.containment = ""

    def start(self) -> None:
        """Start the supervisor and wait until its sandbox stands.

        Raises:
            WorkerError: with the supervisor's reason.
        """
        self.line, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", START.format(source=SOURCE_DIR, line=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is the judge's to answer
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        word, sentence = receive_message(self.line) or ("failed", "the judge's supervisor process ended at once")
        if word != "ready":
            self.stop()
            raise WorkerError(sentence)
        self.containment = sentence

    def run(self, job: Job) -> Report:
        """Judge one job. Raises WorkerError when the supervisor ended meanwhile; the next call starts another."""
        if self.process is None:
            self.start()
        try:
            send_message(self.line, job)
            report = receive_message(self.line)
        except OSError as error:
            report, reason = None, str(error)
        else:
            reason = "it ended"
        if report is None:
            self.stop()
            raise WorkerError(f"the judge's supervisor process was lost: {reason}")
        return report

    def cancel(self, number: int) -> None:
        """Call a job off if it is the one that runs; its ``run`` then returns soon."""
        line = self.line
        if line is not None:
            with contextlib.suppress(OSError):  # the supervisor ended by itself
                send_message(line, number)

    def stop(self) -> None:
        """End the supervisor; it kills its container and cleans up before it goes."""
        if self.line is not None:
            self.line.close()
        if self.process is not None:
            self.process.wait()
        self.line, self.process = None, None
