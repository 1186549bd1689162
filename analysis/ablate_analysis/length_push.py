"""Which way a step of each objective pushes the response length: a table of the laboratory's results over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from scipy.stats import t as student

from ablate.laboratory import AS_CONFIGURED, ROWS_FILE
from ablate_analysis.load import Experiment, Run
from ablate_analysis.render import NOTHING, Table

MEASURE = "length_cosine_parameters"
CONFIDENCE = 0.95


def length_tables(experiment: Experiment) -> list[Table]:
    """A table for each cell that the laboratory has looked at (``RUN/laboratory``); none if it has looked at none."""
    names = experiment.names
    rows = {cell: laboratory_rows(experiment.runs_of(cell)) for cell in experiment.cells}
    return [length_table(cell, names[cell], found) for cell, found in rows.items() if len(found)]


def laboratory_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """The measure of each run, with the run's seed; empty where the laboratory measured none."""
    files = {run.seed: run.directory.path / "laboratory" / ROWS_FILE for run in runs}
    frames = [pd.read_parquet(path).assign(seed=seed) for seed, path in files.items() if path.exists()]
    found = pd.concat(frames) if frames else pd.DataFrame(columns=["measure", "toggle"])
    about_length = found["toggle"].eq(AS_CONFIGURED) | found["toggle"].str.startswith(("overlong=", "shape="))
    return found[found["measure"].eq(MEASURE) & about_length]


def length_table(cell: str, name: str, rows: pd.DataFrame) -> Table:
    """One line per objective and overlong mode: the mean over steps and seeds, and the paired difference by mode."""
    value = rows.pivot_table(index="seed", columns=["objective", "toggle"], values="value", sort=False)
    lines = []
    for objective, toggle in value.columns:
        mode = value[objective, toggle]
        difference = NOTHING if toggle == AS_CONFIGURED else mean_over_seeds(mode - value[objective, AS_CONFIGURED])
        lines.append((objective, toggle, mean_over_seeds(mode), difference))
    steps = ", ".join(str(step) for step in sorted(rows["step"].unique()))
    note = (
        f"Rollouts of the cell {name} at steps {steps}, {len(value)} seeds. Cosine between the step that an objective "
        "asks for and the step that makes responses longer, in the space of the parameters: below 0, the step makes "
        f"responses shorter. Mean over steps, then over seeds with its {CONFIDENCE:.0%} t interval; a difference is "
        "between two modes on the same rollouts."
    )
    header = ("objective", "overlong mode", "cosine with length", "difference from as configured")
    return Table(f"length_push_{cell}", "Which way a step pushes the response length", header, tuple(lines), note)


def mean_over_seeds(value_R: pd.Series) -> str:
    value_R = value_R.dropna()
    if len(value_R) < 2:
        return f"{value_R.mean():+.2f}" if len(value_R) else NOTHING
    half = student.ppf((1 + CONFIDENCE) / 2, len(value_R) - 1) * value_R.sem()
    return f"{value_R.mean():+.2f} ± {half:.2f}"
