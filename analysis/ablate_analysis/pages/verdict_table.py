"""The tables of the report's first screen and of "Why": verdicts by context, and shares by difficulty as colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ablate_analysis.compare import Comparison
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.tables import points, with_interval
from ablate_analysis.verdicts import clearly_above, context_words, contexts_of, joined, mark

FEW_SEEDS = 8  # with six, an interval of the cell that scatters most holds the truth in 88 % (docs/statistics.md)


def verdict_table(comparison: Comparison) -> Markup:
    """A group of rows for each context: score, differences from warm start and baseline, and who is above whom."""
    settings, frame = comparison.settings, comparison.frame
    alpha = 1 - settings.confidence
    has_start, has_baseline = frame["gain"].notna().any(), frame["difference"].notna().any()
    is_more_than_a_pair = frame[frame["cell"] != WARM_START]["cell"].nunique() > 2  # else the difference says it all
    has_above = is_more_than_a_pair and any(clearly_above(comparison, context) for context in contexts_of(comparison))
    header = ["", f"Pass@{settings.pass_at}", *(["from the warm start"] if has_start else []),
              *([f"from {comparison.baseline_name}"] if has_baseline else []),
              *(["clearly above"] if has_above else [])]  # fmt: skip
    bodies = []
    for context in contexts_of(comparison):
        above = clearly_above(comparison, context)
        words = context_words(comparison, context)
        rows = [
            Markup('<tr class="group"><th colspan="{}"><b>{:,} tokens</b> {}</th></tr>').format(
                len(header), context, words
            )
        ]
        here = frame[frame["context"] == context]
        for row in here[here["cell"] == WARM_START].itertuples():
            rows.append(row_html(row.cell, [comparison.names[row.cell], percent(row), *[""] * (len(header) - 2)]))
        for row in here[here["cell"] != WARM_START].itertuples():
            cells: list[str | Markup] = [comparison.names[row.cell], percent(row)]
            if has_start:
                cells.append(marked(row.gain, row.gain_low, row.gain_high, mark(row.gain, row.gain_p_holm, alpha)))
            if has_baseline:
                sign = mark(row.difference, row.p_holm, alpha)
                cells.append(marked(row.difference, row.difference_low, row.difference_high, sign))
            if has_above:
                cells.append(joined([comparison.names[cell] for cell in above[row.cell]]) if row.cell in above else "")
            rows.append(row_html(row.cell, cells))
        bodies.append(Markup("<tbody>{}</tbody>").format(Markup("\n").join(rows)))
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in header)
    return Markup(
        '<figure class="table grouped" id="verdicts"><figcaption>The verdict for each context</figcaption><table>'
        '<thead><tr>{}</tr></thead>{}</table><p class="note">{}</p></figure>'
    ).format(head, Markup("").join(bodies), note(comparison, bool(has_start), bool(has_baseline)))


def note(comparison: Comparison, has_start: bool, has_baseline: bool) -> str:
    settings, frame = comparison.settings, comparison.frame
    said = (
        f"Percent and points, with {settings.confidence:.0%} intervals over problems and training seeds; "
        f"{frame['num_problems'].iloc[0]} problems x {frame['num_samples'].max()} samples."
    )
    if has_start:
        said += " ▲ and ▼: clearly above or below, p adjusted by Holm's method for all cells and contexts; ·: neither."
    if has_baseline:
        said += f" Differences from {comparison.baseline_name} are paired over problems and seeds."
    seeds = frame[frame["cell"] != WARM_START]["num_seeds"]
    if len(seeds) and seeds.max() < FEW_SEEDS:
        said += (
            f" With {seeds.max()} seed{'s' if seeds.max() > 1 else ''} the scatter of the seeds is pooled over "
            "the cells: an interval is too narrow for a cell whose seeds scatter more than the others'."
        )
    return said


def percent(row: Any) -> str:
    return with_interval(row.point, row.low, row.high)


def marked(point: float, low: float, high: float, sign: str) -> Markup:
    if math.isnan(point):
        return Markup("")
    kind = {"▲": "up-mark", "▼": "down-mark"}.get(sign, "no-mark")
    return Markup('<span class="{}">{} {}</span>').format(kind, sign, with_interval(point, low, high, signed=True))


def row_html(cell: str, cells: Sequence[str | Markup]) -> Markup:
    first, *others = cells
    return Markup('<tr data-cell="{}"><td><span class="look" data-look="{}"></span>{}</td>{}</tr>').format(
        cell, cell, first, Markup("").join(Markup("<td>{}</td>").format(each) for each in others)
    )


def difficulty_tables(comparison: Comparison, found: dict[str, Any], contexts: Sequence[int]) -> Markup:
    """One table for each context: cells x difficulty, the shares as colours too."""
    tables = []
    for context in contexts:
        rows = []
        for cell in comparison.names:
            values = found["values"].get((cell, context))
            if values is not None:
                tds = Markup("").join(map(share_cell, values))
                rows.append(Markup('<tr data-cell="{}"><td>{}</td>{}</tr>').format(cell, comparison.names[cell], tds))
        head = Markup("").join(
            Markup('<th title="{} problems">{}</th>').format(count, name) for name, count in found["classes"]
        )
        tables.append(
            Markup(
                '<figure class="table heat" id="difficulty-{}"><figcaption>Pass@1 by difficulty at {:,} tokens'
                "</figcaption><table><thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table></figure>"
            ).format(context, context, head, Markup("\n").join(rows))
        )
    return Markup("\n").join(tables)


def share_cell(share: float) -> Markup:
    if math.isnan(share):
        return Markup("<td></td>")
    return Markup('<td class="share" style="--share: {}%">{}</td>').format(round(100 * share), points(share))
