"""Keep a small part of real runs for the tests: ``python tests/analysis/keep_fixture.py outputs/tiny TARGET``.

Every finished run's configuration, manifest, metrics, evaluation and trace; of the first run also the last step's
rollouts. Checkpoints, patches and reports stay behind.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ablate.records import RunDirectory


def keep(source: Path, target: Path) -> None:
    runs = [RunDirectory(path.parent) for path in sorted(source.rglob("config.yaml"))]
    finished = [run for run in runs if run.status == "done"]
    for index, run in enumerate(finished):
        kept = RunDirectory(target / run.path.relative_to(source))
        kept.path.mkdir(parents=True, exist_ok=True)
        for old, new in (
            (run.config_path, kept.config_path),
            (run.manifest_path, kept.manifest_path),
            (run.metrics_path, kept.metrics_path),
            (run.eval_path, kept.eval_path),
            (run.trace_path, kept.trace_path),
        ):
            shutil.copy(old, new)
        if index == 0:
            last = max(run.rollouts_path.glob("*.parquet"))
            kept.rollouts_path.mkdir(exist_ok=True)
            shutil.copy(last, kept.rollouts_path / last.name)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
