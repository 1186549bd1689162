"""The sentences and tables of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ablate_analysis.results import numbers, parts
from ablate_analysis.results.arms import Arm
from ablate_analysis.results.document import Document, Line, Table, line_chart
from ablate_analysis.results.numbers import Difference, Settings
from ablate_analysis.results.pairing import Paired
from ablate_analysis.stats import Interval

MOST_LISTED = 12


def percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def range_of(interval: Interval | None, signed: bool = False) -> str:
    if interval is None or math.isnan(interval.low):
        return "-"
    show = points if signed else percent
    return f"[{show(interval.low)}, {show(interval.high)}]"


def p_text(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def what_was_read(arm: Arm) -> list[str]:
    """One line an arm, and its notes."""
    low, high = int(arm.count_SP.min()), int(arm.count_SP.max())
    samples = "only means" if not arm.has_samples else f"{high} samples" if low == high else f"{low} to {high} samples"
    samples = samples.replace("1 samples", "1 sample") if samples == "1 samples" else samples
    runs = f"{len(arm.runs)} runs" if len(arm.runs) > 1 else "1 run"
    finish = "finish reasons known" if arm.finished_SP is not None else "no finish reasons"
    tokens = "" if arm.mean_tokens is None else f", {arm.mean_tokens:,.0f} tokens a sample"
    missing = f", {arm.num_without_verdict} samples without a verdict" if arm.num_without_verdict else ""
    head = f"{arm.name} ({arm.format}): {len(arm.problems)} problems, {samples} each, {runs}, {finish}{tokens}{missing}"
    return [head, *(f"{arm.name}: {note}" for note in arm.notes)]


def sentence(each: Difference, paired: Paired, settings: Settings) -> str:
    """The answer for one pair, which never ranks inside the noise."""
    size = f"{points(each.estimate.point)} points {range_of(each.interval, signed=True)}"
    count = len(paired.problems)
    p = (
        f"p {p_text(each.p)}"
        if math.isclose(each.p, each.p_holm)
        else f"p {p_text(each.p)}, adjusted {p_text(each.p_holm)}"
    )
    if math.isnan(each.p):
        one = "one problem" if count == 1 else f"{count} problems of one cluster"
        return f"{each.second} minus {each.first} is {size}, from {one}: more are needed for an interval."
    if each.is_detected:
        order = "above" if each.estimate.point > 0 else "below"
        return f"{each.second} is {order} {each.first}: {size}, {p}, on {count} problems."
    if numbers.is_equal_everywhere(each.estimate):
        return (
            f"No difference between {each.first} and {each.second} is detectable: {each.second} minus {each.first} is "
            f"{size} on {count} problems that all agree, {p}. The interval is what so many equal problems exclude."
        )
    return (
        f"No difference between {each.first} and {each.second} is detectable: {each.second} minus {each.first} is "
        f"{size}, {p}, on {count} problems. This comparison finds a true difference of {percent(each.detectable)} "
        f"points in {100 * settings.power:.0f} of 100 repeats. {needs(each, settings)}"
    )


def needs(each: Difference, settings: Settings) -> str:
    """What would detect the difference of interest."""
    if not each.target:
        return "The difference that was found is 0, so no number of problems would show it."
    enough, never = [], [what for what, count in each.needed.items() if count is None]
    for what, count in each.needed.items():
        if count is not None:
            words = f"{count:,} {what}" + (" of each arm" if what == "runs" else "")
            hours = settings.hours_per_run if what == "runs" else None
            enough.append(words + (f" ({2 * count * hours:,.0f} hours)" if hours else ""))
    size = f"{percent(each.target)} points"
    said = [f"To find a difference of {size} it would take {', or '.join(enough)}."] if enough else []
    more = [f"No number of {' or of '.join(never)} alone would show a difference of {size}."] if never else []
    if not said and not more and each.target >= each.detectable:
        return f"A difference of {size} would have been found."
    return " ".join([*said, *more])


def scope(differences: Sequence[Difference]) -> str:
    if all(each.covers_runs for each in differences):
        return "The intervals cover other problems, other samples and other training runs."
    return (
        "The intervals cover other problems and other samples of these same models. Nothing here says what another "
        "training run would give, because at least one arm is a single run."
    )


def compose(paired: Paired, pairs: Sequence[tuple[int, int]], settings: Settings) -> Document:
    """The whole comparison."""
    found = numbers.differences(paired, pairs, settings)
    document = Document("Comparison of " + ", ".join(arm.name for arm in paired.arms))
    document.answer = [*(sentence(each, paired, settings) for each in found), scope(found)]
    document.warnings = list(paired.warnings)
    document.tables = [
        score_table(paired, settings),
        difference_table(found),
        *pass_tables(paired, settings, document),
        *finish_tables(paired, settings),
        *(flips(each, paired) for each in found if each.gained or each.lost),
        *strata_tables(paired, settings),
    ]
    return document


def score_table(paired: Paired, settings: Settings) -> Table:
    is_binary = all(arm.is_binary for arm in paired.arms)
    rows = []
    for arm in paired.arms:
        score = numbers.score_of(arm, 1, paired.clusters, settings)
        tokens = "-" if arm.mean_tokens is None else f"{arm.mean_tokens:,.0f}"
        rows.append((arm.name, percent(score.point), range_of(score.interval), str(len(paired.problems)),
                     str(int(arm.count_SP.sum())), str(len(arm.runs)), tokens))  # fmt: skip
    head = ("arm", "Pass@1 %" if is_binary else "mean score %", f"{settings.confidence:.0%} interval", "problems",
            "samples", "runs", "tokens")  # fmt: skip
    return Table("Scores", head, tuple(rows))


def difference_table(found: Sequence[Difference]) -> Table:
    head = (
        "second minus first",
        "points",
        "interval",
        "p",
        "adjusted p",
        "detects",
        "same problems again +-",
        "McNemar p",
    )
    rows = [
        (f"{each.second} - {each.first}", points(each.estimate.point), range_of(each.interval, True), p_text(each.p),
         p_text(each.p_holm), percent(each.detectable) if math.isfinite(each.detectable) else "-",
         percent(each.sampling_error), p_text(each.p_mcnemar))
        for each in found
    ]  # fmt: skip
    note = (
        "Paired by problem. 'detects' is the true difference found in 80 of 100 repeats. 'same problems again' is the "
        "standard error if the same models answered the same problems once more."
    )
    return Table("Differences", head, tuple(rows), note)


def pass_tables(paired: Paired, settings: Settings, document: Document) -> list[Table]:
    scores = numbers.pass_at_k(paired, settings)
    ks = sorted({score.k for score in scores})
    if len(ks) < 2:
        return []
    by_arm = {arm.name: [score for score in scores if score.arm == arm.name] for arm in paired.arms}
    rows = [(name, *(f"{percent(s.point)} {range_of(s.interval)}" for s in each)) for name, each in by_arm.items()]
    crossed = [
        f"{each.first} and {each.second} cross at k = {each.k:.1f}: below it {each.ahead_below} is ahead, without a "
        "claim that either lead is real"
        for each in numbers.crossings(paired)
    ]
    lines = [
        Line(name, tuple(float(s.k) for s in each), tuple(s.point for s in each), tuple(s.interval.low for s in each),
             tuple(s.interval.high for s in each))
        for name, each in by_arm.items()
    ]  # fmt: skip
    document.figures.append(("pass@k, unbiased, with intervals over problems", line_chart(lines, "k", is_log=True)))
    note = f"Unbiased estimates from at least {max(ks)} samples a problem. " + (
        "; ".join(crossed) or "No curves cross."
    )
    return [Table("pass@k", ("arm", *(f"k = {k}" for k in ks)), tuple(rows), note)]


def finish_tables(paired: Paired, settings: Settings) -> list[Table]:
    rows = [
        (each.arm, percent(each.finished), range_of(each.finished_gap, True), percent(each.passed_finished),
         range_of(each.passed_finished_gap, True), percent(each.passed_unfinished))
        for each in parts.finishing(paired, settings)
    ]  # fmt: skip
    head = ("arm", "finished %", "minus first", "passed of finished %", "minus first ", "passed, not finished %")
    note = "Pass@1 = finished x passed of finished + passed but not finished. Gaps are from the first arm."
    return [Table("Finishing", head, tuple(rows), note)] if rows else []


def flips(each: Difference, paired: Paired) -> Table:
    """Problems that one arm passes in more than half of its samples and the other does not."""
    arms = {arm.name: arm for arm in paired.arms}
    rate = {
        name: dict(zip(paired.problems, arms[name].rate_SP.mean(axis=0), strict=True))
        for name in (each.first, each.second)
    }
    rows = []
    for kind, names in (("gained", each.gained), ("lost", each.lost)):
        ordered = sorted(names, key=lambda name: -abs(rate[each.second][name] - rate[each.first][name]))
        rows += [
            (kind, name, percent(rate[each.first][name]), percent(rate[each.second][name]),
             arms[each.second].sources.get(name, ""))
            for name in ordered[:MOST_LISTED]
        ]  # fmt: skip
    note = (
        f"{len(each.gained)} gained and {len(each.lost)} lost: problems that one arm passes in more than half of its "
        f"samples and the other does not. At most {MOST_LISTED} of each are listed, the largest changes first."
    )
    head = ("flip", "problem", f"{each.first} %", f"{each.second} %", "source")
    return Table(f"Flips from {each.first} to {each.second}", head, tuple(rows), note)


def strata_tables(paired: Paired, settings: Settings) -> list[Table]:
    found = parts.strata(paired, settings)
    tables = []
    for kind in dict.fromkeys(each.kind for each in found):
        first, *others = (arm.name for arm in paired.arms)
        head = (kind, "problems", first, *(column for name in others for column in (name, f"{name} - {first}")))
        rows = []
        for each in (stratum for stratum in found if stratum.kind == kind):
            cells = [
                cell
                for point, gap in zip(each.points[1:], each.gaps[1:], strict=True)
                for cell in (percent(point), f"{points(point - each.points[0])} {range_of(gap, True)}")
            ]
            rows.append((each.name, str(each.num_problems), percent(each.points[0]), *cells))
        tables.append(Table(f"By {kind}", head, tuple(rows), ""))
    note = "These groups were not chosen before the numbers were seen, and their intervals are not adjusted for that."
    return [*tables[:-1], replace(tables[-1], note=note)] if tables else []
