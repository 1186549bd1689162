"""An experiment's report: figures, tables, and one self-contained page that links every number to its runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from ablate_analysis import design, effects, further_scores, longer_context, render, selection, tables, tuning
from ablate_analysis.compare import Comparison, Settings, compare
from ablate_analysis.figures import all_figures
from ablate_analysis.findings import findings, published_caveat
from ablate_analysis.forks import is_fork
from ablate_analysis.forks_page import METHOD as FORK_METHOD
from ablate_analysis.forks_page import fork_findings
from ablate_analysis.length_push import length_tables
from ablate_analysis.load import Experiment, Run, load_experiment, load_runs, page_of, swept_keys
from ablate_analysis.one_factor import check_one_factor, provenance_labels, values_by_cell
from ablate_analysis.overlap import overlap_tables
from ablate_analysis.pages.document import render_page
from ablate_analysis.pages.figure_data import by_difficulty, cells_of
from ablate_analysis.pages.figures import PageFigure, every_name, first_figures, further_figures, partial_figures
from ablate_analysis.pages.payload import pack
from ablate_analysis.pages.run_page import write_run_page
from ablate_analysis.pages.samples import write_samples_page
from ablate_analysis.pages.verdict_table import difficulty_tables, verdict_table
from ablate_analysis.sections import (
    Section,
    bullets,
    differs_section,
    figures_section,
    html_of,
    published_section,
    why_section,
)
from ablate_analysis.states import states_table, warning
from ablate_analysis.verdicts import answer, contexts_of
from ablate_analysis.why import Explanation, explain

SCRIPTS = ("core.js", "cells.js", "plot.js", "figures.js", "tables.js", "report.js")
LIVE_STEPS = 2  # of a running run, whose rollouts its live page shows: a look must not take the sweep's time
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
    samples_per_problem: int | None = None
    live: bool = False
    live_s: int = 10
    split_month: str | None = None


@dataclass(frozen=True)
class Report:
    """A written report: its page, the answer, and what it found."""

    page: Path
    answer: tuple[str, ...]  # one or two sentences
    sentences: tuple[str, ...]  # labels and findings
    explanation: Explanation | None
    runs: str  # how many are finished
    is_unfinished: bool
    live_s: int

    def summary(self) -> list[str]:
        """A few lines for a terminal; the last one is the page."""
        why = list(self.explanation.sentences[:1]) if self.explanation else []
        return [*self.answer, *why, self.runs, str(self.page)]


@dataclass(frozen=True)
class Finished:
    """What the finished runs of an experiment say; nothing where no run is finished."""

    baseline_name: str
    note: str = ""  # what a reader must know before any number
    answer: Sequence[str] = ()
    fixed: Sequence[str] = ()  # what came of a comparison that was fixed in advance
    labels: Sequence[str] = ()
    findings: Sequence[str] = ()
    explanation: Explanation | None = None
    figure: str = ""  # HTML, with which the page opens
    verdicts: str = ""  # HTML
    figures: Sequence[PageFigure] = ()
    names: Mapping[str, str] | None = None  # of the cells
    sections: Sequence[Section] = ()


def write_report(path: Path, config: ReportConfig, declared: ComparisonConfig, planned: Sequence[str] = ()) -> Report:
    """Write the report on the runs under ``path``, with a page for each run.

    Args:
        declared: ``comparison`` of the experiment.
        planned: the runs of the sweep, such as "gspo/seed1"; those without a directory are shown as missing.

    Raises:
        UserError: without a run, or if the finished cells differ in more than the factors and that is refused.
    """
    check_config(config)
    command = f"python -m ablate.report experiment={path.name}"
    return write_pages(load_experiment(path, needs_finished=False), config, declared, planned, command)


def write_report_of_runs(paths: Sequence[Path], config: ReportConfig, declared: ComparisonConfig, name: str) -> Report:
    """Write the report on any runs. Without a declared factor it shows the runs and compares no cells.

    Raises:
        UserError: without a run, or for a directory that does not exist.
    """
    check_config(config)
    experiment = load_runs(paths, name)
    baseline = declared.baseline if declared.baseline in experiment.every_cell else experiment.every_cell[0]
    experiment = replace(experiment, own_baseline=baseline)
    command = f"python -m ablate.report runs={','.join(map(str, paths))}"
    return write_pages(experiment, config, replace(declared, baseline=baseline, note=None), (), command)


def check_config(config: ReportConfig) -> None:
    if config.on_extra_factor not in ("refuse", "label"):
        raise UserError(f"report.on_extra_factor={config.on_extra_factor} is unknown: choose refuse or label")
    for name in ("rollout_steps", "samples_per_problem"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"report.{name}={value} must be 1 or more, or null for all that were saved")


def write_pages(
    experiment: Experiment, config: ReportConfig, declared: ComparisonConfig, planned: Sequence[str], command: str
) -> Report:
    folder, warned = Path(config.folder), warning(experiment, planned)
    finished, has_forks = Finished(declared.baseline), any(map(is_fork, experiment.every_run))
    if experiment.runs:
        about = about_forks if has_forks else about_finished_runs
        finished = about(experiment, config, declared, warned)
    folder.mkdir(parents=True, exist_ok=True)
    partial: Sequence[PageFigure] = ()
    sections = list(finished.sections)
    if warned or not finished.answer:
        partial = () if has_forks else partial_figures(experiment, config.window, config.confidence)
        sections.insert(0, states_section(experiment, planned, partial, bool(warned)))
    samples = None if has_forks else samples_page(experiment, config, folder)
    live_s = config.live_s if config.live else None
    shown = [*finished.figures, *partial]
    names = finished.names or every_name(experiment.every_run, declared.baseline)
    data = {"cells": cells_of(names), "figures": {each.name: each.spec for each in shown}, "live_s": live_s}
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
            sections=sections,
            samples=samples.name if samples else None,
            command=command,
            live_s=live_s,
            data=pack(data),
        ),
        encoding="utf-8",
        errors="replace",  # an error message may hold a lone surrogate
    )
    for run in experiment.every_run if config.run_pages else ():
        if not (config.live and is_newer(folder / page_of(run), [run])):
            steps = LIVE_STEPS if config.live and run.directory.status != "done" else config.rollout_steps
            write_run_page(run, experiment, folder, steps, live_s)
    state = warned[0] if warned else f"Finished runs: {len(experiment.runs)} of {len(experiment.runs)}."
    said = (*filter(None, [finished.note]), *finished.labels, *finished.findings)
    return Report(
        page, (*finished.answer, *finished.fixed), said, finished.explanation, state, bool(warned), config.live_s
    )


def samples_page(experiment: Experiment, config: ReportConfig, folder: Path) -> Path | None:
    """Write the page of evaluation samples, unless it is a live one that has every finished run already."""
    if not config.run_pages:
        return None
    page = folder / "samples.html"
    if config.live and experiment.runs and is_newer(page, experiment.runs):
        return page
    return write_samples_page(experiment, folder, config.samples_per_problem)


def is_newer(page: Path, runs: Sequence[Run]) -> bool:
    """Whether a page was written after all of these runs were finished: then it says all that there is to say."""
    if not page.exists() or any(run.directory.status != "done" for run in runs):
        return False
    written = page.stat().st_mtime
    return all(run.directory.manifest.path.stat().st_mtime < written for run in runs)


def about_finished_runs(
    experiment: Experiment, config: ReportConfig, declared: ComparisonConfig, warned: Sequence[str]
) -> Finished:
    """Compare the finished runs, and write their figures and the tables that are not in the page."""
    doubts, stages = tuning.stages(experiment, declared.tuned_in)
    labels = [*labels_of(experiment, config, declared), *design.early_label(declared, bool(warned)), *doubts]
    settings = Settings(
        declared.baseline,
        config.resamples,
        config.confidence,
        config.power,
        config.seed,
        config.pass_at,
        declared.min_seeds,
        declares=bool(declared.factors),
    )
    try:
        comparison = compare(experiment, settings)
    except UserError as error:
        if declared.factors:
            raise
        return Finished(declared.baseline, labels=[*labels, f"No score is shown: {error}."])
    gains, fixed = longer_context.context_gains(comparison), []
    if chosen := declared.longer_context:
        fixed = longer_context.fixed_sentences(comparison, gains, chosen.cell, chosen.context, chosen.longer)
    said, why = [*fixed, *findings(experiment, comparison)], explain(experiment, comparison)
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = os.path.relpath(experiment.path, folder)
    main, more = tables.main_table(comparison, root), further_tables(experiment, comparison, gains, config.split_month)
    if looks := design.looks_of(experiment, comparison, declared):
        more.insert(0, design.design_table(looks, comparison, declared))
    published = tables.published_tables(declared.published)
    caveat = published_caveat() if published else ""
    sentences = [*filter(None, [*warned, declared.note]), *labels, *said]
    write_text_tables(folder, experiment, comparison, [main, *stages, *published, *more], root, sentences, caveat)
    runs = Section("pages", "Runs", render.to_html(tables.runs_table(experiment, root, config.run_pages)))
    first, others = first_figures(experiment, comparison), further_figures(experiment, comparison, config.window)
    plotted = [] if config.live else all_figures(experiment, comparison, config.window)
    heat = difficulty_tables(comparison, by_difficulty(experiment, comparison), contexts_of(comparison))
    sections = [
        why_section(why, heat, config.run_pages),
        figures_section(others, plotted, folder),
        Section("findings", "All findings", bullets(said, "findings")),
        *(Section("stages", table.title, render.to_html(table)) for table in stages),
        Section("scores", "Scores and their runs", render.to_html(main)),
        runs,
        *([published_section(published, caveat)] if published else []),
        Section("tables", "More tables", html_of(more), is_open=False),
        *([differs_section(experiment)] if len(experiment.cells) > 1 else []),
        Section("method", "How it was computed", Markup('<p class="note">{}</p>').format(METHOD), is_open=False),
    ]
    return Finished(
        baseline_name=comparison.baseline_name,
        note=declared.note or "",
        answer=answer(comparison),
        fixed=fixed,
        labels=labels,
        findings=said,
        explanation=why,
        figure=Markup("\n").join(each.html for each in first),
        verdicts=verdict_table(comparison),
        figures=[*first, *others],
        names=comparison.names,
        sections=sections,
    )


def about_forks(
    experiment: Experiment, config: ReportConfig, declared: ComparisonConfig, warned: Sequence[str]
) -> Finished:
    """Compare the finished branches of forks with the baseline's from the same states."""
    labels = labels_of(experiment, config, declared)
    settings = declared.baseline, config.resamples, config.confidence, config.seed
    try:
        found = fork_findings(experiment, *settings)
    except UserError as error:
        return Finished(declared.baseline, labels=[*labels, f"No effect is shown: {error}."])
    labels = [*found.labels, *labels]
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    root = os.path.relpath(experiment.path, folder)
    said = "\n".join(
        f"* {sentence}" for sentence in [*filter(None, [*warned, declared.note]), *found.answer, found.scope, *labels]
    )
    whole = [*found.tables, tables.runs_table(experiment, root)]
    (folder / "table.md").write_text(f"# {experiment.name}\n\n{said}\n\n{render.all_markdown(whole)}\n{FORK_METHOD}\n")
    (folder / "table.tex").write_text(render.to_latex(found.tables[0]))
    found.frame.to_csv(folder / "effects.csv", index=False)
    runs = render.to_html(tables.runs_table(experiment, root, config.run_pages))
    return Finished(
        baseline_name=found.names[declared.baseline],
        note=declared.note or "",
        answer=found.answer,
        fixed=[found.scope],
        labels=labels,
        figure=found.figures[0].html,
        verdicts=render.to_html(found.tables[0]),
        figures=found.figures,
        names=found.names,
        sections=[
            figures_section(found.figures[1:], [] if config.live else [found.plot], folder),
            Section("tables", "Scores, errors and gradients", html_of(found.tables[1:])),
            Section("pages", "Branches", runs, is_open=False),
            Section("method", "How it was computed", Markup('<p class="note">{}</p>').format(FORK_METHOD)),
        ],
    )


