"""Break real runs and count what happened: ``python -m benchmarks.faults PART... [--count N] [--out FILE]``.

Trials are appended to a file, so a campaign runs in pieces and by several processes; the table of all of them is
printed at the end. ``python -m benchmarks.faults table`` prints it alone.
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

from benchmarks.faults.busy import run_busy
from benchmarks.faults.commands import run_commands
from benchmarks.faults.kills import run_kills
from benchmarks.faults.malformed import run_malformed
from benchmarks.faults.parts import run_parts
from benchmarks.faults.rewards import run_rewards
from benchmarks.faults.runs import MODES, end_all, private_shared_memory
from benchmarks.faults.sandbox import run_attacks, run_mix
from benchmarks.faults.servers import run_servers
from benchmarks.faults.shared import run_shared
from benchmarks.faults.table import TrialFile, table

PARTS = {  # each with the number of trials that is its goal
    "kills": (run_kills, 120),
    "attacks": (run_attacks, 1000),
    "busy": (run_busy, 5),
    "mix": (run_mix, 10_000),
    "malformed": (run_malformed, 1000),
    "parts": (run_parts, 1),
    "rewards": (run_rewards, 6),
    "commands": (run_commands, 3),
    "servers": (run_servers, 300),
    "shared": (run_shared, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all", "table"])
    parser.add_argument("--count", type=int, help="trials of each part (default: the part's goal)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="of the runs that are killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/faults/trials.jsonl"))
    options = parser.parse_args()
    file = TrialFile(options.out)
    parts = PARTS if "all" in options.parts else [part for part in options.parts if part != "table"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM; the trials so far are in the file"))
    if parts:
        private_shared_memory()
    try:
        for part in parts:
            run, goal = PARTS[part]
            if part == "kills":
                run = partial(run_kills, modes=options.modes)
            run(file, options.count or goal, options.seed, options.out.parent.resolve())
    finally:
        end_all()
    print(table(file.read()))


if __name__ == "__main__":
    main()
