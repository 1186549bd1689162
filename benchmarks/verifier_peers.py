"""Public checkers of programs and our verifier on the same programs: right verdicts, false passes, cost.

    make conformance                                     installs verl and SkyRL-gym into .venv-conformance
    python -m benchmarks.verifier_peers [checkout.livecodebench=DIR checkout.rllm=DIR checkout.open_instruct=DIR]

* contest: the 28 submissions of tests/verify/judge_cases.jsonl; a verdict is right where it is the contest's.
* legal: the programs of tests/verify/test_legal.py, each right under ``python program.py``. All must pass.
* false passes: programs that compute nothing and want to pass (CHEATS, FORGERIES of tests/verify/test_attacks.py).
* ends badly: programs that print the right answer and then end with an error, print a second one, or take 8 s of CPU
  time where 6 s are allowed. Passing them is lenient rather than wrong, where a benchmark defines it so.
* CPU ms: of one program with ten small tests, the median of nine; a checker's own modules are imported before.

Their limits are seconds on the clock, so a busy machine changes their verdicts. ``stretch=4`` multiplies the limit of
honest programs (6 s a test) for all but ours, whose limit is CPU time.

Every public checker runs inside the outer wall of our sandbox (bubblewrap with our own arguments: no network, no
process of the host, nothing of the host writable), as a user that owns nothing, and nowhere else. The programs are
known; the wall is there because these checkers run them with all rights of the process that trains.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.types import Problem, TestCase
from ablate.verify.local.container import HOST_USERS, SOURCES, arguments, find_bubblewrap, memory_file
from ablate.verify.local.sandbox_view import PACKAGES, PACKAGES_ENVIRONMENT, find_view
from ablate.verify.local.staging import HOST_DEVICES, stage
from ablate.verify.verifier import open_verifier
from benchmarks.verifier import PASSING, PROBLEM, settings
from benchmarks.verifier_peers_worker import CHECKERS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "verify"))  # the tests' own programs
CHECKOUT = "checkout."
INSTALLED = ("prime_code", "skyrl_gym")
OURS = "ours"
LIMIT_S = 6  # of a test
WALL_LIMITS = {resource.RLIMIT_AS: 4 << 30, resource.RLIMIT_NPROC: 256, resource.RLIMIT_FSIZE: 64 << 20}
TMP_BYTES = 128 << 20
HONEST_S, HOSTILE_S = 1800, 120  # after which the container is killed; no verdict is no pass
REPEATS = 9

# The names are those of the checker's own variables; each program looks for them in the frames that called it.
LOOK = """
import sys
def frames():
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back
def lists():  # the inputs and the expected outputs, wherever they are
    for frame in frames():
        values = list(frame.f_locals.values())
        for value in values:
            if isinstance(value, dict) and isinstance(value.get('outputs'), list):
                yield value['inputs'], value['outputs']
        texts = [value for value in values if isinstance(value, list) and value and isinstance(value[0], str)]
        for given in texts:
            for wanted in texts:
                if given is not wanted and len(given) == len(wanted): yield given, wanted
given = sys.stdin.read()
"""
CHEATS = {
    "the expected output, from a frame": LOOK + """
for inputs, outputs in lists():
    if given in inputs:
        print(outputs[inputs.index(given)])
        break
""",
    "the expected outputs, overwritten": LOOK + """
for _, outputs in lists(): outputs[:] = ['0'] * len(outputs)
print(0)
""",
    "the list of results, filled": LOOK + """
import os
for frame in frames():
    for name, value in list(frame.f_locals.items()):
        try:
            if name == 'result': value.append([True] * 2)
            if name == 'metadata_list': value.append({})
            if name == 'stdio_test_results': value[:] = [1] * len(value)
        except Exception: pass
os._exit(0)
""",
    "the comparison, replaced": LOOK + """
for frame in frames():
    for name in ('get_stripped_lines', 'stripped_string_compare', 'custom_compare_'):
        if name in frame.f_globals: frame.f_globals[name] = lambda *values: []
