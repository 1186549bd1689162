"""The figures that a page draws itself: each a place in the page, and its numbers in the page's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ablate_analysis import alt_texts, effects
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment, Run, printed_name, tidy_metrics
from ablate_analysis.pages import figure_data

FOLLOWED = "rollout/pass_rate"


@dataclass(frozen=True)
class PageFigure:
    name: str
    title: str
    note: str
    alt: str  # what it shows, for those who cannot see it
    spec: Mapping[str, Any]  # kind, and the arguments of the function of script/figures.js

    @property
    def html(self) -> Markup:
        return Markup(
            '<figure class="plot" id="{}"><figcaption>{}</figcaption><div class="canvas" data-figure="{}" '
            'aria-label="{}"></div><p class="note">{}</p></figure>'
        ).format(self.name, self.title, self.name, self.alt, self.note)


def first_figures(experiment: Experiment, comparison: Comparison) -> list[PageFigure]:
    """The figures of the first screen: the scores, and the effects of a 2 x 2 or the differences from the baseline."""
    found = [scores_figure(comparison)]
    crossed = effects_figure(experiment, comparison)
    if crossed is not None:
        found.append(crossed)
    elif comparison.frame["difference"].notna().any():
        found.append(differences_figure(comparison))
    return found


def further_figures(experiment: Experiment, comparison: Comparison, window: int) -> list[PageFigure]:
    found = []
    if comparison.frame["difference"].notna().any() and effects.crossed_keys(experiment):
        found.append(differences_figure(comparison))
    curves = experiment.metrics, experiment.names, window, comparison.settings.confidence
    found += curve_figures(*curves, figure_data.CURVES)
    spec = {"kind": "scatter", "rows": figure_data.decomposition(comparison)}
    note = "A grey curve joins points with the same Pass@1; along x responses finish, along y the finished ones pass."
    found.append(
        PageFigure("decomposition", "Where Pass@1 comes from", note, alt_texts.of_decomposition(comparison), spec)
    )
    if FOLLOWED in set(experiment.metrics["name"]):
        found += [curves_figure(each, f"Mean over seeds, averaged over {window} steps. Tokens include groups that "
                                "dynamic sampling dropped.", comparison.names)
                  for each in figure_data.compute(experiment, window)]  # fmt: skip
    return [*found, *curve_figures(*curves, figure_data.MORE_CURVES)]


def scores_figure(comparison: Comparison) -> PageFigure:
    score = f"Pass@{comparison.settings.pass_at}"
    note = f"{comparison.settings.confidence:.0%} intervals over problems and training seeds. Dashed: the warm start."
    spec = {"kind": "dots", **figure_data.scores(comparison)}
    return PageFigure("score_by_context", f"{score} by context", note, alt_texts.of_scores(comparison), spec)


def differences_figure(comparison: Comparison) -> PageFigure:
    note = "Points. Not adjusted for several comparisons. An interval that crosses 0 shows no difference."
    spec = {"kind": "forest", "rows": figure_data.differences(comparison)}
    title = f"Differences from {comparison.baseline_name}"
    return PageFigure("differences", title, note, alt_texts.of_differences(comparison), spec)


def effects_figure(experiment: Experiment, comparison: Comparison) -> PageFigure | None:
    frame = figure_data.crossed(experiment, comparison)
    if frame is None:
        return None
    keys = effects.crossed_keys(experiment)
    title = " x ".join(effects.short_name(key) for key in keys)
    note = f"{effects.effects_note(experiment, *keys)} Intervals over problems and the shared seeds."
    spec = {"kind": "forest", "rows": figure_data.effect_rows(frame)}
    return PageFigure("effects-figure", f"Effects of the 2 x 2: {title}", note, alt_texts.of_effects(frame), spec)


def curve_figures(
    metrics: Any, names: Mapping[str, str], window: int, confidence: float, wanted: Mapping[str, tuple[str, str]]
) -> list[PageFigure]:
    note = (
        f"Thick: mean over seeds; its {confidence:.0%} interval is drawn while two cells or fewer are shown. Thin: "
        f"seeds. Averaged over {window} steps."
    )
    return [curves_figure(each, note, names) for each in figure_data.curves(metrics, names, window, confidence, wanted)]


def curves_figure(curves: Mapping[str, Any], note: str, names: Mapping[str, str]) -> PageFigure:
    ends = [f"{names[line['cell']]} from {line['value'][0]} to {line['value'][-1]}" for line in curves["lines"]]
    said = f"{curves['title']}, first to last: {'; '.join(ends)}"
    values = {key: value for key, value in curves.items() if key not in ("name", "title")}
    return PageFigure(curves["name"].replace("/", "-"), curves["title"], note, said, {"kind": "curves", **values})


def partial_figures(experiment: Experiment, window: int, confidence: float) -> list[PageFigure]:
    """The curves of every run so far; those of cells with unfinished runs are dotted."""
    metrics = tidy_metrics(experiment.every_run, [])
    if FOLLOWED not in set(metrics["name"]):
        return []
    running = [run.cell for run in experiment.unfinished]
    note = f"Every run so far; a dotted curve is not finished. Pass rates of rollouts are averaged over {window} steps."
    wanted = {FOLLOWED: figure_data.CURVES[FOLLOWED], **evaluated(metrics)}
    names, found = every_name(experiment.every_run, experiment.baseline), []
    for each in figure_data.curves(metrics, names, window, confidence, wanted):
        for line in each["lines"]:
            line["unfinished"] = line["cell"] in running
        found.append(curves_figure({**each, "name": f"partial-{each['name']}"}, note, names))
    return found


def evaluated(metrics: Any) -> dict[str, tuple[str, str]]:
    """Pass@1 at every evaluated context, as curves."""
    names = [name for name in metrics["name"].unique() if name.startswith("eval/pass@1/") and name.count("/") == 2]
    contexts = sorted(int(name.rpartition("/")[2]) for name in names)
    return {f"eval/pass@1/{context}": (f"Pass@1 at {context:,} tokens", "percent") for context in contexts}


def every_name(runs: Sequence[Run], baseline: str) -> dict[str, str]:
    cells = sorted({run.cell for run in runs}, key=lambda cell: (cell != baseline, cell))
    return {cell: next(printed_name(run) for run in runs if run.cell == cell) for cell in cells}
