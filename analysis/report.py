"""An experiment's report: figures, tables, and one self-contained page that links every number to its runs."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from analysis import effects, longer_context, render, selection, style, tables
from analysis.compare import Comparison, Settings, compare
from analysis.figures import Plot, all_figures
from analysis.findings import findings, published_caveat
from analysis.load import Experiment, load_experiment
from analysis.one_factor import check_one_factor, what_differs
from analysis.overlap import overlap_tables

TEMPLATE = Path(__file__).with_name("report.html.jinja")
METHOD = (
    "Pass@k is the unbiased estimate from a problem's verified samples (Chen et al., arXiv 2107.03374). Intervals: "
    "problems are resampled with replacement, the same draws for every cell, which pairs them; the error of the mean "
    "over training seeds is drawn from Student's t, with the variance between seeds pooled over the cells of the "
    "experiment, because resampling two or three seeds would understate it. In a paired difference the variance from "
    "seeds is the residual of cells x seeds. p-values are two-sided, from the resampled differences, and adjusted by "
    "Holm's method. The detectable difference splits the variance into training seeds, samples and problems. Truncated "
    "responses count with their verdicts; samples without a verdict are not counted."
)


@dataclass(frozen=True)
class ReportConfig:
    """``report`` in conf/report.yaml."""

    folder: str
    on_extra_factor: str
    pass_at: int
    resamples: int
    confidence: float
    power: float
    seed: int
    window: int


def write_report(path: Path, config: ReportConfig, declared: ComparisonConfig) -> tuple[Path, list[str]]:
    """Write the report on the runs under ``path``; return the page and its sentences.

    Args:
        declared: ``comparison`` of the experiment.

    Raises:
        UserError: without a finished run, or if the cells differ in more than the factors and that is refused.
    """
    if config.on_extra_factor not in ("refuse", "label"):
        raise UserError(f"report.on_extra_factor={config.on_extra_factor} is unknown: choose refuse or label")
    experiment = load_experiment(path)
    labels = [declared.note] if declared.note else []
    labels += check_one_factor(experiment, declared.factors, config.on_extra_factor)
    settings = Settings(
        declared.baseline,
        config.resamples,
        config.confidence,
        config.power,
        config.seed,
        config.pass_at,
        declared.min_seeds,
    )
    comparison = compare(experiment, settings)
    gains = longer_context.context_gains(comparison)
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = os.path.relpath(path, folder)
    more = further_tables(experiment, comparison, gains)
    plotted = all_figures(experiment, comparison, config.window)
    for plot in plotted:
        style.save(plot.figure, folder, plot.name)
    main = tables.main_table(comparison, root)
    said = findings(experiment, comparison)
    if declared.longer_context:
        fixed = declared.longer_context
        said = longer_context.fixed_sentences(comparison, gains, fixed.cell, fixed.context, fixed.longer) + said
    sentences = [*labels, *said]
    write_text_tables(folder, experiment, comparison, [main, *tables.published_tables(), *more], root, sentences)
    page = folder / "report.html"
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text())
    page.write_text(
        template.render(
            name=experiment.name,
            cells=len(experiment.cells),
            runs=len(experiment.runs),
            factors=declared.factors,
            baseline=comparison.baseline_name,
            labels=labels,
            findings=said,
            main=render.to_html(main),
            published=[render.to_html(table) for table in tables.published_tables()],
            published_caveat=published_caveat(),
            figures=[inlined(plot, folder) for plot in plotted],
            tables=[render.to_html(table) for table in more],
            differs=[
                (name, what_differs(experiment, cell, declared.baseline))
                for cell, name in experiment.names.items()
                if cell != declared.baseline
            ],
            runs_table=render.to_html(tables.runs_table(experiment, root)),
            method=METHOD,
            command=f"python -m ablate.report experiment={experiment.name}",
        )
    )
    return page, sentences


def write_text_tables(
    folder: Path,
    experiment: Experiment,
    comparison: Comparison,
    shown: Sequence[render.Table],
    root: str,
    sentences: Sequence[str],
) -> None:
    """table.md (everything), table.tex (the main table), scores.csv (the numbers behind them)."""
    said = "\n".join(f"* {sentence}" for sentence in sentences)
    whole = [*shown, tables.runs_table(experiment, root)]
    markdown = f"# {experiment.name}\n\n{said}\n\n{render.all_markdown(whole)}\n{published_caveat()}\n\n{METHOD}\n"
    (folder / "table.md").write_text(markdown)
    (folder / "table.tex").write_text(render.to_latex(shown[0]))
    comparison.frame.assign(runs=comparison.frame["runs"].map(" ".join)).to_csv(folder / "scores.csv", index=False)


def further_tables(experiment: Experiment, comparison: Comparison, gains: pd.DataFrame) -> list[render.Table]:
    found = [
        *([longer_context.context_table(comparison, gains)] if len(gains) else []),
        tables.decomposition_table(comparison),
        tables.comparison_table(comparison),
        tables.difficulty_table(comparison, experiment.scores),
    ]
    selected = selection.selection_table(experiment, comparison)
    if selected:
        found.insert(0, selected)
    keys = effects.crossed_keys(experiment)
    if keys:
        levels = effects.factor_levels(experiment, *keys)
        found.append(tables.effects_table(effects.two_by_two(comparison, levels, *keys)))
    return [*found, *overlap_tables(experiment)]


def inlined(plot: Plot, folder: Path) -> dict[str, str | int]:
    data = base64.b64encode((folder / f"{plot.name}.png").read_bytes()).decode()
    width = round(96 * plot.figure.get_figwidth() * 1.25)
    return {"name": plot.name, "title": plot.title, "note": plot.note, "png": data, "width": width}
