# ruff: noqa: E501 -- programs read best as they are
"""The Modal strategy through Modal's real client, against a double on loopback that runs the tests in bubblewrap."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.verify.verifier import open_verifier

pytest.importorskip("modal")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="the double runs its execs as root, as Modal does")

TESTS = [{"input": f"{a} 1", "output": str(a + 1)} for a in range(5)]
SUBMISSIONS = {
    "accepted": "print(sum(map(int, input().split())))",
    "wrong_answer": "print(7)",
    "wrong_answer late": "a, b = map(int, input().split())\nprint(a + b if a != 2 else 0)",
    "runtime_error": "1 / 0",
    "compile_error": "print(",
    "time_limit": "while True: pass",
    "memory_limit": "x = bytearray(1 << 40)",
    "output_limit": "while True: print('x' * 1000)",
}
ADD_ONE = "class Solution:\n    def f(self, a):\n        print('as well')\n        return (a + 1,)"
LEFT = "import os\nprint(7 if os.path.exists('/tmp/left') or os.listdir('/tmp') != ['main.py'] else 3)\nopen('/tmp/left', 'w')"
NESTED = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n    open('f', 'w').close()\nprint(3)"
RIGHTS = "import os\nprint(3 if os.getuid() and os.getgid() and not os.getgroups() else 7)"
ROWS = [
    {
        "id": "add",
        "tests": TESTS,
        "time_limit_s": 1,
        "submissions": [{"file": kind, "code": code} for kind, code in SUBMISSIONS.items()],
    },
    {
        "id": "three",
        "tests": [{"input": "", "output": "3"}] * 2,
        "submissions": [
            {"file": "accepted", "code": LEFT},
            {"file": "accepted rights", "code": RIGHTS},
            {"file": "accepted deeply nested", "code": NESTED},
            {"file": "compile_error by a crash", "code": "x = " + "1 + " * 200_000 + "1\nprint(3)"},
            {"file": "compile_error by time", "code": "x = f'" + "{0}" * 400_000 + "'\nprint(3)"},
        ],
        "time_limit_s": 1,
    },
    {
        "id": "function",
        "input_mode": "functional",
        "fn_name": "f",
        "tests": [{"input": "4", "output": "[5]"}],
        "submissions": [{"file": "accepted", "code": ADD_ONE}],
    },
]


@contextmanager
def double(fault: str = "", cold_s: float = 0.0):
    """The double's process and the environment in which Modal's client talks to it."""
    command = [sys.executable, str(Path(__file__).parent / "modal_double.py")]
    environment = {**os.environ, "MODAL_DOUBLE_FAULT": fault, "MODAL_DOUBLE_COLD_S": str(cold_s)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        token = {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_ENVIRONMENT": "main"}
        yield process, {**os.environ, **token, "MODAL_SERVER_URL": url}
        process.stdin.close()


def verify_rows(
    tmp_path: Path, rows: list[dict], environment: dict[str, str], *changes: str, said: list[str] | None = None
) -> list[dict]:
    cases, out = tmp_path / "cases.jsonl", tmp_path / "out.jsonl"
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limits = ["verify.backend=modal", "verify.workers=2", "verify.memory_limit_mib=256", "verify.output_limit_kib=64"]
    command = [sys.executable, "-m", "ablate.verify", f"cases={cases}", f"out={out}", *limits, *changes]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    if said is not None:
        said.append(done.stdout + done.stderr)
    return [json.loads(line) for line in out.read_text().splitlines()]


def counts_of(process) -> dict[str, int]:
    """What the double has counted, once it has ended."""
    process.stdin.close()
    return json.loads(process.stdout.read().strip().splitlines()[-1])


def wrong_verdicts(rows: list[dict]) -> list[tuple[str, str]]:
    return [(row["verdict"], row["detail"]) for row in rows if row["file"].split()[0] != row["verdict"]]


WORKERS, NUM_PROGRAMS = 2, 14


@needs_root
def test_modal_gives_the_same_verdicts_in_a_sandbox_and_an_exec_per_rollout(tmp_path):
    said: list[str] = []
    with double() as (process, environment):
        rows = verify_rows(tmp_path, ROWS, environment, said=said)
        counts = counts_of(process)
    assert wrong_verdicts(rows) == []
    assert len(rows) == counts["execs"] == NUM_PROGRAMS
    assert counts["sandboxes"] == counts["terminated"] == NUM_PROGRAMS + WORKERS  # the spares
    assert re.search(rf"paid for .*{counts['sandboxes']} sandboxes, \d+ core seconds, \d+ GiB seconds", said[0])


@needs_root
@pytest.mark.parametrize(
    ("container", "sandboxes", "execs"),
    [
        ("problem", 2, len(SUBMISSIONS)),  # a second one after a failure with another test under way
        ("test", 14, 14),  # 5 of the accepted program, 3 of the late failure, one of each of the others
    ],
)
def test_the_other_containers_give_the_same_verdicts(tmp_path, container, sandboxes, execs):
    with double() as (process, environment):
        rows = verify_rows(tmp_path, ROWS[:1], environment, f"verify.container={container}", "verify.workers=1")
        counts = counts_of(process)
    assert wrong_verdicts(rows) == []
    assert counts["execs"] == execs
    assert counts["sandboxes"] == counts["terminated"] == sandboxes + 1  # the spare


ONE = [{"id": "add", "tests": TESTS[:1], "submissions": [{"file": "a", "code": SUBMISSIONS["accepted"]}]}]


@needs_root
@pytest.mark.parametrize("fault", ["reaped", "torn", "timeout", "starved"])
def test_what_the_platform_breaks_is_never_scored(tmp_path, fault):
    with double(fault) as (_, environment):
        rows = verify_rows(tmp_path, ONE, environment, "verify.retries=0", "verify.workers=1")
    assert [row["verdict"] for row in rows] == ["infrastructure_error"]


@needs_root
@pytest.mark.parametrize("fault", ["reaped", "torn"])
def test_a_program_that_the_platform_broke_once_is_verified_again(tmp_path, fault):
    with double(fault) as (_, environment):
        rows = verify_rows(tmp_path, ONE, environment, "verify.retries=1", "verify.workers=1")
    assert [row["verdict"] for row in rows] == ["accepted"]


LARGE = [
    {
        "id": "large",
        "tests": [{"input": "x" * 200_000 + str(a), "output": "x" * 200_000 + str(a)} for a in range(6)],
        "submissions": [{"file": "accepted", "code": "print(input())"}],
    }
]


@needs_root
def test_inputs_and_outputs_larger_than_a_pipe_do_not_wait_for_each_other(tmp_path):
    with double() as (_, environment):
        rows = verify_rows(
            tmp_path, LARGE, environment, "verify.retries=0", "verify.workers=1", "verify.output_limit_kib=512"
        )
    assert [row["verdict"] for row in rows] == ["accepted"]


@needs_root
def test_a_cold_start_is_no_fault_of_the_program(tmp_path):
    """Neither does it count towards the program's wall time (1 s here, with wall_factor and margin 2 s)."""
    with double(cold_s=3.0) as (_, environment):
        rows = verify_rows(
            tmp_path,
            ONE,
            environment,
            "verify.retries=0",
            "verify.workers=1",
            "verify.wall_factor=1",
            "verify.time_limit_s=1",
        )
    assert [row["verdict"] for row in rows] == ["accepted"]
    assert rows[0]["wall_s"] > 3


