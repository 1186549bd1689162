"""Programs per second and CPU per program: our verifier and three other ways to run the same tests, in one run.

    python benchmarks/verifier.py [--programs 40]

* subprocess: ``python -I -S -B`` once per test, no isolation at all.
* bubblewrap: the same inside a fresh bubblewrap per test.
* in-process: LiveCodeBench's pattern (testing_util, compute_code_generation_metrics). For each program, one forked
  process runs all tests with replaced stdin and stdout, and a multiprocessing Manager holds the answer. Nothing is
  isolated, and a program can fool it.

Compare ratios of one run; absolute numbers depend on the other work of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from ablate.config import VerifyConfig
from ablate.types import Problem, TestCase
from ablate.verify.inside import kernel
from ablate.verify.verifier import Verifier, open_verifier

CONF = Path(__file__).parents[1] / "conf" / "verify" / "local.yaml"
PASSING = "a, b = map(int, input().split())\nprint(a + b)\n"
FAILING = "a, b = map(int, input().split())\nprint(a - b)\n"
NUM_TESTS = 10
SETTLE_S = 0.3  # until the last orphan has ended and can be counted
PROBLEM = Problem("add", "", tuple(TestCase(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(NUM_TESTS)), "easy")


@dataclass(frozen=True)
class Row:
    way: str
    programs_per_s: float
    cpu_ms: float


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process, its living descendants, and every process that any of them has waited for.

    When a descendant ends while the tree is read, its time moves to its parent, which may have been read already. The
    tree is then read again.
    """
    while True:
        try:
            return sum(map(cpu_of_process, tree_of(pid)))
        except (FileNotFoundError, ProcessLookupError):
            if not Path(f"/proc/{pid}").exists():
                raise


def cpu_of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def tree_of(pid: int) -> list[int]:
    """Ask every thread for its children, because a process belongs to the thread that started it."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(below for child in children.split() for below in tree_of(int(child)))]


def measured(way: str, num_programs: int, run: Callable[[], None], cpu_s: Callable[[], float]) -> Row:
    time.sleep(SETTLE_S)  # processes of the warm-up end before the measured time begins
    before, started = cpu_s(), time.perf_counter()
    run()
    elapsed_s = time.perf_counter() - started
    time.sleep(SETTLE_S)
    return Row(way, num_programs / elapsed_s, (cpu_s() - before) * 1000 / num_programs)


def own_cpu_s() -> float:
    """CPU seconds of this process and of every process that it has waited for.

    Orphans are among them, because bubblewrap does not wait for its own child.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    mine, waited = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + waited.ru_utime + waited.ru_stime


def settings(**changes: object) -> VerifyConfig:
    ours = {"workers": 1, "cache": False, "cache_dir": "unused"}
    merged = OmegaConf.merge(OmegaConf.structured(VerifyConfig), OmegaConf.load(CONF), ours, changes)
    return OmegaConf.to_object(merged)


def bench_verifier(way: str, program: str, num_programs: int, problems: list[Problem], config: VerifyConfig) -> Row:
    """Our verifier with warm sandboxes; problems come in groups, as in training."""
    passes = program is PASSING
    with open_verifier(config) as verifier:
        for _ in verifier.backends:
            verifier.submit(problems[0], program).result()

        def run() -> None:
            futures = [
                verifier.submit(problems[index * len(problems) // num_programs], program)
                for index in range(num_programs)
            ]
            assert all(future.result().passed == passes for future in futures)

        return measured(way, num_programs, run, lambda: own_cpu_s() + cpu_of_workers(verifier))


def cpu_of_workers(verifier: Verifier) -> float:
    return sum(cpu_of_tree(backend.process.pid) for backend in verifier.backends)


def run_each_test(command: list[str], program: str) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(program)
        file.flush()
        for test in PROBLEM.tests:
            done = subprocess.run([*command, file.name], input=test.input, capture_output=True, text=True, timeout=15)
            if done.returncode or done.stdout.split() != test.output.split():
                return False
    return True


def bench_subprocesses(way: str, command: list[str], program: str, num_programs: int) -> Row:
    def run() -> None:
        for _ in range(num_programs):
            assert run_each_test(command, program) == (program is PASSING)

    return measured(way, num_programs, run, own_cpu_s)


def check_in_process(program: str, answer: list) -> None:
    code = compile(program, "program.py", "exec")
    for test in PROBLEM.tests:
        sys.stdin, sys.stdout = io.StringIO(test.input), io.StringIO()
        exec(code, {"__name__": "__main__"})
        if sys.stdout.getvalue().split() != test.output.split():
            answer.append(False)
            return
    answer.append(True)


def bench_in_process(program: str, num_programs: int) -> Row:
    context = multiprocessing.get_context("fork")

    def run() -> None:
        for _ in range(num_programs):
            with context.Manager() as manager:
                answer = manager.list()
                process = context.Process(target=check_in_process, args=(program, answer))
                process.start()
                process.join()
                assert answer[0] == (program is PASSING)

    return measured("in-process, no isolation", num_programs, run, own_cpu_s)


def bubblewrap_command() -> list[str]:
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]
    return [*line, "--dev", "/dev", "--proc", "/proc", os.path.realpath(sys.executable), "-ISB"]


def print_rows(title: str, rows: list[Row]) -> None:
    print(f"\n{title}\n{'':44}{'programs/s':>12}{'CPU ms/program':>17}{'CPU, ours = 1':>15}")
    for row in rows:
        ratio = row.cpu_ms / rows[0].cpu_ms
        print(f"{row.way:44}{row.programs_per_s:12.1f}{row.cpu_ms:17.1f}{ratio:15.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=40, help="programs per measurement")
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    num_programs = parser.parse_args().programs
    python = [os.path.realpath(sys.executable), "-ISB"]
    for name, program in (("passing", PASSING), ("failing at the first test", FAILING)):
        rows = [
            bench_verifier("our verifier, 1 worker", program, num_programs, [PROBLEM], settings()),
            bench_subprocesses("subprocess per test, no isolation", python, program, max(num_programs // 4, 2)),
            bench_subprocesses("bubblewrap per test", bubblewrap_command(), program, max(num_programs // 4, 2)),
            bench_in_process(program, num_programs),
        ]
        print_rows(f"{NUM_TESTS}-test a+b program, {name}", rows)
    rows = [
        bench_verifier(f"{workers} workers", PASSING, num_programs, [PROBLEM], settings(workers=workers))
        for workers in (1, 2, 4)
    ]
    print_rows("growth with workers (passing)", rows)
    groups = [replace(PROBLEM, id=str(index)) for index in range(max(num_programs // 8, 1))]
    rows = [
        bench_verifier(f"container per {strategy}", PASSING, num_programs, groups, settings(container=strategy))
        for strategy in ("rollout", "problem", "test")
    ]
    print_rows("strategies (passing, groups of 8 programs per problem)", rows)


if __name__ == "__main__":
    main()