print()
""",
    "zip of nothing": "import builtins\nbuiltins.zip = lambda *rest, **more: iter(())\nprint(0)",
    "everything is true": "import builtins\nbuiltins.all = builtins.bool = lambda value: True\nprint(0)",
    "exit at once": "import os\nos._exit(0)",
    "the end of the interpreter": "import sys\nsys.exit(0)",
    "nothing": "pass",
}  # fmt: skip
HIDDEN = (TestCase("3 4\n", "7\n"), TestCase("50 1\n", "51\n"))
NO_ALARM = (
    "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nstarted = time.process_time()\n"
    "while time.process_time() - started < 8: pass\nprint('contained')"
)
IN_A_CHILD = (
    "import os, time\nif os.fork() == 0:\n    while time.process_time() < 8: pass\n    os._exit(0)\nos.wait()\n"
    "print('contained')"
)
TARGET = (TestCase("", "contained"), TestCase("1", "contained"))


@dataclass(frozen=True)
class Case:
    """A program, its tests, and whether it should pass; ``kind`` is a column of the table."""

    kind: str
    name: str
    program: str
    tests: tuple[TestCase, ...]
    passes: bool
    fn_name: str | None = None
    tolerance: float | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        tests = [{"input": test.input, "output": test.output} for test in self.tests]
        return {"program": self.program, "tests": tests, "fn_name": self.fn_name}

    @property
    def as_problem(self) -> Problem:
        mode = "functional" if self.fn_name else "stdin"
        return Problem(self.name, "", self.tests, "easy", mode, self.fn_name, float_tolerance=self.tolerance)


@dataclass(frozen=True)
class Answer:
    passed: bool
    wall_s: float = 0.0
    cpu_s: float = 0.0
    error: str | None = None


def honest_cases() -> list[Case]:
    import test_legal

    rows = map(json.loads, (ROOT / "tests" / "verify" / "judge_cases.jsonl").read_text().splitlines())
    found = [
        Case("contest", f"{row['id']}/{entry['file']}", entry["code"],
             tuple(TestCase(test["input"], test["output"]) for test in row["tests"]), entry["passes"],
             tolerance=row["float_tolerance"])
        for row in rows for entry in row["submissions"]
    ]  # fmt: skip
    for name, (program, *tests) in test_legal.STDIN.items():
        found.append(Case("legal", name, program, tuple(TestCase(*pair) for pair in tests), True))
    return found


def hostile_cases() -> list[Case]:
    import hostile
    import test_attacks

    next_number = (TestCase("41", "42"), TestCase("42", "43"))
    cheats = [Case("false passes", name, program, HIDDEN, False) for name, program in CHEATS.items()]
    cheats += [
        Case("false passes", f"function: {name}", program, next_number, False, "f")
        for name, program in test_attacks.FORGERIES.items()
    ]
    ends = {name: program for name, (program, kinds) in hostile.EXHAUSTING.items()
            if "contained" in program and kinds <= {"runtime_error", "wrong_answer"}}  # fmt: skip
    ends |= {"8 s of CPU without an alarm": NO_ALARM, "8 s of CPU in a child": IN_A_CHILD}
    return [*cheats, *(Case("ends badly", name, program, TARGET, False) for name, program in ends.items())]


def cost_cases() -> list[Case]:
    return [Case("cost", "add", PASSING, PROBLEM.tests, True)] * (REPEATS + 1)


class Wall:
    """Starts the worker of one checker inside the outer wall of our sandbox."""

    def __init__(self, checker: str, checkout: str | None) -> None:
        main, trainers = (
            next((ROOT / name).glob("lib/python3*/site-packages")) for name in (".venv", ".venv-conformance")
        )
        more = [Path(line) for line in (trainers / "main_environment.pth").read_text().split()]
        places = {"trainers": trainers, **{f"main{index}": place for index, place in enumerate([main, *more])}}
        if checkout:
            places = {"checkout": Path(checkout).resolve(), **places}
        inside = [f"{PACKAGES}/{name}" for name in places] + [f"{PACKAGES}/trainers/skyrl-gym", f"{PACKAGES}/ours"]
        binds = [(str(place), f"{PACKAGES}/{name}") for name, place in places.items()]
        view = find_view([*binds, (str(ROOT / "benchmarks"), f"{PACKAGES}/ours/benchmarks")])
        environment = {
            **view.environment,
            **PACKAGES_ENVIRONMENT,
            "PYTHONPATH": f"{PACKAGES}/ours",
            "PEERS": ":".join(inside),
        }
        self.view, self.checker = replace(view, environment=environment), checker
        self.bwrap = find_bubblewrap()
        self.binds, self.devices = (
            stage(self.bwrap, self.view) if os.getuid() == 0 else (list(view.binds), HOST_DEVICES)
        )

    def command(self, modules: list[int]) -> list[str]:
        line = arguments(self.bwrap, self.view, self.binds, self.devices, modules, [])
        line = line[: line.index("--chdir")]
        writable = ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]
        worker = f"{PACKAGES}/ours/benchmarks/verifier_peers_worker.py"
        return [*line, *writable, self.view.executable, "-S", "-s", "-B", "-X", "utf8", worker]

    def answers(self, cases: Sequence[Case], limit_s: int, timeout_s: float) -> list[Answer]:
        """The checker's answers; a case that it did not reach, or that took its worker away, has not passed."""
        token = secrets.token_hex(8)
        job = {
            "checker": self.checker,
            "limit_s": limit_s,
            "token": token,
            "programs": [each.as_json for each in cases],
        }
        modules = [memory_file(name, text) for name, text in SOURCES.items()]
        started = subprocess.Popen(
            self.command(modules), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=modules, preexec_fn=confine, env={},
        )  # fmt: skip
        for descriptor in modules:
            os.close(descriptor)
        try:
            said, complaint = started.communicate(json.dumps(job).encode(), timeout_s)
        except subprocess.TimeoutExpired:
            started.kill()
            said, complaint = started.communicate()
        said_lines = said.decode("utf-8", "replace").splitlines()
        lines = [
            line.partition(f"{token} ")[2] for line in said_lines if token in line
        ]  # a program may print there too
        found = [Answer(**json.loads(line)) for line in lines][: len(cases)]
        last = (complaint.decode("utf-8", "replace").strip().splitlines() or ["no word"])[-1][:200]
        return found + [Answer(False, error=f"the worker ended: {last}")] * (len(cases) - len(found))


