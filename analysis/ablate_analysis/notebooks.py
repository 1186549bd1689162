"""``python -m ablate_analysis.notebooks experiment=tiny``: run every notebook on an experiment's runs.

    python -m ablate_analysis.notebooks experiment=tiny

The executed notebooks go to outputs/<experiment>/notebooks/, each with an HTML page that a browser opens; the notebooks
in analysis/ stay without outputs. In Jupyter, set ABLATE_RUNS to an experiment's directory, or start it in the
repository after ``make ablation``.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ablate.cli import CONF_DIR, read_words, run_main
from ablate.errors import UserError
from ablate_analysis.compare import Settings
from ablate_analysis.figures import Plot
from ablate_analysis.load import Experiment
from ablate_analysis.style import styled

if TYPE_CHECKING:
    import pandas as pd
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


NAMES_FOR_PEOPLE = {
    "cell": "",
    "step": "steps",
    "tokens": "sampled tokens",
    "std": "standard deviation",
    "context": "context (tokens)",
    "verdict": "",
    "policy/clip_low": "tokens clipped below (share)",
    "policy/clip_high": "tokens clipped above (share)",
    "policy/ratio_max": "largest ratio",
    "policy/kl_old_new": "KL from the old policy (nats)",
    "policy/mismatch_mean_abs": "mismatch of trainer and engine (nats)",
}


def for_people(frame: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The frame with printed names of cells, and names of columns as one would say them."""
    names = {
        **NAMES_FOR_PEOPLE,
        **{name: name.replace("_", " ") for name in map(str, frame.columns) if "/" not in name},
    }
    names |= {name: said for name, said in NAMES_FOR_PEOPLE.items() if name in frame.columns}
    shown = frame.rename(index=experiment.names).rename(columns=names)
    shown.index.names = [NAMES_FOR_PEOPLE.get(str(name), name) for name in shown.index.names]
    return shown.rename_axis(columns=None)


def show(plot: Plot | Figure, title: str = "") -> None:
    """Display a figure with its title, without pyplot's inline backend and its settings."""
    from IPython.display import Image, display

    figure = plot.figure if isinstance(plot, Plot) else plot
    figure.suptitle(title or plot.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
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
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # IPython warns of sockets that only this machine sees
    before = os.environ.get("ABLATE_RUNS")
    os.environ["ABLATE_RUNS"] = str(runs.resolve())  # the kernel is a child process
    try:
        return client.execute()
    finally:
        os.environ.pop("ABLATE_RUNS")
        if before is not None:
            os.environ["ABLATE_RUNS"] = before


def as_html(notebook: NotebookNode, title: str) -> str:
    """The executed notebook as one page, without its code: text, tables and figures."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return html


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
        page = (target / path.name).with_suffix(".html")
        page.write_text(as_html(executed, path.stem), encoding="utf-8")
        print(page, flush=True)
    print(f"open the .html files in a browser; the .ipynb files next to them hold the same, for Jupyter: {target}")


if __name__ == "__main__":
    run_main(main)
