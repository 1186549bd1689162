"""``python -m ablate_analysis.notebooks experiment=tiny``: run every notebook on an experiment's runs.

The executed notebooks go to outputs/<experiment>/notebooks/; the notebooks in analysis/ stay without outputs. In
Jupyter, set ABLATE_RUNS to an experiment's directory, or start it in the repository after ``make ablation``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ablate.cli import CONF_DIR, read_words, run_main
from ablate.errors import UserError
from ablate_analysis.compare import Settings
from ablate_analysis.load import Experiment
from ablate_analysis.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from nbformat import NotebookNode

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("0*.ipynb"))
CELL_TIMEOUT_S = 300


def chosen_runs() -> Path:
    """The directory of the experiment that a notebook shows: $ABLATE_RUNS, or the one that ``make ablation`` writes."""
    return Path(os.environ.get("ABLATE_RUNS", Path(CONF_DIR).parent / "outputs" / "tiny"))


def settings_of(experiment: Experiment) -> Settings:
    """The report's settings (conf/report.yaml) with the baseline and the fewest seeds that the experiment recorded."""
    report = OmegaConf.load(Path(CONF_DIR) / "report.yaml").report
    return Settings(
        experiment.baseline,
        report.resamples,
        report.confidence,
        report.power,
        report.seed,
        report.pass_at,
        experiment.min_seeds,
    )


def show(figure: Figure) -> None:
    """Display a figure as the report would print it, without pyplot's inline backend and its settings."""
    from IPython.display import Image, display

    data = io.BytesIO()
    with styled():
        figure.savefig(data, format="png", dpi=110)
    display(Image(data.getvalue()))


def execute(path: Path, runs: Path) -> NotebookNode:
    """Run one notebook on the experiment under ``runs`` in a fresh kernel and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={})
    before = os.environ.get("ABLATE_RUNS")
    os.environ["ABLATE_RUNS"] = str(runs.resolve())  # the kernel is a child process
    try:
        return client.execute()
    finally:
        os.environ.pop("ABLATE_RUNS")
        if before is not None:
            os.environ["ABLATE_RUNS"] = before


def main() -> None:
    import nbformat
    from nbclient.exceptions import CellExecutionError

    given = read_words(__doc__, own=("experiment", "outputs"), required=("experiment",), overrides=False).own
    runs = Path(given.get("outputs", "outputs")) / given["experiment"]
    if not runs.is_dir():
        raise UserError(f"{runs} does not exist: run python -m ablate.train -m experiment={runs.name} first")
    target = runs / "notebooks"
    target.mkdir(exist_ok=True)
    for path in NOTEBOOKS:
        try:
            executed = execute(path, runs)
        except CellExecutionError as error:
            if error.ename != UserError.__name__:
                raise
            # If this experiment has nothing to show in one notebook (a 2 x 2 needs four cells), the others still run.
            print(f"{path.name}: nothing to show: {error.evalue}", flush=True)
            continue
        nbformat.write(executed, target / path.name)
        print(target / path.name, flush=True)


if __name__ == "__main__":
    run_main(main)