def confine() -> None:
    """Give up root and limit what one process may take, before it becomes bubblewrap."""
    for limit, value in WALL_LIMITS.items():
        resource.setrlimit(limit, (value, value))
    if os.getuid() == 0:
        user = HOST_USERS[os.getpid() % len(HOST_USERS)]
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def our_answers(cases: Sequence[Case]) -> list[Answer]:
    with open_verifier(settings(time_limit_s=LIMIT_S, retries=0, workers=2)) as verifier:
        jobs = [verifier.submit(each.as_problem, each.program) for each in cases]
        verdicts = [job.result() for job in jobs]
    return [Answer(each.passed, each.wall_s, each.cpu_s) for each in verdicts]


def answers_of(checker: str, checkout: str | None, stretch: int) -> list[tuple[Case, Answer]]:
    """All cases of a public checker: honest programs in one worker, each hostile one in its own."""
    wall = Wall(checker, checkout)
    shared, lone = [*honest_cases(), *cost_cases()], hostile_cases()
    found = wall.answers(shared, stretch * LIMIT_S, HONEST_S)
    alone = [wall.answers([case], LIMIT_S, HOSTILE_S)[0] for case in lone]
    return list(zip([*shared, *lone], [*found, *alone], strict=True))


def row_of(name: str, found: Sequence[tuple[Case, Answer]], cpu_ms: float) -> str:
    columns = []
    for kind in ("contest", "legal", "false passes", "ends badly"):
        of_kind = [(case, answer) for case, answer in found if case.kind == kind]
        count = sum(answer.passed == case.passes for case, answer in of_kind)
        is_bad = kind in ("false passes", "ends badly")
        columns.append(f"{len(of_kind) - count if is_bad else count} of {len(of_kind)}")
    return f"| {name} | {' | '.join(columns)} | {cpu_ms:.0f} |"


def cpu_ms_of(found: Sequence[tuple[Case, Answer]]) -> float:
    return 1000 * statistics.median([answer.cpu_s for case, answer in found if case.kind == "cost"][1:])


def our_cpu_ms() -> float:
    from benchmarks.verifier import bench_verifier

    return statistics.median(bench_verifier("ours", PASSING, REPEATS, [PROBLEM], settings()).cpu_ms for _ in range(3))


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    checkouts = {key.removeprefix(CHECKOUT): value for key, value in words.items() if key.startswith(CHECKOUT)}
    wanted = words["checkers"].split(",") if "checkers" in words else [OURS, *INSTALLED, *checkouts]
    if unknown := [name for name in wanted if name not in (OURS, *CHECKERS)]:
        sys.exit(f"error: there is no checker {unknown[0]}: use {', '.join(CHECKERS)}")

    for name in wanted:  # each in a process of its own: the wall covers directories of the process that stages it
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            continue
        if name == OURS:
            cases = [*honest_cases(), *hostile_cases()]
            found, cpu_ms = list(zip(cases, our_answers(cases), strict=True)), our_cpu_ms()
        else:
            found = answers_of(name, checkouts.get(name), int(words.get("stretch", 1)))
            cpu_ms = cpu_ms_of(found)
        print(row_of(name, found, cpu_ms), flush=True)
        for case, answer in found:
            if answer.passed != case.passes:
                print(f"  {name}: {case.kind}: {case.name}: {'passed' if answer.passed else answer.error or 'failed'}")
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
