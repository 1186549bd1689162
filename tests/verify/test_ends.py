"""The end of a program is CPython's own: what is flushed, called and collected, and the status with which it ends."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ends import ANSWERS, ENDS

from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.local.container import INSIDE

PROBLEM = Problem("seven", "", (TestCase("", "7"),), "easy")
NUM_PAIRS = 60
PAIRS = [("print", end) for end in ENDS] + [(answer, "the last line") for answer in ANSWERS if answer != "print"]
ALL_PAIRS = [(answer, end) for answer in ANSWERS for end in ENDS if (answer, end) not in PAIRS]


def program_of(pair: tuple[str, str]) -> str:
    return f"{ANSWERS[pair[0]]}\n{ENDS[pair[1]]}\n"


def passes_in_plain_python(program: str, directory: Path) -> bool:
    """Whether ``python3 main.py`` ends well and has written 7 to a file."""
    directory.mkdir()
    (directory / "main.py").write_text(program)
    with (directory / "output").open("wb") as output:
        command = [os.path.realpath(sys.executable), "-X", "utf8", "-s", "-B", "main.py"]
        environment = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL, cwd=directory, env=environment
        )
    return done.returncode == 0 and (directory / "output").read_bytes().split() == [b"7"]


def check(pairs: list[tuple[str, str]], verifier, tmp_path: Path) -> None:
    programs = [program_of(pair) for pair in pairs]
    futures = [verifier.submit(PROBLEM, program) for program in programs]
    with ThreadPoolExecutor(2) as pool:
        wanted = list(pool.map(passes_in_plain_python, programs, (tmp_path / str(n) for n in range(len(programs)))))
    verdicts = [future.result() for future in futures]
    wrong = [
        (pair, verdict.kind.value, verdict.detail, verdict.got)
        for pair, verdict, passes in zip(pairs, verdicts, wanted, strict=True)
        if verdict.passed is not passes or verdict.is_infrastructure_error
    ]
    assert wrong == []


def test_each_way_to_answer_and_each_way_to_end_passes_as_in_plain_python(verifier, tmp_path):
    check(PAIRS, verifier, tmp_path)


def test_ways_to_answer_and_ways_to_end_pass_together_as_in_plain_python(verifier, tmp_path):
    check(random.Random(0).sample(ALL_PAIRS, NUM_PAIRS), verifier, tmp_path)


def test_a_function_ends_like_a_program(verifier):
    problem = Problem("f", "", (TestCase("1", "7"),), "easy", input_mode="functional", fn_name="f")
    dies = "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return 7"
    assert verifier.submit(problem, dies).result().detail == "signal 15"
    assert verifier.submit(problem, "import sys\ndef f(x):\n    del sys.stdout\n    return 7").result().passed


@pytest.mark.parametrize("name", ["SIGTERM", "SIGABRT", "SIGKILL", "SIGALRM"])
def test_the_verdict_names_the_signal_that_ended_a_program(verifier, name):
    program = f"import os, signal\nprint(7, flush=True)\nos.kill(os.getpid(), signal.{name})\n"
    verdict = verifier.submit(PROBLEM, program).result()
    number = int(getattr(__import__("signal"), name))
    assert (verdict.kind, verdict.detail) == (VerdictKind.runtime_error, f"signal {number}")


CONTEST = Path(__file__).parent / "judge_cases.jsonl"
NOT_PLAIN = {
    "f = getattr(sys.stdout, '__class__')(sys.stdout.buffer)",
    "import string, sys\nt = string.Formatter().get_field('0.__class__', (sys.stdout,), {})[0]",
    "from enum import Enum\nE = Enum('E', {'a': 1, '__del__': lambda self: print(7)})",
    "from concurrent.futures import ThreadPoolExecutor",
    "import copy\ncopy.weakref.ref",
    "import random\nrandom._os.fdopen(1, 'w')",
    "f = TextIOWrapper(stdout.buffer)",
    "def g():\n    class A:\n        def __del__(self): print(7)\n    return A",
}


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.syspath_prepend(str(INSIDE))
    return importlib.import_module("plain")


@pytest.mark.parametrize("source", sorted(NOT_PLAIN))
def test_a_program_that_could_act_at_its_end_is_not_taken_for_a_plain_one(plain, source):
    assert not plain.is_plain(compile(source, "main.py", "exec"), {"TextIOWrapper"})


def test_most_contest_programs_are_plain(plain):
    rows = [json.loads(line) for line in CONTEST.read_text().splitlines()]
    sources = [submission["code"] for row in rows for submission in row["submissions"]]
    num_plain = sum(plain.is_plain(compile(source, "main.py", "exec"), ()) for source in sources)
    assert num_plain > 0.8 * len(sources)


def test_a_preludes_own_names_are_suspect(plain):
    module = types.ModuleType("__main__")
    exec("from io import *\nfrom os import popen\nfrom math import *\nimport math, os\nlimit = 3", module.__dict__)
    assert {"TextIOWrapper", "popen", "os"} <= plain.suspects_in(module)
    assert plain.suspects_in(module).isdisjoint({"sqrt", "math", "limit", "pi"})
