"""What a comparison says, in sentences, including the inconvenient ones."""

from __future__ import annotations

import math

import pandas as pd

from ablate_analysis import power
from ablate_analysis.compare import Comparison
from ablate_analysis.infrastructure import infrastructure_sentences
from ablate_analysis.load import Experiment
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.selection import selection_caveat
from ablate_analysis.speeds import speed_sentences
from ablate_analysis.tables import never_live, points, probability, published_rows, with_interval
from ablate_analysis.verdicts import listed


def findings(experiment: Experiment, comparison: Comparison) -> list[str]:
    """All sentences, the most important first."""
    frame = comparison.frame
    contexts = sorted(frame["context"].unique())
    return [
        *[sentence for context in contexts for sentence in learned(comparison, int(context))],
        *[sentence for context in contexts for sentence in difference_sentences(comparison, int(context))],
        *clip_sentences(experiment, comparison),
        *second_comparison_sentences(experiment.scores),
        *caveats(experiment, comparison),
    ]


def learned(comparison: Comparison, context: int) -> list[str]:
    """Did training move the score above the warm start?"""
    frame, names = comparison.frame, comparison.names
    gained = frame[frame["context"] == context].dropna(subset="gain")
    if gained.empty:
        return []
    clear = gained[(gained["gain"] > 0) & (gained["gain_p_holm"] < 1 - comparison.settings.confidence)]
    if clear.empty:
        return [f"At {context:,} tokens no cell is clearly above the warm start."]
    sizes = [
        f"{names[row.cell]} {with_interval(row.gain, row.gain_low, row.gain_high, signed=True)}"
        for row in clear.itertuples()
    ]
    return [f"At {context:,} tokens the gains over the warm start that are clear, in points: {'; '.join(sizes)}."]


def difference_sentences(comparison: Comparison, context: int) -> list[str]:
    """Which differences from the baseline are real, and what it would take to detect the others."""
    settings, frame = comparison.settings, comparison.frame
    tested = frame[(frame["context"] == context) & frame["difference"].notna()]
    if tested.empty:
        return []
    base = comparison.baseline_name
    clear = tested[tested["p_holm"] < 1 - settings.confidence]
    sentences = [
        f"At {context:,} tokens {comparison.names[row.cell]} differs from {base} by "
        f"{with_interval(row.difference, row.difference_low, row.difference_high, signed=True)} points "
        f"(adjusted p {probability(row.p_holm)})."
        for row in clear.itertuples()
    ]
    if clear.empty:
        smallest = probability(tested["p_holm"].min())
        sentences.append(
            f"At {context:,} tokens no difference from {base} is detectable (smallest adjusted p {smallest})."
        )
    return [*sentences, plan(comparison, context, float(tested["difference"].abs().max()))]


def plan(comparison: Comparison, context: int, largest: float) -> str:
    """The smallest difference that this design detects, and what the largest observed difference would need."""
    settings, design = comparison.settings, comparison.designs[context]
    now = f"{design.num_seeds} seeds x {design.num_problems} problems x {design.num_samples} samples"
    least = power.minimum_detectable(design, settings.confidence, settings.power)
    if math.isinf(least):
        return f"With {now} nothing can be said about other training seeds: run at least two."
    needs = []
    for field, unit in (("num_seeds", "seeds"), ("num_problems", "problems"), ("num_samples", "samples per problem")):
        count = power.needed(design, field, largest, settings.confidence, settings.power)
        if count is not None and count > getattr(design, field):
            needs.append(f"{count:,} {unit}")
    what = f"detecting the largest difference seen here, {points(largest)} points, with the same probability"
    takes = f"{what} would take {' or '.join(needs)}" if needs else f"{what} is out of reach by more runs alone"
    if least <= largest:
        takes = f"the largest difference seen here is {points(largest)} points"
    return (
        f"With {now} this design detects a difference of {points(least)} points with probability {settings.power:.0%} "
        f"(before adjusting for several comparisons); {takes}."
    )


