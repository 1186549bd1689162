"""The tables of a comparison. Shares are printed in percent, differences in points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from ablate.errors import UserError
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment, page_of
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.render import NOTHING, Link, Table, Target, Text, difficulty_order

PUBLISHED = Path(__file__).with_name("published.yaml")


def points(share: float, signed: bool = False) -> str:
    if math.isnan(share):
        return NOTHING
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"


def with_interval(point: float, low: float, high: float, signed: bool = False) -> str:
    if math.isnan(point):
        return NOTHING
    return f"{points(point, signed)} [{points(low, signed)}, {points(high, signed)}]"


def probability(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}" if value < 0.1 or value > 0.9 else f"{value:.2f}"


def short(comparison: Comparison) -> str:
    """The baseline's name, if it fits the head of a column."""
    return comparison.baseline_name if len(comparison.baseline_name) <= 12 else "the baseline"


def anchor_of(cell: str) -> str:
    return "runs-" + "".join(letter if letter.isalnum() else "-" for letter in cell)


def main_table(comparison: Comparison, root: str) -> Table:
    """Objective x context: Pass@k with its interval and the paired difference from the baseline.

    Args:
        root: the experiment's directory, relative to where the table is written.
    """
    settings, frame = comparison.settings, comparison.frame
    contexts = sorted(frame["context"].unique())
    score = f"Pass@{settings.pass_at}"
    header = ["", "seeds"]
    compares = bool(frame["difference"].notna().any())
    for context in contexts:
        header.append(f"{score}\nat {context:,} tokens")
        header += [f"difference\nfrom {short(comparison)}"] if compares else []
    rows = []
    for cell, group in frame.groupby("cell", sort=False):
        by_context = group.set_index("context")
        row: list[Text] = [
            comparison.names[cell] + clip_mark(by_context["clip_is_live"].iloc[0]),
            str(group["num_seeds"].max()),
        ]
        for context in contexts:
            if context not in by_context.index:
                row += [NOTHING, NOTHING] if compares else [NOTHING]
                continue
            here = by_context.loc[context]
            source = here["runs"][0].rpartition("/")[0]  # for the warm start: the first run that evaluated it
            row.append(
                Link(with_interval(here["point"], here["low"], here["high"]), f"{root}/{source}", anchor_of(source))
            )
            gap = with_interval(here["difference"], here["difference_low"], here["difference_high"], signed=True)
            row += [gap] if compares else []
        rows.append(tuple(row))
    note = (
        f"{score} in percent with {settings.confidence:.0%} intervals over problems and training seeds; "
        f"{frame['num_problems'].iloc[0]} problems, {frame['num_samples'].max()} samples each. The warm start is the "
        "model before training. It is one model, so its interval is over problems only."
    )
    if compares:
        base = comparison.baseline_name
        note += f" Differences, in points, are from {base} and paired: same problems, matched seeds."
    if frame["clip_is_live"].map(never_live).any():
        note += " †: the clip was never live."
    return Table("main", f"{score} by context length", tuple(header), tuple(rows), note)


def never_live(clip_is_live: object) -> bool:
    """Whether the clip is known never to have been live; False for the warm start, where nothing is known."""
    return bool(pd.notna(clip_is_live)) and not clip_is_live


def clip_mark(clip_is_live: object) -> str:
    return " †" if never_live(clip_is_live) else ""


def comparison_table(comparison: Comparison) -> Table:
    """Every arm compared with the warm start and with the baseline, with both p-values."""
    header = (
        "", "context", "gain over the warm start", f"difference from {short(comparison)}",
        "matched seeds", "probability of improvement", "p", "p (Holm)",
    )  # fmt: skip
    rows = []
    for row in comparison.frame.itertuples():
        if row.cell == WARM_START:
            continue
        tested = not math.isnan(row.difference)
        rows.append(
            (
                comparison.names[row.cell],
                f"{row.context:,}",
                with_interval(row.gain, row.gain_low, row.gain_high, signed=True),
                with_interval(row.difference, row.difference_low, row.difference_high, signed=True),
                str(row.num_matched) if tested else NOTHING,
                probability(row.probability),
                probability(row.p),
                probability(row.p_holm),
            )
        )
    note = (
        "Points, on the same problems. Probability of improvement: share of the resampled differences above 0. "
        "Holm: adjusted for all differences in this table."
    )
    return Table("comparisons", "Paired comparisons", header, tuple(rows), note)


def decomposition_table(comparison: Comparison) -> Table:
    """Pass@1 = share finished x pass rate among the finished (+ what passed although it was cut off)."""
    header = ("", "context", "finished", "passed, of the finished", "passed although cut off", "Pass@1")
    rows = []
    for row in comparison.frame.itertuples():
        whole = row.finished * row.passed_finished + row.passed_unfinished
        shares = (points(share) for share in (row.finished, row.passed_finished, row.passed_unfinished, whole))
        rows.append((comparison.names[row.cell], f"{row.context:,}", *shares))
    note = "Percent. Pass@1 = finished x passed of the finished + passed although cut off by the context limit."
    return Table("decomposition", "Where Pass@1 comes from", header, tuple(rows), note)


