"""Plant faults that the project had or that other trainers had, one at a time, and see that the named tests find them.

    python benchmarks/mutation.py             all of them; the clone itself is not touched
    python benchmarks/mutation.py clip seeds  some of them

Each fault is a replaced line of the source in a copy. Its tests run there, and at least one has to fail; before that
they pass in the copy without the fault. A whole run of this takes about a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Fault:
    """A replacement in one file of src/ablate.

    Example: ``Fault("objectives/parts/surrogate.py", "torch.minimum(", "torch.maximum(", "tests/objectives")``
    """

    file: str
    line: str  # a part of one line, which stands there once
    instead: str
    tests: str  # the words of pytest


FAULTS = {
    "clip": Fault(  # DESIGN 8.4: an inverted clip
        "objectives/parts/surrogate.py",
        "return torch.minimum(ratio_BT * advantage_B1, bounded_BT * advantage_B1)",
        "return torch.maximum(ratio_BT * advantage_B1, bounded_BT * advantage_B1)",
        "tests/objectives/test_laws.py -k every_law",
    ),
    "denominator": Fault(  # DESIGN 8.1: the tokens of one row instead of the update's
        "objectives/parts/weight.py",
        "return mask_BT.double() / mask_BT.sum().clamp(min=1)",
        "return mask_BT.double() / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)",
        "tests/objectives/test_laws.py -k every_law",
    ),
    "layers": Fault(
        "objectives/parts/weight.py",
        "from torch import Tensor",
        "import ablate.trainer\nfrom torch import Tensor",
        "tests/test_layers.py -k down",
    ),
    "infinite": Fault(  # issue P 2: abs(7 - inf) <= tolerance * inf
        "verify/compare.py",
        "if abs(difference - allowed) > doubt and doubt < math.inf else None",
        "if True else None",
        "tests/verify/test_compare.py",
    ),
    "answer": Fault(  # issue P 33: a server that sends NaN
        "rollout/answer.py",
        "return None if possible.all() else",
        "return None if True else",
        "tests/rollout/test_false_servers.py",
    ),
    "weights": Fault(  # issue P 34: a server that restarted with other weights
        "rollout/servers/same_weights.py",
        "if await self._ask(url) != self._version:",
        "if await self._ask(url) == '':",
        "tests/rollout/test_false_servers.py",
    ),
    "stranger": Fault(  # issue P 38: a checkpoint of another run
        "trainer/checkpoint/integrity.py",
        'changes = value_changes(written_by, computing_values(config.read_text(encoding="utf-8")))',
        "changes = []",
        "tests/test_continuing.py",
    ),
    "hole": Fault(  # issue P 39: records that a checkpoint vouches for are gone
        "session/checkpoints.py",
        "faults.extend([fault] if fault else [])",
        "fault = None",
        "tests/test_continuing.py",
    ),
    "quota": Fault(  # issue P 17: the host's slots for asynchronous input and output
        "verify/inside/syscall_filter.py",
        '    "io_setup": (206, 0),\n',
        "",
        "tests/verify/test_attacks.py",
    ),
    "stage": Fault(  # scores of the stage before select the checkpoint of the next one, and resuming repeats it
        "session/checkpoints.py",
        "state.stage, state.scores = index, {}",
        "state.stage = index",
        "tests/test_resume.py -k selected",
    ),
    "resume": Fault(  # records of steps after the checkpoint stay
        "records/steps.py",
        "last = step if is_evaluated else step - 1",
        "last = step + 1 if is_evaluated else step - 1",
        "tests/test_resume.py -k one_run_killed",
    ),
    "fork": Fault(
        "session/fork.py",
        "state = RunState.of_plain(plain)",
        "state = RunState.of_plain({**plain, 'problem_order': None})",
        "tests/test_fork.py",
    ),
}


def copied(to: Path) -> Path:
    """A copy of what git knows or would add, with the environment of this process."""
    words = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def passes(clone: Path, tests: str) -> bool:
    """Whether all tests pass in the clone, whose sources come before those of the environment.

    Raises:
        RuntimeError: if pytest could not run them.
    """
    sources = os.pathsep.join(str(clone / name) for name in ("src", "analysis", "."))
    environment = os.environ | {"PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests.split()]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode == 0


def main() -> None:
    names = sys.argv[1:] or list(FAULTS)
    with tempfile.TemporaryDirectory() as directory:
        clone, sound = copied(Path(directory)), {}
        print("| fault | planted in | tests | found |\n|---|---|---|---|")
        missed = []
        for name in names:
            fault = FAULTS[name]
            if fault.tests not in sound:
                sound[fault.tests] = passes(clone, fault.tests)
            path = clone / "src" / "ablate" / fault.file
            text = path.read_text()
            if text.count(fault.line) != 1 or not sound[fault.tests]:
                sys.exit(f"{name}: {fault.line!r} is not in {fault.file} once, or {fault.tests} fails without it")
            path.write_text(text.replace(fault.line, fault.instead))
            found = not passes(clone, fault.tests)
            path.write_text(text)
            missed += [] if found else [name]
            print(f"| {name} | {fault.file} | {fault.tests} | {'yes' if found else 'NO'} |", flush=True)
    sys.exit(f"not found: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
