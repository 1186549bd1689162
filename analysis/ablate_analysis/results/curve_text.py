"""The sentences and tables of a comparison of learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ablate.errors import UserError
from ablate_analysis import sigmoid
from ablate_analysis.paired import Estimate
from ablate_analysis.results.curves import Curve
from ablate_analysis.results.document import Document, Line, Table, line_chart
from ablate_analysis.results.text import percent, points, range_of
from ablate_analysis.stats import Interval

Fits = dict[str, list[sigmoid.Fit]]  # arm -> the fits of its runs


def compose(
    arms: Mapping[str, Sequence[Curve]],
    axis: str,
    start: float | None,
    first: float | None,
    confidence: float,
    matched: bool,
) -> Document:
    """Fit every run, and compare arms over runs.

    Args:
        start: R0 of all runs; None takes each run's first score.
        first: points before it are left out.

    Raises:
        UserError: if scores are no shares, or a run has too few points.
    """
    document = Document("Learning curves of " + ", ".join(arms))
    fits: Fits = {}
    for name, runs in arms.items():
        document.read.append(f"{name}: {len(runs)} runs, {sum(len(run.score) for run in runs)} points over {axis}")
        fits[name] = [fit_of(name, scaled(name, run, document), start, first) for run in runs]
    document.answer = [asymptote_sentence(name, each, axis, confidence) for name, each in fits.items()]
    document.tables = [run_table(arms, fits, axis), extrapolation_table(arms, start, axis)]
    names = list(fits)
    pairs = [(names[0], other) for other in names[1:]]
    if pairs:
        document.answer += [pair_sentence(one, two, fits, axis, confidence, matched) for one, two in pairs]
        document.tables.insert(1, pair_table(pairs, fits, confidence, matched))
    lines = [Line(name, run.compute, shares(run)) for name, runs in arms.items() for run in runs]
    for name, each in fits.items():
        for run, fitted in zip(arms[name], each, strict=True):
            xs = tuple(float(x) for x in np.linspace(max(min(run.compute), 1e-9), max(run.compute), 60))
            lines.append(Line(name, xs, tuple(float(y) for y in fitted.at(np.array(xs))), is_dashed=True))
    document.figures.append((f"Scores over {axis}, with the fits dashed", line_chart(lines, axis, is_log=False)))
    return document


def shares(run: Curve) -> tuple[float, ...]:
    return tuple(y / 100 for y in run.score) if max(run.score) > 1 else run.score


def scaled(name: str, run: Curve, document: Document) -> Curve:
    """The run in shares; scores between 1 and 100 are percent."""
    low, high = min(run.score), max(run.score)
    if low < 0 or high > 100:
        raise UserError(
            f"{name}, {run.run}: scores lie between {low:g} and {high:g}, and a fit needs shares or percent"
        )
    if high > 1:
        document.warnings.append(f"{name}, {run.run}: scores were read as percent")
    return Curve(run.run, run.axis, run.compute, shares(run))


def fit_of(name: str, run: Curve, start: float | None, first: float | None) -> sigmoid.Fit:
    kept = [(x, y) for x, y in zip(run.compute, run.score, strict=True) if first is None or x >= first]
    begin = run.score[0] if start is None else start
    fitted = sigmoid.fit([x for x, _ in kept], [y for _, y in kept], begin) if kept else None
    if fitted is None:
        raise UserError(
            f"{name}, {run.run}: {len(kept)} points are too few for a fit: at least {sigmoid.MIN_POINTS} after the "
            "start are needed, so evaluate more often"
        )
    return fitted


def asymptote_sentence(name: str, fits: Sequence[sigmoid.Fit], axis: str, confidence: float) -> str:
    """The asymptote where the runs identify one, and otherwise a bound and a prediction."""
    twice = [float(each.at(2 * each.largest)) for each in fits]
    if not all(each.is_identified for each in fits):
        reached = max(float(each.at(each.largest)) for each in fits)
        return (
            f"{name}: the asymptote is not identified, because not every run is past {sigmoid.PAST_THE_BEND:g} times "
            f"its midpoint; it is at least {percent(reached)} %. At twice the {axis} the fit predicts "
            f"{spread(sigmoid.over_runs(twice), confidence)}."
        )
    return f"{name}: asymptote {spread(sigmoid.over_runs([each.asymptote for each in fits]), confidence)}."


def spread(estimate: Estimate, confidence: float) -> str:
    if not estimate.degrees:
        return f"{percent(estimate.point)} % (one run: no interval over training runs)"
    interval = range_of(estimate.interval(confidence, (0.0, 1.0)))
    return f"{percent(estimate.point)} % {interval}, over {int(estimate.degrees) + 1} runs"


def compute_ratio(one: Sequence[sigmoid.Fit], two: Sequence[sigmoid.Fit], matched: bool) -> Estimate:
    """Log of the compute that the second needs to the first's, to a level that all runs of both reached."""
    everything = [*one, *two]
    level = sigmoid.common_level(everything, [float(each.at(each.largest)) for each in everything])
    first, second = (
        [math.log(value) if (value := each.compute_to(level)) > 0 else math.nan for each in fits] for fits in (one, two)
    )
    return sigmoid.difference_over_runs(first, second, matched)


