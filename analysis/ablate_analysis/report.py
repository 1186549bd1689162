"""An experiment's report: figures, tables, and one self-contained page that links every number to its runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from ablate_analysis import effects, longer_context, render, selection, tables
from ablate_analysis.answer import answer
from ablate_analysis.compare import Comparison, Settings, compare
from ablate_analysis.figures import all_figures, partial_curves
from ablate_analysis.findings import findings, published_caveat
from ablate_analysis.length_push import length_tables
from ablate_analysis.load import Experiment, load_experiment
from ablate_analysis.one_factor import check_one_factor
from ablate_analysis.overlap import overlap_tables
from ablate_analysis.pages.document import render_page
from ablate_analysis.pages.run_page import write_run_page
from ablate_analysis.sections import (
    Section,
    bullets,
    differs_section,
    figure_html,
    figures_section,
    html_of,
    scores_section,
    why_section,
)
from ablate_analysis.states import states_table, warning
from ablate_analysis.why import Reason, reasons

SCRIPTS = ("core.js", "tables.js", "report.js")
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
    run_pages: bool = True
    rollout_steps: int | None = None


@dataclass(frozen=True)
class Report:
    """A written report: its page, the answer, and what it found."""

    page: Path
    answer: tuple[str, ...]  # one or two sentences
    sentences: tuple[str, ...]  # labels and findings
    reasons: tuple[Reason, ...]
    runs: str  # how many are finished

    def summary(self) -> list[str]:
        """At most five lines for a terminal; the last one is the page."""
        example = next((reason.example for reason in self.reasons if reason.example), None)
        shown = [f"A rollout that shows a lower score: {example.text}"] if example else []
        return [*self.answer, self.runs, *shown, str(self.page)]


@dataclass(frozen=True)
class Finished:
    """What the finished runs of an experiment say; nothing where no run is finished."""

    baseline_name: str
    note: str = ""  # what a reader must know before any number
    answer: Sequence[str] = ()
    labels: Sequence[str] = ()
    findings: Sequence[str] = ()
    reasons: Sequence[Reason] = ()
    figure: str = ""  # HTML, with which the page opens
    sections: Sequence[Section] = ()


def write_report(path: Path, config: ReportConfig, declared: ComparisonConfig, planned: Sequence[str] = ()) -> Report:
    """Write the report on the runs under ``path``, with a page for each run.

    Args:
        declared: ``comparison`` of the experiment.
        planned: the runs of the sweep, such as "gspo/seed1"; those without a directory are shown as missing.

    Raises:
        UserError: without a run, or if the finished cells differ in more than the factors and that is refused.
    """
    if config.on_extra_factor not in ("refuse", "label"):
        raise UserError(f"report.on_extra_factor={config.on_extra_factor} is unknown: choose refuse or label")
    if config.rollout_steps is not None and config.rollout_steps < 1:
        raise UserError(f"report.rollout_steps={config.rollout_steps} must be 1 or more, or null for all saved steps")
    experiment = load_experiment(path, needs_finished=False)
    folder, warned = Path(config.folder), warning(experiment, planned)
    finished = Finished(declared.baseline)
    if experiment.runs:
        finished = about_finished_runs(experiment, config, declared, warned)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = [states_section(experiment, planned, config, folder)] if warned else []
    page = folder / "report.html"
    page.write_text(
        render_page(
            "report.html.jinja",
            SCRIPTS,
            name=experiment.name,
            cells=len({run.cell for run in experiment.every_run}),
            runs=len(experiment.runs),
            factors=declared.factors,
            warning=warned,
            finished=finished,
            sections=[*unfinished, *finished.sections],
            command=f"python -m ablate.report experiment={experiment.name}",
        ),
        encoding="utf-8",
        errors="replace",  # an error message may hold a lone surrogate
    )
    if config.run_pages:
        for run in experiment.every_run:
            write_run_page(run, experiment, folder, config.rollout_steps)
    state = warned[0] if warned else f"All {len(experiment.runs)} runs are finished."
    said = (*filter(None, [finished.note]), *finished.labels, *finished.findings)
    return Report(page, tuple(finished.answer), said, tuple(finished.reasons), state)


def about_finished_runs(
    experiment: Experiment, config: ReportConfig, declared: ComparisonConfig, warned: Sequence[str]
) -> Finished:
    """Compare the finished runs, and write their figures and the tables that are not in the page."""
    labels = check_one_factor(experiment, declared.factors, config.on_extra_factor)
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
    gains, fixed = longer_context.context_gains(comparison), []
    if chosen := declared.longer_context:
        fixed = longer_context.fixed_sentences(comparison, gains, chosen.cell, chosen.context, chosen.longer)
    said, found = [*fixed, *findings(experiment, comparison)], reasons(experiment, comparison)
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = os.path.relpath(experiment.path, folder)
    main, more = tables.main_table(comparison, root), further_tables(experiment, comparison, gains)
    plotted = all_figures(experiment, comparison, config.window)
    first = next((plot for plot in plotted if plot.name == "differences"), plotted[0])
    others = [plot for plot in plotted if plot is not first]
    shown = [main, *tables.published_tables(), *more]
    sentences = [*filter(None, [*warned, declared.note]), *labels, *said]
    write_text_tables(folder, experiment, comparison, shown, root, sentences)
    runs = Section("pages", "Runs", render.to_html(tables.runs_table(experiment, root, config.run_pages)))
    method = Markup('<p class="note">{}</p>').format(METHOD)
    sections = [
        *filter(None, [why_section(found, config.run_pages)]),
        runs,
        scores_section(main, tables.published_tables(), published_caveat()),
        Section("findings", "All findings", bullets(said, "findings")),
        figures_section(others, folder),
        Section("tables", "More tables", html_of(more), is_open=False),
        differs_section(experiment),
        Section("method", "How it was computed", method, is_open=False),
    ]
    return Finished(
        baseline_name=comparison.baseline_name,
        note=declared.note or "",
        answer=answer(experiment, comparison, fixed),
        labels=labels,
        findings=said,
        reasons=found,
        figure=figure_html(first, folder),
        sections=sections,
    )


def states_section(experiment: Experiment, planned: Sequence[str], config: ReportConfig, folder: Path) -> Section:
    """The state of every run, and the curves of all of them so far."""
    plot = partial_curves(experiment, config.window, config.confidence)
    curves = figure_html(plot, folder) if plot else Markup("")
    return Section("unfinished", "What has run so far", render.to_html(states_table(experiment, planned)) + curves)


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
    return [*found, *overlap_tables(experiment), *length_tables(experiment)]