def labels_of(experiment: Experiment, config: ReportConfig, declared: ComparisonConfig) -> list[str]:
    """What a reader must know of how the cells were run; refuses undeclared factors of a declared comparison."""
    if declared.factors:
        return check_one_factor(experiment, declared.factors, config.on_extra_factor)
    differ = [f"{key} ({values_by_cell(key, experiment.runs)})" for key in swept_keys(experiment.runs)]
    if len(experiment.cells) > 1 and differ:
        found = (
            f"The cells differ in {'; '.join(differ[:8])}{f' and {len(differ) - 8} more keys' if differ[8:] else ''}."
        )
        return [found, *provenance_labels(experiment.runs)]
    return provenance_labels(experiment.runs)


def states_section(
    experiment: Experiment, planned: Sequence[str], figures: Sequence[PageFigure], is_unfinished: bool
) -> Section:
    """The state of every run, and the curves of all of them so far."""
    drawn = Markup('<div class="figures">{}</div>').format(Markup("\n").join(each.html for each in figures))
    title = "What has run so far" if is_unfinished else "The runs"
    return Section("unfinished", title, render.to_html(states_table(experiment, planned)) + drawn)


def write_text_tables(
    folder: Path,
    experiment: Experiment,
    comparison: Comparison,
    shown: Sequence[render.Table],
    root: str,
    sentences: Sequence[str],
    caveat: str,
) -> None:
    """table.md (everything), table.tex (the main table), scores.csv (the numbers behind them)."""
    said = "\n".join(f"* {sentence}" for sentence in sentences)
    whole = [*shown, tables.runs_table(experiment, root)]
    markdown = f"# {experiment.name}\n\n{said}\n\n{render.all_markdown(whole)}\n{caveat}\n\n{METHOD}\n"
    (folder / "table.md").write_text(markdown)
    (folder / "table.tex").write_text(render.to_latex(shown[0]))
    comparison.frame.assign(runs=comparison.frame["runs"].map(" ".join)).to_csv(folder / "scores.csv", index=False)


def further_tables(
    experiment: Experiment, comparison: Comparison, gains: pd.DataFrame, split_month: str | None
) -> list[render.Table]:
    others = (
        further_scores.pass_at_k_table(comparison),
        further_scores.equal_tokens_table(experiment, comparison),
        further_scores.fits_table(experiment, comparison),
        further_scores.months_table(comparison, experiment.scores, split_month),
    )
    found = [
        *filter(None, others),
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