def ratio_text(estimate: Estimate, confidence: float) -> str:
    if math.isnan(estimate.point):
        return "-"
    if not estimate.degrees:
        return f"{math.exp(estimate.point):.2f}"
    interval = estimate.interval(confidence, (-math.inf, math.inf))
    return f"{math.exp(estimate.point):.2f} [{math.exp(interval.low):.2f}, {math.exp(interval.high):.2f}]"


def can_match(one: Sequence[sigmoid.Fit], two: Sequence[sigmoid.Fit], matched: bool) -> bool:
    if matched and len(one) != len(two):
        raise UserError(f"runs_match=true needs equal numbers of runs, and there are {len(one)} and {len(two)}")
    return matched


def pair_sentence(one: str, two: str, fits: Fits, axis: str, confidence: float, matched: bool) -> str:
    matched = can_match(fits[one], fits[two], matched)
    ratio = compute_ratio(fits[one], fits[two], matched)
    if not ratio.degrees:
        return f"{two} against {one}: one run of an arm says nothing about other runs, so nothing is claimed."
    is_clear = ratio.p <= 1 - confidence
    size = ratio_text(ratio, confidence)
    if math.isnan(ratio.point):
        return f"{two} against {one}: the runs reached no common score, so their {axis} cannot be compared."
    if not is_clear:
        return f"{two} against {one}: no difference in the {axis} to a common score is detectable (ratio {size})."
    return f"{two} needs {size} times the {axis} of {one} to a common score."


def pair_table(pairs: Sequence[tuple[str, str]], fits: Fits, confidence: float, matched: bool) -> Table:
    rows = []
    for one, two in pairs:
        both = [*fits[one], *fits[two]]
        gap = sigmoid.difference_over_runs([f.asymptote for f in fits[one]], [f.asymptote for f in fits[two]], matched)
        known = all(each.is_identified for each in both)
        interval: Interval | None = gap.interval(confidence) if known and gap.degrees else None
        middle = sigmoid.difference_over_runs(
            *([math.log(f.midpoint) for f in fits[name]] for name in (one, two)), matched
        )
        bend = sigmoid.difference_over_runs(
            *([math.log(f.exponent) for f in fits[name]] for name in (one, two)), matched
        )
        rows.append(
            (f"{two} against {one}", f"{points(gap.point)} {range_of(interval, True)}" if known else "not identified",
             ratio_text(middle, confidence), ratio_text(bend, confidence),
             ratio_text(compute_ratio(fits[one], fits[two], matched), confidence))
        )  # fmt: skip
    head = ("arms", "asymptote, points", "midpoint, ratio", "exponent, ratio", "compute to a common score, ratio")
    return Table("Differences of curves", head, tuple(rows), "Student's t over runs; points of one run are correlated.")


def run_table(arms: Mapping[str, Sequence[Curve]], fits: Fits, axis: str) -> Table:
    rows = []
    for name, runs in arms.items():
        for run, each in zip(runs, fits[name], strict=True):
            asymptote = (
                percent(each.asymptote)
                if each.is_identified
                else f"not identified, >= {percent(float(each.at(each.largest)))}"
            )
            rows.append((name, run.run, percent(each.start), asymptote, f"{each.midpoint:.4g}", f"{each.exponent:.2f}",
                         f"{each.largest / each.midpoint:.1f}", percent(each.rms)))  # fmt: skip
    head = ("arm", "run", "start %", "asymptote %", f"midpoint, {axis}", "exponent", "reach / midpoint", "rms %")
    return Table(
        "Fits", head, tuple(rows), "R = R0 + (A - R0) / (1 + (M / C)^B), arXiv 2510.13786, each run by itself."
    )


def extrapolation_table(arms: Mapping[str, Sequence[Curve]], start: float | None, axis: str) -> Table:
    rows = []
    for name, runs in arms.items():
        for run in runs:
            found = sigmoid.extrapolation(
                run.compute, shares(run), run.score[0] if start is None and max(run.score) <= 1 else start
            )
            cells = ("-", "-", "too few points") if found is None else (
                points(found.mean_error), percent(found.rms), str(found.num_points))  # fmt: skip
            rows.append((name, run.run, *cells))
    head = ("arm", "run", "mean error, points", "rms, points", "points predicted")
    return Table("Extrapolation", head, tuple(rows), f"A fit to the first half of the {axis} predicts the second half.")
