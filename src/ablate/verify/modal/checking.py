"""Checkers on Modal: a sandbox of their own, and one exec in it for the answers of each program."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from ablate.verify.checker import SESSION, Judged, judged, opening, request, session_limits
from ablate.verify.inside.test_report import parse_report
from ablate.verify.jobs import Job
from ablate.verify.modal.frames import json_lines, send_frames
from ablate.verify.scoring import limits_of

if TYPE_CHECKING:
    from modal.container_process import ContainerProcess


class Checking:
    """Judges the answers of one program. ``start``: starts an exec in the checkers' sandbox."""

    def __init__(self, start: Callable[[Job], ContainerProcess[bytes]]) -> None:
        self.start = start
        self.process: ContainerProcess[bytes] | None = None

    def judge(self, job: Job, index: int, answer: bytes) -> Judged:
        """Judge one answer in a session of its own: what a session prints reaches us when it ends."""
        if self.process is None:
            self.process = self.start(job)
            self.answers = json_lines(self.process.stdout)
            limits = session_limits(limits_of(job, watched=True), job.memory_limit_mib)
            limits["cpu_s"], limits["wall_s"], limits["starved_s"] = self.limits_of_one(job)
            program = json.dumps({"program": SESSION, "limits": limits}).encode()
            send_frames(self.process.stdin, [program])
        send_frames(self.process.stdin, [opening(job) + request(job, index, answer)])
        try:
            reply = next(self.answers)
            reply = next(self.answers) if "compiled" in reply else reply
            report = parse_report(reply["report"])
            said = base64.b64decode(reply["output"]).splitlines()
            if reply["is_last"]:
                self.process = None
            if report.stopped:
                return Judged(None, f"it was stopped at its limit ({report.stopped})")
            return judged(job, json.loads(said[-1]))
        except (StopIteration, ValueError, KeyError, IndexError, TypeError) as error:
            self.process = None
            return Judged(None, f"its session broke ({type(error).__name__})")

    def limits_of_one(self, job: Job) -> tuple[float, float, float]:
        return job.checker_time_limit_s + 1.0, 2 * job.checker_time_limit_s + 1.0, 10 * job.checker_time_limit_s + 1.0

    def close(self) -> None:
        """End the exec; its sandbox is kept for the next program."""
        if self.process is not None:
            self.process.stdin.write_eof()
            self.process.stdin.drain()
            self.process.wait()
            self.process = None
