"""An experiment's report: figures, tables, and one self-contained page that links every number to its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from ablate_analysis import render
from ablate_analysis.finished import Finished, ReportConfig, about_finished_runs, about_forks
from ablate_analysis.forks import is_fork
from ablate_analysis.load import Experiment, Run, load_experiment, load_runs, page_of
from ablate_analysis.pages.document import render_page
from ablate_analysis.pages.figure_data import cells_of
from ablate_analysis.pages.figures import PageFigure, every_name, partial_figures
from ablate_analysis.pages.payload import pack
from ablate_analysis.pages.run_page import write_run_page
from ablate_analysis.pages.samples import write_samples_page
from ablate_analysis.sections import Section
from ablate_analysis.states import states_table, warning
from ablate_analysis.why import Explanation

__all__ = ["Report", "ReportConfig", "write_report", "write_report_of_runs"]

SCRIPTS = ("core.js", "cells.js", "plot.js", "figures.js", "tables.js", "report.js")
LIVE_STEPS = 2  # of a running run, whose rollouts its live page shows: a look must not take the sweep's time


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
        warned = [] if finished.is_decided else warned
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


def states_section(
    experiment: Experiment, planned: Sequence[str], figures: Sequence[PageFigure], is_unfinished: bool
) -> Section:
    """The state of every run, and the curves of all of them so far."""
    drawn = Markup('<div class="figures">{}</div>').format(Markup("\n").join(each.html for each in figures))
    title = "What has run so far" if is_unfinished else "The runs"
    return Section("unfinished", title, render.to_html(states_table(experiment, planned)) + drawn)
