# ruff: noqa: E501 -- programs read best as they are
"""Every hostile program fails, harms nothing, and the next honest program on the same worker still passes."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
from dataclasses import replace
from pathlib import Path

import hostile
import pytest

from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.verifier import open_verifier

HONEST = ("a, b = map(int, input().split())\nprint(a + b)", Problem("add", "", (TestCase("3 4\n", "7\n"),) * 2, "easy"))
TARGET = Problem("contained", "", (TestCase("", "contained"), TestCase("1", "contained")), "easy")

PATIENT = replace(TARGET, time_limit_s=5.0)  # ten times what a program needs that meets another limit, or none


@pytest.fixture(scope="module")
def lone(make_config):
    """One worker with limits so low that every attack meets one soon."""
    limits = {"workers": 1, "time_limit_s": 0.4, "wall_factor": 2, "memory_limit_mib": 192, "output_limit_kib": 512}
    with open_verifier(make_config(**limits, max_processes=24, retries=0)) as opened:
        yield opened


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Things of the host that a program would like to reach."""
    secret = tmp_path_factory.mktemp("host") / "secret"
    secret.write_text("secret of the host")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0ablate-verifier-test")
        unix.listen()
        port = tcp.getsockname()[1]
        yield {
            "port": port,
            "abstract": "ablate-verifier-test",
            "secret": str(secret),
            "here": str(Path(__file__).parent),
        }


def bubblewraps(verifier) -> list[str]:
    """Processes that the worker's supervisor has started: another id means that the container was replaced."""
    pid = verifier.backends[0].process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def assert_worker_is_well(verifier, before: list[str]) -> None:
    program, problem = HONEST
    verdict = verifier.submit(problem, program).result()
    assert verdict.kind is VerdictKind.accepted, verdict
    assert bubblewraps(verifier) == before


@pytest.mark.parametrize("name", hostile.EXHAUSTING)
def test_an_exhausting_program_meets_its_limit(lone, name):
    before = bubblewraps(lone)
    program, kinds = hostile.EXHAUSTING[name]
    meets_limit_of_time = bool(kinds & {"time_limit", "compile_error"})
    verdict = lone.submit(TARGET if meets_limit_of_time else PATIENT, program).result()
    assert verdict.kind in kinds, verdict
    assert_worker_is_well(lone, before)


@pytest.mark.parametrize("name", hostile.CONTAINED)
def test_a_forbidden_thing_is_out_of_reach(lone, host, name):
    before = bubblewraps(lone)
    program = hostile.CONTAINED[name]
    for key, value in host.items():
        program = program.replace("{" + key + "!r}", repr(value)).replace("{" + key + "}", str(value))
    verdict = lone.submit(PATIENT, program).result()
    assert verdict.kind is VerdictKind.accepted, verdict
    assert_worker_is_well(lone, before)


def test_a_lock_of_a_program_is_no_lock_on_the_host(lone):
    lock = "import fcntl\nfor f in (2, open('/dev/zero')): fcntl.flock(f, fcntl.LOCK_EX)\nprint('contained')"
    assert lone.submit(TARGET, lock).result().passed
    for name in ("/dev/null", "/dev/zero"):
        with open(name) as device:  # noqa: PTH123 -- a device is no text
            fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look at the files of the sandbox")
def test_what_a_program_makes_the_sandbox_say_fills_a_pipe_at_most(lone):
    assert lone.submit(TARGET, "if 0:\n" + "    0 is 0\n" * 20_000 + "print('contained')").result().passed
    said = Path(f"/proc/{bubblewraps(lone)[0]}/fd/2")
    assert stat.S_ISFIFO(said.stat().st_mode)
    assert not select.select([os.open(said, os.O_RDONLY | os.O_NONBLOCK)], [], [], 0)[0]


def test_expected_outputs_are_nowhere_inside(verifier):
    problem = Problem("p", "", (TestCase("", "needle-41f9c2e7"),), "easy")
    search = hostile.SEARCH.format(first="needle", second="-")
    program = search + "print(*(word.decode() for word in found))"
    verdict = verifier.submit(problem, program).result()
    assert verdict.kind is VerdictKind.wrong_answer, verdict


def test_a_test_sees_no_other_tests_input(verifier):
    tests = tuple(TestCase(f"needle-{digit * (20 - digit)}\n", "0") for digit in range(1, 5))
    search = hostile.SEARCH.format(first="needle", second="-")
    program = search + (
        "own = input().encode()\n"
        "print(len({word for word in found if word[7:8].isdigit() and word not in own and own not in word}))"
    )
    verdict = verifier.submit(Problem("p", "", tests, "easy"), program).result()
    assert verdict.kind is VerdictKind.accepted, verdict


FORGERIES = {
    "equal to everything": "class E:\n    def __eq__(self, other): return True\ndef f(n): return E()",
    "a list equal to everything": "class E(list):\n    def __eq__(self, other): return True\ndef f(n): return E()",
    "a string subclass": "class E(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef f(n): return E('no')",
    "replaced json": "import json\njson.dumps = lambda *a, **k: 'R42'\njson.loads = lambda *a, **k: 42\ndef f(n): return 0",
    "replaced builtins": "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 1\ndef f(n): return 0",
    "a counter that replays": "calls = [0]\ndef f(n):\n    calls[0] += 1\n    return [0, 42, 43][calls[0]]",
    "exit": "import os\ndef f(n): os._exit(0)",
    "sys.exit": "import sys\ndef f(n): sys.exit(0)",
    "no such function": "def g(n): return 42",
    "a cycle": "def f(n):\n    x = []\n    x.append(x)\n    return x",
    "not a JSON value": "def f(n): return {1, 2}",
    "deep nesting": "def f(n):\n    x = []\n    for _ in range(30000): x = [x]\n    return x",
    "not a number": "def f(n): return float('nan')",
    "a flood": "def f(n): return 'x' * (1 << 30)",
    "the result channel": "import os\ndef f(n):\n    os.write(3, b'R42')\n    return 0",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_result_is_not_accepted(lone, name):
    before = bubblewraps(lone)
    tests = (TestCase("41", "42"), TestCase("42", "43"))
    problem = Problem("next", "", tests, "easy", input_mode="functional", fn_name="f")
    verdict = lone.submit(problem, FORGERIES[name]).result()
    assert not verdict.passed, verdict
    assert not verdict.is_infrastructure_error, verdict
    assert_worker_is_well(lone, before)
