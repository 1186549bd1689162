"""What was learned at which context, in sentences that cannot rank inside the noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ablate_analysis.compare import Comparison
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.tables import points, with_interval

MOST_PAIRS = 4  # named in one sentence


def listed(names: Mapping[str, str], cells: Iterable[str]) -> str:
    """The cells' printed names as a list in a sentence."""
    return joined([names[cell] for cell in cells])


def joined(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def above_start(comparison: Comparison, context: int) -> tuple[list[str], list[str]]:
    """The cells that are clearly above the warm start at a context, and those clearly below it, in their order."""
    frame, alpha = comparison.frame, 1 - comparison.settings.confidence
    clear = frame[(frame["context"] == context) & (frame["gain_p_holm"] < alpha)]
    return list(clear[clear["gain"] > 0]["cell"]), list(clear[clear["gain"] < 0]["cell"])


def clearly_above(comparison: Comparison, context: int) -> dict[str, list[str]]:
    """Cell -> the cells that it is clearly above at a context, over problems and training seeds."""
    pairs = comparison.pairs
    found: dict[str, list[str]] = {}
    if len(pairs):
        for row in pairs[(pairs["context"] == context) & pairs["is_tested"] & pairs["is_clear"]].itertuples():
            found.setdefault(row.upper, []).append(row.lower)
    return found


def answer(comparison: Comparison) -> list[str]:
    """One or two sentences: what training did at each context, and which cells differ from each other."""
    return [*what_training_did(comparison), *which_cells_differ(comparison)]


def contexts_of(comparison: Comparison) -> list[int]:
    return sorted(int(context) for context in comparison.frame["context"].unique())


def what_training_did(comparison: Comparison) -> list[str]:
    """Contexts with the same verdict share a clause."""
    frame = comparison.frame
    if frame["gain"].isna().all():
        return ["The model was not evaluated before training, so no gain is known."]
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
    for context in contexts_of(comparison):
        if frame[frame["context"] == context]["gain"].notna().any():
            above, below = above_start(comparison, context)
            groups.setdefault((tuple(above), tuple(below)), []).append(context)
    clauses = []
    for (above, below), contexts in groups.items():
        start = "the warm start" if not clauses else "it"
        clauses.append(f"at {tokens(contexts)} {start_clause(comparison, contexts, above, below, start)}")
    said = "; ".join(clauses)
    trained = frame[frame["cell"] != WARM_START]
    one = "" if trained["num_seeds"].max() > 1 else " With one seed each, this is about these runs only."
    return [said[0].upper() + said[1:] + "." + one]


def tokens(contexts: Sequence[int]) -> str:
    return f"{joined([f'{context:,}' for context in contexts])} tokens"


def start_clause(
    comparison: Comparison, contexts: Sequence[int], above: Sequence[str], below: Sequence[str], start: str
) -> str:
    frame, names = comparison.frame, comparison.names
    here = frame[frame["context"].isin(contexts) & (frame["cell"] != WARM_START)]
    cells = list(dict.fromkeys(here["cell"]))
    parts = []
    for which, word in ((above, "above"), (below, "below")):
        if which:
            who = "every cell is" if set(which) == set(cells) and len(cells) > 1 else (
                f"{listed(names, which)} {'is' if len(which) == 1 else 'are'}")  # fmt: skip
            sizes = here[here["cell"].isin(which)]["gain"].abs()
            low, high = points(sizes.min()), points(sizes.max())
            parts.append(f"{who} {word} {start}, by {low if low == high else f'{low} to {high}'} points")
    if parts:
        return joined(parts)
    who = "no cell differs" if len(cells) > 1 else f"{names[cells[0]]} does not differ"
    return f"{who} detectably from {start}"


def which_cells_differ(comparison: Comparison) -> list[str]:
    pairs, names, settings = comparison.pairs, comparison.names, comparison.settings
    if pairs.empty:
        return []
    if not settings.declares:
        return ["The cells are not ranked: no factor is declared. To compare them, add comparison.factors=[KEY,...]."]
    if not pairs["is_tested"].any():
        if settings.baseline not in set(comparison.frame["cell"]):
            return [f"The cells are not ranked: the baseline {comparison.baseline_name} has no finished run."]
        seeds = int(pairs["num_seeds"].min())
        return [
            f"The cells are not ranked: that takes {settings.min_seeds} seeds of every cell, and there "
            f"{'is one' if seeds == 1 else f'are {seeds}'}."
        ]
    clear = pairs[pairs["is_tested"] & pairs["is_clear"]].sort_values("point", ascending=False)
    if clear.empty:
        return ["No two cells differ detectably at any context.", *alone(comparison)]
    said = [
        f"{names[row.upper]} is above {names[row.lower]} by {with_interval(row.point, row.low, row.high, signed=True)} "
        f"points at {row.context:,} tokens"
        for row in clear.head(MOST_PAIRS).itertuples()
    ]
    more = len(clear) - len(said)
    rest = f"; {more} more pairs differ" if more else "; no other two cells differ detectably"
    return [f"{'; '.join(said)}{rest}."]


def alone(comparison: Comparison) -> list[str]:
    """Why an interval that excludes 0 is no verdict: it is one of several."""
    pairs, names = comparison.pairs, comparison.names
    several = int(pairs["is_tested"].sum())
    excluding = pairs[pairs["is_tested"] & (pairs["low"] > 0)].sort_values("point", ascending=False)
    if excluding.empty:
        return []
    row = next(excluding.itertuples())
    return [
        f"The adjustment for {several} differences decides that: taken alone, {names[row.upper]} minus "
        f"{names[row.lower]} at {row.context:,} tokens, {with_interval(row.point, row.low, row.high, signed=True)}, "
        "would exclude 0."
    ]


def context_words(comparison: Comparison, context: int) -> str:
    """The verdict of one context for the head of its rows."""
    frame = comparison.frame
    if frame[frame["context"] == context]["gain"].isna().all():
        return ""
    said = start_clause(comparison, [context], *above_start(comparison, context), "the warm start")
    return said[0].upper() + said[1:]


def mark(difference: float, p: float, alpha: float) -> str:
    """▲ clearly above, ▼ clearly below, · neither; nothing where nothing is known."""
    if difference != difference:
        return ""
    return "·" if not p < alpha else "▲" if difference > 0 else "▼"