def clip_sentences(experiment: Experiment, comparison: Comparison) -> list[str]:
    """Cells whose clip was never live, and those in which it never bound."""
    live = comparison.frame[comparison.frame["cell"] != WARM_START].groupby("cell", sort=False)["clip_is_live"].first()
    dead = [cell for cell, is_live in live.items() if never_live(is_live)]
    names = comparison.names
    sentences = []
    if dead:
        sentences.append(
            f"The clip was never live in {listed(names, dead)}: within a rollout batch the policy never differed from "
            "the policy that sampled it, every ratio was 1, and token and sequence ratio have the same gradient. "
            "A comparison of ratios or clip ranges between these cells means nothing; train with "
            "optim.updates_per_batch above 1."
        )
    metrics = experiment.metrics
    binds = metrics[metrics["name"].isin(["policy/clip_low", "policy/clip_high"])].groupby("cell")["value"].max()
    never = [cell for cell, largest in binds.items() if largest == 0 and cell not in dead]
    if never:
        sentences.append(
            f"No token was ever clipped in {listed(names, never)}: a wider clip would have changed nothing."
        )
    return sentences


def second_comparison_sentences(scores: pd.DataFrame) -> list[str]:
    """How many samples of the evaluations have another verdict by ``verify.second_comparison``."""
    compared = scores[scores["passed_second"].notna()]
    if compared.empty:
        return []
    by_second = compared["passed_second"].astype(bool)
    gained, lost = int((by_second & ~compared["passed"]).sum()), int((~by_second & compared["passed"]).sum())
    return [
        f"verify.second_comparison gives another verdict to {gained + lost:,} of {len(compared):,} evaluation samples "
        f"whose answers were compared: {gained:,} pass only by it, {lost:,} pass only by verify.comparison. "
        "The scores follow verify.comparison."
    ]


def caveats(experiment: Experiment, comparison: Comparison) -> list[str]:
    frame, baseline, names = comparison.frame, comparison.settings.baseline, comparison.names
    sentences = selection_caveat(experiment, comparison)
    if baseline not in experiment.cells:
        sentences.append(f"No differences: the baseline {comparison.baseline_name} is not one of the finished cells.")
    elif comparison.settings.declares and len(experiment.cells) > 1 and frame["difference"].isna().all():
        sentences.append(
            f"No cell is compared with {comparison.baseline_name}: that takes comparison.min_seeds="
            f"{comparison.settings.min_seeds} matched seeds, and there are fewer."
        )
    single = frame[(frame["num_seeds"] == 1) & (frame["cell"] != WARM_START)]["cell"].unique()
    if len(single):
        sentences.append(
            f"{listed(names, single)} ran with one seed: their seed noise is unknown, or comes from the other cells."
        )
    arrived = {run.cell: None for run in experiment.runs if "groups" in run.manifest}
    if arrived:
        sentences.append(
            f"{listed(names, arrived)} took groups from Atropos in order of arrival: the configuration and the seed do "
            "not repeat these records."
        )
    sentences += infrastructure_sentences(experiment.scores, experiment.metrics)
    sentences += speed_sentences(
        {run.name: run.manifest for run in experiment.runs},
        {run.name: run.config["verify"].get("time_scale") for run in experiment.runs},
    )
    if experiment.skipped:
        sentences.append(f"Left out, not finished: {'; '.join(experiment.skipped)}.")
    return sentences


def published_caveat() -> str:
    """Why a published gap of one or two points means little."""
    rows = published_rows()
    num_problems = int(rows["num_problems"].iloc[0])
    share = rows["score"].mean() / 100
    error = math.sqrt(share * (1 - share) / num_problems)
    return (
        f"The published numbers have no intervals. A Pass@1 of {points(share)} on {num_problems} problems, each "
        f"answered once, has a standard error of {points(error)} points, and the difference of two such numbers has "
        f"{points(math.sqrt(2) * error)}, before any seed noise. The published gaps between objectives are 1.3 "
        "to 1.6 points. The best of 13 evaluations of 454 problems x 16 samples gains about 0.6 points from sampling "
        "noise alone (benchmarks/selection.py), and the published scores were selected on the test problems. They "
        "come from another model, benchmark and context: they are a reference, never a baseline."
    )
