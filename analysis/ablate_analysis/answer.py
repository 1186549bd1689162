"""The answer of an experiment in two sentences: which cell won and whether that is real, and what training did."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ablate_analysis import power
from ablate_analysis.compare import Comparison
from ablate_analysis.findings import listed
from ablate_analysis.load import Experiment
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.tables import points, probability, with_interval


def answer_context(experiment: Experiment, comparison: Comparison) -> int:
    """The context that the answer is about: ``eval.select_at``, or the shortest one that was evaluated."""
    contexts = sorted(int(context) for context in comparison.frame["context"].unique())
    chosen = experiment.runs[0].config.get("eval", {}).get("select_at")
    return chosen if chosen in contexts else contexts[0]


def answer(experiment: Experiment, comparison: Comparison, fixed: Sequence[str] = ()) -> list[str]:
    """Who won, if a difference is detectable, and what came of training.

    Args:
        fixed: what came of a comparison that was fixed in advance, which then takes the place of what training did.
    """
    context = answer_context(experiment, comparison)
    frame = comparison.frame
    here = frame[(frame["context"] == context) & (frame["cell"] != WARM_START)]
    best = here.loc[here["point"].idxmax()]
    return [who_won(comparison, here, best, context), *(fixed or [what_training_did(comparison, here, context)])]


def who_won(comparison: Comparison, here: pd.DataFrame, best: pd.Series, context: int) -> str:
    names, settings = comparison.names, comparison.settings
    base = comparison.baseline_name
    score = f"Pass@{settings.pass_at} {with_interval(best['point'], best['low'], best['high'])} % at {context:,} tokens"
    highest = f"{names[best['cell']]} scores highest, {score}"
    tested = here.dropna(subset="p_holm")
    if len(here) == 1:
        return f"{names[best['cell']]}, the only cell, has {score}."
    if tested.empty:
        few = f"fewer than {settings.min_seeds} seeds are finished in every cell"
        why = few if settings.baseline in set(here["cell"]) else "it has no finished run"
        return f"{highest}; no cell is compared with {base}, because {why}."
    clear = tested[tested["p_holm"] < 1 - settings.confidence]
    if best["cell"] in set(clear["cell"]):
        gap = with_interval(best["difference"], best["difference_low"], best["difference_high"], signed=True)
        said = (
            f"{names[best['cell']]} won: {score}, {gap} points from {base} (adjusted p {probability(best['p_holm'])})"
        )
    elif clear.empty:
        smallest = probability(tested["p_holm"].min())
        said = f"{highest}, but no cell won: no difference from {base} is detectable (smallest adjusted p {smallest})"
    else:
        worse = listed(names, clear["cell"])
        lead = "" if best["cell"] == settings.baseline else f"; its own lead over {base} is not detectable"
        said = f"{highest}, and {worse} differ detectably from {base}{lead}"
    return said + one_seed(comparison, context) + "."


def one_seed(comparison: Comparison, context: int) -> str:
    """What no p-value says: with one seed, the difference may be between two runs only."""
    design, settings = comparison.designs.get(context), comparison.settings
    if design and math.isinf(power.minimum_detectable(design, settings.confidence, settings.power)):
        return "; with one seed nothing can be said about other training runs"
    return ""


def what_training_did(comparison: Comparison, here: pd.DataFrame, context: int) -> str:
    names, frame = comparison.names, comparison.frame
    gained = here.dropna(subset="gain")
    if gained.empty:
        return "The model was not evaluated before training, so no gain is known."
    before = frame[(frame["cell"] == WARM_START) & (frame["context"] == context)]["point"].item()
    low, high = points(gained["gain"].min(), signed=True), points(gained["gain"].max(), signed=True)
    size = f"{low} points" if low == high else f"{low} to {high} points"
    clear = gained[gained["gain_low"] > 0]
    if len(clear) == len(gained):
        which = "every cell is" if len(gained) > 1 else "the cell is"
        return f"Training itself is real: {which} clearly above the warm start ({points(before)} %), by {size}."
    if clear.empty:
        return f"Training changed the score by {size} from the warm start ({points(before)} %), which may be chance."
    return (
        f"Training moved the score by {size} from the warm start ({points(before)} %); only "
        f"{listed(names, clear['cell'])} {'is' if len(clear) == 1 else 'are'} clearly above it."
    )