@needs_root
def test_a_limited_rate_of_creation_is_waited_for(tmp_path):
    with double("rate_limited") as (process, environment):
        rows = verify_rows(tmp_path, ONE, environment, "verify.retries=0", "verify.workers=1")
        counts = counts_of(process)
    assert counts["creations"] > counts["sandboxes"]
    assert [row["verdict"] for row in rows] == ["accepted"]


def test_without_credentials_modal_is_refused(make_config, monkeypatch):
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="credentials"):
        open_verifier(make_config(backend="modal"))


SUM_CHECKER = """import sys
a, b = map(int, open(sys.argv[3]).read().split())
print(int(a + b == int(open(sys.argv[1]).read())))
"""
MANY_ANSWERS = [
    {
        "id": "pairs",
        "input_mode": mode,
        "tests": [{"input": f"{n}\n", "output": f"0 {n}\n"} for n in (5, 6, 70)],
        "checker": {"kind": "python", "files": {"checker.py": text}},
        "submissions": [{"file": kind, "code": code} for kind, code in programs.items()],
    }
    for mode, text, programs in (
        ("stdin", SUM_CHECKER, {"accepted": "print(1, int(input()) - 1)", "wrong_answer": "print(7, 7)"}),
        ("stdin", "1 / 0", {"infrastructure_error": "print(1)"}),
        ("stdin", "import os\nos._exit(0)", {"infrastructure_error again": "print(1)"}),
        (
            "file",
            SUM_CHECKER,
            {"accepted too": "n = open('input.txt').read()\nopen('output.txt', 'w').write('0 ' + n)"},
        ),
    )
]


@needs_root
def test_checkers_run_in_a_sandbox_that_never_holds_a_program(tmp_path):
    rows = [{**row, "id": f"pairs{number}"} for number, row in enumerate(MANY_ANSWERS)]
    with double() as (process, environment):
        found = verify_rows(tmp_path, rows, environment, "verify.workers=1", "verify.retries=0")
        counts = counts_of(process)
    assert wrong_verdicts(found) == []
    assert len(found) == 5
    assert counts["execs"] == 2 * 5  # one of the program, and one of its checker
    assert counts["sandboxes"] == counts["terminated"] >= 5 + 1 + 1  # the spare, and the checkers'
