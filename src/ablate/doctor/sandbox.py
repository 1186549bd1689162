"""Two honest programs and two hostile ones through the verifier of the run."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ablate.config import RunConfig, VerifyConfig
from ablate.doctor.finding import FAILED, OK, WARNING, Finding
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.local.cgroups import NO_GROUP
from ablate.verify.speed import measured_by_s, speed_s
from ablate.verify.verifier import open_verifier

MUCH_SLOWER = 2.0  # other work on the machine can make the difference of a smaller factor
HONEST = "a, b = map(int, input().split())\nprint(a + b)\n"
# Prints the right answer only if it can reach a server of this machine, or write outside its own directory.
ESCAPES = """import socket
a, b = map(int, input().split())
escaped = False
try:
    socket.create_connection(("127.0.0.1", {port}), 2)
    escaped = True
except OSError:
    pass
try:
    open("/escaped", "w").close()
    escaped = True
except OSError:
    pass
print(a + b if escaped else "contained")
"""
# Touches every page, so that the memory counts however it is limited.
EXHAUSTS = """block = bytearray({bytes})
block[::4096] = b"x" * len(block[::4096])
a, b = map(int, input().split())
print(a + b)
"""


@contextmanager
def listening() -> Iterator[int]:
    """A server on loopback that accepts nothing; yields its port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


def sandbox(config: RunConfig) -> list[Finding]:
    """An honest program must pass, also after two hostile ones, which must fail; and which limits the kernel keeps."""
    verify = replace(config.verify, workers=1, cache=False)
    problem = Problem("doctor/sum", "Print the sum of two integers.", (TestCase("2 3\n", "5\n"),), "easy")
    too_large = EXHAUSTS.format(bytes=2 * verify.memory_limit_mib * 2**20)
    with listening() as port, open_verifier(verify) as verifier:
        programs = {
            "honest": HONEST,
            "reaching out": ESCAPES.format(port=port),
            "exhausting memory": too_large,
            "honest again": HONEST,
        }
        start = time.perf_counter()
        verdicts = {name: verifier.submit(problem, program).result() for name, program in programs.items()}
        seconds = time.perf_counter() - start
        containment = verifier.backends[0].containment
        cores = speed(config.verify, speed_s(verify) or measured_by_s(verifier.backends[0], verify))
    wrong = {
        name: verdict
        for name, verdict in verdicts.items()
        if (verdict.kind is VerdictKind.accepted) != name.startswith("honest")
    }
    broken = [name for name, verdict in wrong.items() if verdict.is_infrastructure_error]
    says = ", ".join(f"{name}: {verdict.kind.value}" for name, verdict in verdicts.items())
    if wrong:
        details = "; ".join(verdict.detail for verdict in wrong.values() if verdict.detail)
        fix = (
            f"the sandbox itself failed ({details}): see SECURITY.md for what it needs"
            if broken
            else "do not train on this machine: a program that must fail passes, or an honest one does not"
        )
        return [Finding("sandbox", FAILED, says, fix)]
    return [Finding("sandbox", OK, f"{says}, in {seconds:.1f} s"), control_groups(containment), cores]


def speed(verify: VerifyConfig, seconds: float) -> Finding:
    """How fast the cores are that verify, and whether limits of CPU time take it into account."""
    slower = seconds / verify.reference_speed_s
    says = f"the fixed program takes {1000 * seconds:.0f} ms, {slower:.2f} times as long as on the reference core"
    if verify.time_scale != 1:
        return Finding("speed of the cores", OK, f"{says}; verify.time_scale={verify.time_scale}")
    if slower > MUCH_SLOWER:
        fix = "set verify.time_scale=auto, unless limits must be those of a publication: right programs may exceed them"
        return Finding("speed of the cores", WARNING, says, fix)
    return Finding("speed of the cores", OK, says)


def control_groups(containment: str) -> Finding:
    if containment.startswith(NO_GROUP):
        fix = "run as root, or let your administrator delegate a control group; verdicts stay right, limits are coarser"
        return Finding("control groups", WARNING, containment, fix)
    return Finding("control groups", OK, containment)