def difficulty_table(comparison: Comparison, scores: pd.DataFrame) -> Table:
    """Pass@1 by difficulty shows where the gain is. It has no intervals, because the classes are small and many."""
    difficulty = scores.groupby("problem_id")["difficulty"].first()
    classes = difficulty.value_counts().sort_index(key=lambda names: names.map(difficulty_order))
    header = ("", "context", *(f"{name}\n({count} problems)" for name, count in classes.items()))
    rows = []
    cells = list(dict.fromkeys(comparison.frame["cell"]))
    shown = [arm for arm in comparison.arms if arm.cell in cells]
    for arm in sorted(shown, key=lambda arm: (cells.index(arm.cell), arm.context)):
        score_P = pd.Series(arm.score(1).mean(axis=0), index=list(arm.problem_ids))
        means = score_P.groupby(difficulty).mean()
        rows.append((comparison.names[arm.cell], f"{arm.context:,}", *(points(means[name]) for name in classes.index)))
    return Table("difficulty", "Pass@1 by difficulty", header, tuple(rows), "Percent, mean over seeds.")


def effects_table(effects: pd.DataFrame) -> Table:
    """Main effects and interaction of a 2 x 2."""
    rows = [
        (row.effect, f"{row.context:,}", with_interval(row.point, row.low, row.high, signed=True),
         probability(row.probability))
        for row in effects.itertuples()
    ]  # fmt: skip
    note = "Points. A main effect is the mean over the other factor's levels; the interaction is how much they differ."
    header = ("effect", "context", "size", "probability above 0")
    return Table("effects", "Effects of the 2 x 2", header, tuple(rows), note)


def runs_table(experiment: Experiment, root: str, has_pages: bool = False) -> Table:
    """The runs behind every number, with their configuration and commit.

    Args:
        has_pages: link each run to its page; else to its directory only.
    """
    header = ("cell", "seed", *(["curves and rollouts"] if has_pages else []), "directory", "configuration", "commit",
              "host", "attempts")  # fmt: skip
    rows = []
    for cell, name in experiment.names.items():
        for index, run in enumerate(experiment.runs_of(cell)):
            path = f"{root}/{run.name}"
            files = run.directory
            rows.append(
                (
                    name if index else Target(name, anchor_of(cell)),
                    str(run.seed),
                    *([Link("open", page_of(run))] if has_pages else []),
                    Link(run.name, path),
                    Link(str(run.manifest.get("config_hash", "config")), f"{path}/{files.config_path.name}"),
                    Link(run.commit, f"{path}/{files.manifest.path.name}"),
                    str(run.manifest.get("host", NOTHING)),
                    str(len(run.manifest.get("attempts", []))),
                )
            )
    return Table("runs", "Runs", header, tuple(rows), "A commit marked + had uncommitted changes.")


def published_rows(names: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of ``published.yaml``, one per number, each with its source; of all sources, or of those named.

    Raises:
        UserError: for a name that the file does not have.
    """
    rows, entries = [], {entry["name"]: entry for entry in yaml.safe_load(PUBLISHED.read_text())}
    for name in entries if names is None else names:
        if name not in entries:
            raise UserError(f"comparison.published names {name}, which is not one of {', '.join(entries)}")
        entry = entries[name]
        source = {key: value for key, value in entry.items() if key != "rows"}
        rows += [{**source, **row} for row in entry["rows"]]
    return pd.DataFrame(rows)


def published_tables(names: Sequence[str]) -> list[Table]:
    """One table per published source that is named: objective x context, with the numbers as published."""
    tables = []
    for source, group in published_rows(names).groupby("source", sort=False) if names else ():
        contexts = sorted(int(context) for context in group["context"].dropna().unique())
        header = ("", *(f"{context:,}\ntokens" for context in contexts), "context\nnot stated")
        rows = []
        for (model, objective), part in group.groupby(["model", "objective"], sort=False, dropna=False):
            name = model if pd.isna(objective) else objective
            stated = {int(row.context): score_text(row) for row in part.dropna(subset="context").itertuples()}
            unstated = [score_text(row) for row in part[part["context"].isna()].itertuples()]
            rows.append((name, *(stated.get(context, NOTHING) for context in contexts), *(unstated or [NOTHING])))
        first = group.iloc[0]
        note = (
            f"{first['benchmark']}, {first['metric']}; intervals: {first['interval']}. Source: {source}, {first['url']}"
        )
        tables.append(Table("published", f"Published: {source}", header, tuple(rows), note))
    return tables


def score_text(row: object) -> str:
    return f"about {row.score:g}" if row.approximate else f"{row.score:.2f}"
