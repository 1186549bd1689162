"""The local backend: one supervisor process and its bubblewrap container on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ablate.errors import UserError
from ablate.types import Verdict
from ablate.verify.backend import BackendError
from ablate.verify.jobs import ALIVE, Job
from ablate.verify.local.container import MISSING_BUBBLEWRAP
from ablate.verify.local.messages import receive_message, send_message
from ablate.verify.local.sandbox_view import package_binds, zone_binds
from ablate.verify.packages import Package

SOURCE_DIR = str(Path(__file__).parents[3])
SILENCE_S = 120.0  # a supervisor that says nothing for this long was stopped; one that works is heard every few seconds
END_TIMEOUT_S = 10.0  # for a supervisor to kill its container and to remove its control group
START = """
import json, socket, sys
sys.path.insert(0, {source!r})
from ablate.verify.local import supervisor
supervisor.main(socket.socket(fileno={line}), json.loads(sys.argv[1]))
"""


class LocalBackend:
    """Starts a supervisor process, hands over jobs, and replaces the process when it dies."""

    packages: Sequence[Package] = ()

    def __init__(self) -> None:
        self.line: socket.socket | None = None
        self.process: subprocess.Popen | None = None
        self.containment = ""

    def start(self) -> None:
        """Start the supervisor and wait until its sandbox is ready.

        Raises:
            UserError: without bubblewrap.
            BackendError: with the supervisor's reason.
        """
        if shutil.which("bwrap") is None:
            raise UserError(MISSING_BUBBLEWRAP)
        places = [place for package in self.packages for place in package.places]
        others = json.dumps([*zone_binds(), *package_binds(places)])
        self.line, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", START.format(source=SOURCE_DIR, line=theirs.fileno()), others],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the verifier's process answers a Ctrl-C at the terminal
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        word, sentence = receive_message(self.line) or ("failed", "the verifier's supervisor process ended at once")
        if word != "ready":
            self.stop()
            raise BackendError(sentence)
        self.containment = sentence

    def run(self, job: Job) -> Verdict:
        """Verify one program.

        Raises:
            BackendError: when the supervisor has ended or does not answer; the next call starts another.
        """
        if self.process is None:
            self.start()
        self.line.settimeout(SILENCE_S)
        try:
            send_message(self.line, job)
            while (verdict := receive_message(self.line)) == ALIVE:
                pass
        except TimeoutError:
            verdict, reason = None, f"it did not answer within {self.line.gettimeout():.0f} s"
            self.process.kill()  # its container dies with it
        except OSError as error:
            verdict, reason = None, str(error)
        else:
            reason = "it ended"
        if verdict is None:
            self.stop()
            raise BackendError(f"the verifier's supervisor process was lost: {reason}")
        return verdict

    def cancel(self, number: int) -> None:
        """Cancel the job of this number if it is the one that runs; its ``run`` then returns soon."""
        line = self.line
        if line is not None:
            with contextlib.suppress(OSError):  # the supervisor ended by itself
                send_message(line, number)

    def stop(self) -> None:
        """End the supervisor; it kills its container and cleans up before it goes."""
        if self.line is not None:
            self.line.close()
        if self.process is not None:
            try:
                self.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # it hangs or was stopped; its container dies with it
                self.process.kill()
                self.process.wait()
        self.line, self.process = None, None
