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
            (run.manifest.path, kept.manifest.path),
            (run.steps.metrics_path, kept.steps.metrics_path),
            (run.steps.eval_path, kept.steps.eval_path),
            (run.trace.path, kept.trace.path),
        ):
            shutil.copy(old, new)
        if index == 0:
            last = max(run.steps.rollouts_path.glob("*.parquet"))
            kept.steps.rollouts_path.mkdir(exist_ok=True)
            shutil.copy(last, kept.steps.rollouts_path / last.name)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
