"""What a report says about the finished runs: sentences, figures, tables, and the files of tables next to the page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from ablate_analysis import design, effects, further_scores, longer_context, render, selection, tables, tuning
from ablate_analysis.compare import Comparison, Settings, compare
from ablate_analysis.figures import all_figures
from ablate_analysis.findings import findings, published_caveat
from ablate_analysis.forks_page import METHOD as FORK_METHOD
from ablate_analysis.forks_page import fork_findings
from ablate_analysis.length_push import length_tables
from ablate_analysis.load import Experiment, swept_keys
from ablate_analysis.one_factor import check_one_factor, provenance_labels, values_by_cell
from ablate_analysis.overlap import overlap_tables
from ablate_analysis.pages.figure_data import by_difficulty
from ablate_analysis.pages.figures import PageFigure, first_figures, further_figures
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
from ablate_analysis.verdicts import answer, contexts_of
from ablate_analysis.why import Explanation, explain

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
    is_decided: bool = False  # by the declared design, which needs no more runs


def about_finished_runs(
    experiment: Experiment, config: ReportConfig, declared: ComparisonConfig, warned: Sequence[str]
) -> Finished:
    """Compare the finished runs, and write their figures and the tables that are not in the page."""
    doubts, stages = tuning.stages(experiment, declared.tuned_in)
    labels = [
        *labels_of(experiment, config, declared),
        *design.early_label(experiment, declared, bool(warned)),
        *doubts,
    ]
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
    looks = design.looks_of(experiment, comparison, declared)
    fixed = [*fixed, *design.look_sentence(looks, comparison, declared)]
    if looks:
        more.insert(0, design.design_table(looks, comparison, declared))
    is_decided = bool(looks) and looks[-1].verdict != "continue"
    warned = [] if is_decided else warned
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
        is_decided=is_decided,
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
