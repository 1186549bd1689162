"""What a checker is told, and what its end means. Runs outside the sandbox only; what a checker says is data."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.verify.inside import test_report

if TYPE_CHECKING:
    from ablate.types import Checker
    from ablate.verify.jobs import Job

SESSION = (Path(test_report.__file__).parent / "checking.py").read_text(encoding="utf-8")
MIB = 1 << 20
SESSION_S = 24 * 3600.0  # a session ends with its job; each answer has limits of its own
LOOK_EVERY_S = 1.0  # the session's address space is limited as well
DISK_MIB = 512  # input, expected output and answer lie in files
FILE_MIB = 256
GRACE_S = 10.0
COMPILED = (".cc", ".cpp", ".cxx", ".c++", ".c")
GIVEN, EXPECTED, ANSWER, FEEDBACK = (
    f"/tmp/work/{name}" for name in ("input.txt", "correct_output.txt", "solution_output.txt", "feedback/")
)
ARGUMENTS = {
    "python": (GIVEN, EXPECTED, ANSWER),  # open-r1/codeforces
    "testlib": (GIVEN, ANSWER, EXPECTED),
    "kattis": (GIVEN, EXPECTED, FEEDBACK),
}
# Exit codes: the problem package format of Kattis; testlib.h (ok, wrong answer, presentation error, dirt, unexpected
# end of file).
EXITS = {"kattis": {42: True, 43: False}, "testlib": {0: True, 1: False, 2: False, 4: False, 8: False}}
OWN_PROCESS = re.compile(r"\b(?:_exit|abort|fork|kill|threading|multiprocessing|atexit|signal|subprocess)\b")
SCORE = re.compile(rb"[01](?:\.\d{1,9})?")


SAID = "the checker: "
FINAL = tuple(f"{SAID}it {what}" for what in ("ended with", "printed", "does not start"))  # the same at every attempt


@dataclass(frozen=True)
class Judged:
    """What a checker made of one answer: accepted or not, or why it did not say.

    Example: ``Judged(None, "it printed neither 0 nor 1")`` is an infrastructure error and never a reward.
    """

    accepted: bool | None
    reason: str = ""


def is_compiled(name: str) -> bool:
    return name.endswith(COMPILED)


def session_limits(limits: dict[str, Any], memory_limit_mib: int) -> dict[str, Any]:
    """The limits of a whole session, made from those of a test: the session gives each answer limits of its own."""
    return {
        **limits,
        **{"mode": "stdin", "fn_name": None, "prelude": None},
        **{"cpu_s": SESSION_S, "wall_s": SESSION_S, "starved_s": SESSION_S},
        "look_every_s": LOOK_EVERY_S,
        "memory_bytes": 2 * memory_limit_mib * MIB,
        "address_space_bytes": (memory_limit_mib + DISK_MIB) * MIB,
        "output_bytes": FILE_MIB * MIB,
        "disk_bytes": DISK_MIB * MIB,
    }


def wall_limit_s(job: Job) -> float:
    return 2 * job.checker_time_limit_s + 1.0


def too_long(job: Job) -> str:
    return f"it took more than {wall_limit_s(job):.0f} s"


def runs_in_session(checker: Checker) -> bool:
    """Whether the session's own process runs the checker, which then nothing but the session's end can stop.

    A checker of several files, and one that may end its process or start others, gets a process for every answer.
    """
    name, text = checker.files[0]
    return len(checker.files) == 1 and not is_compiled(name) and not OWN_PROCESS.search(text)


def opening(job: Job) -> bytes:
    """The first two frames of a session."""
    checker = job.checker
    described = json.dumps(
        {
            "files": dict(checker.files),
            "main": checker.files[0][0],
            "arguments": [*ARGUMENTS[checker.kind], *(checker.flags if checker.kind == "kattis" else ())],
            "in_session": runs_in_session(checker),
            "answer_on_stdin": checker.kind == "kattis",
            "cpu_s": job.checker_time_limit_s,
            "wall_s": wall_limit_s(job),
            "memory_bytes": (job.memory_limit_mib + DISK_MIB) * MIB,
        }
    )
    return framed(described.encode(), Path(job.checker_binary).read_bytes() if job.checker_binary else b"")


def framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def request(job: Job, index: int, answer: bytes) -> bytes:
    """The three frames of one answer."""
    test = job.tests[index]
    given, expected = (text.encode("utf-8", "surrogateescape") for text in (test.input, test.output))
    return framed(given, expected, answer)


def judged(job: Job, reply: dict[str, Any]) -> Judged:
    """Read how a checker ended. Only the forms that its kind has count; anything else is the checker's failure."""
    if "broken" in reply:
        return Judged(None, f"it does not start ({str(reply['broken'])[:200]})")
    try:
        status, stopped = int(reply["status"]), bool(reply["stopped"])
        printed = base64.b64decode(reply["printed"])
    except (KeyError, TypeError, ValueError):
        return Judged(None, "its session answered with something else")
    if stopped:
        return Judged(None, too_long(job))
    said = printed.decode("utf-8", "replace").strip()[:100]
    if os.WIFSIGNALED(status):
        return Judged(None, f"it was ended by signal {os.WTERMSIG(status)}")
    code = os.WEXITSTATUS(status)
    if job.checker.kind == "python":
        if code:
            return Judged(None, f"it ended with {code} ({said})")
        if SCORE.fullmatch(printed.strip()) and float(printed) <= 1:
            return Judged(float(printed) == 1)
        return Judged(None, f"it printed no score from 0 to 1 but {said!r}")
    accepted = EXITS[job.checker.kind].get(code)
    return Judged(accepted, f"it ended with {code} ({said})" if accepted is None else "")
