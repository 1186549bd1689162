"""Execs, round trips and seconds per rollout on Modal, through the real client, against the loopback double.

    python benchmarks/modal_double.py [--tests 40] [--programs 4] [--rtt-s 0.05] [--cold-s 1.0] [--source DIR]

The double answers every call after ``--rtt-s`` and runs nothing in a sandbox before it is ``--cold-s`` old, so the
seconds are those of this latency; execs and round trips are exact. One worker verifies one program after another. Root
is needed, as the double's execs run as root. ``--source`` measures the ``src`` of another checkout:

    git worktree add ../before 5df422c && python benchmarks/modal_double.py --source ../before/src
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOUBLE = ROOT / "tests" / "verify" / "modal_double.py"
CONTAINERS = ("rollout", "problem", "test")
PROGRAMS = {
    "passes all tests": "a, b = map(int, input().split())\nprint(a + b)\n",
    "fails the first test": "a, b = map(int, input().split())\nprint(a - b)\n",
}


def measure(container: str, program: str, num_tests: int, num_programs: int) -> None:
    """In a process of its own: verify the programs and print the seconds that each took."""
    from omegaconf import OmegaConf

    from ablate.config import VerifyConfig, section
    from ablate.types import Problem, TestCase
    from ablate.verify.verifier import open_verifier

    conf = Path(sys.modules["ablate.config"].__file__).parents[3] / "conf" / "verify"
    values = OmegaConf.merge(OmegaConf.load(conf / "local.yaml"), {"backend": "modal", "workers": 1})
    changes = {"container": container, "memory_limit_mib": 256, "retries": 0, "cache": False, "cache_dir": "unused"}
    tests = tuple(TestCase(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(num_tests))
    problem = Problem("add", "", tests, "easy")
    with open_verifier(section(VerifyConfig, OmegaConf.merge(values, changes), "verify")) as verifier:
        started = time.monotonic()
        verdicts = [verifier.submit(problem, PROGRAMS[program]).result() for _ in range(num_programs)]
        seconds = time.monotonic() - started
    assert not any(verdict.is_infrastructure_error for verdict in verdicts), verdicts
    print(json.dumps([seconds / num_programs, dict(getattr(verifier, "spent", {}))]))


def measured(arguments: argparse.Namespace, container: str, program: str) -> list[str]:
    """One row of the table: what the double counted while a verifier ran, per program."""
    latency = {"MODAL_DOUBLE_RTT_S": str(arguments.rtt_s), "MODAL_DOUBLE_COLD_S": str(arguments.cold_s)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(DOUBLE)], env=os.environ | latency, **pipes) as double:
        url = f"http://127.0.0.1:{double.stdout.readline().strip()}"
        token = {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_ENVIRONMENT": "main"}
        paths = os.pathsep.join((str(arguments.source.resolve()), str(ROOT)))
        environment = os.environ | token | {"MODAL_SERVER_URL": url, "PYTHONPATH": paths}
        sizes = [str(arguments.tests), str(arguments.programs)]
        command = [sys.executable, __file__, "--measure", container, program, *sizes]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        double.stdin.close()
        said = double.stdout.read().strip().splitlines()
    if done.returncode:
        sys.exit(done.stderr)
    counts = json.loads(said[-1])
    per_program = [counts[name] / arguments.programs for name in ("sandboxes", "execs", "calls")]
    seconds, spent = json.loads(done.stdout)
    paid = f"{spent['core seconds'] / arguments.programs:.1f}" if spent else "not counted"
    return [container, program, *(f"{value:.1f}" for value in per_program), f"{seconds:.2f}", paid]


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        container, program, num_tests, num_programs = sys.argv[2:]
        return measure(container, program, int(num_tests), int(num_programs))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=40)
    parser.add_argument("--programs", type=int, default=4)
    parser.add_argument("--rtt-s", type=float, default=0.05)
    parser.add_argument("--cold-s", type=float, default=1.0)
    parser.add_argument("--source", type=Path, default=ROOT / "src")
    arguments = parser.parse_args()
    print(f"{arguments.tests} tests, round trip {arguments.rtt_s} s, cold start {arguments.cold_s} s; per rollout:\n")
    print("| container | program | sandboxes | execs | round trips | seconds | core seconds paid |")
    print("|---|---|---|---|---|---|---|")
    for container in CONTAINERS:
        for program in PROGRAMS:
            print(f"| {' | '.join(measured(arguments, container, program))} |", flush=True)


if __name__ == "__main__":
    main()
