"""The laboratory's tables as markdown, one section per checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ablate.laboratory import AS_CONFIGURED

COLUMNS = {
    "loss": "loss",
    "gradient_norm_logp": "norm, logp",
    "gradient_norm_parameters": "norm, parameters",
    "length_cosine_logp": "length, logp",
    "length_cosine_parameters": "length, parameters",
    "rollouts_that_train": "rollouts that train",
    "tokens_in_loss": "tokens in the loss",
    "tokens_that_train": "tokens that train",
    "vanished_tokens": "vanished",
    "clip_low_tokens": "clip low, tokens",
    "clip_high_tokens": "clip high, tokens",
    "clip_low_sequences": "clip low, sequences",
    "clip_high_sequences": "clip high, sequences",
    "effective_sample_size": "effective sample size",
    "ratio_max": "largest ratio",
}
TOGGLE_COLUMNS = (
    "cosine_logp",
    "cosine_parameters",
    "length_cosine_parameters",
    "gradient_norm_logp",
    "rollouts_that_train",
    "clip_high_tokens",
)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of every checkpoint in the tidy rows."""
    places = sorted({(row["checkpoint"], row["step"]) for row in rows})
    return "\n".join(section(checkpoint, step, rows) for checkpoint, step in places)


def section(checkpoint: int, step: int, rows: Sequence[dict[str, Any]]) -> str:
    here = [row for row in rows if (row["checkpoint"], row["step"]) == (checkpoint, step)]
    plain = [row for row in here if row["toggle"] == AS_CONFIGURED]
    value = {(row["objective"], row["measure"], row["bucket"]): row["value"] for row in plain}
    names = list(dict.fromkeys(row["objective"] for row in plain))
    lines = [f"## Checkpoint {checkpoint}, rollouts of step {step}", ""]
    if not any(value.get((name, "clip_is_live", "")) for name in names):
        lines += ["Every ratio is 1 here: objectives cannot differ through their clips or their kind of ratio.", ""]
    columns = [key for key in COLUMNS if any((name, key, "") in value for name in names)]
    lines += table(
        ["objective", *(COLUMNS[key] for key in columns)],
        ([name, *(number(value.get((name, key, ""))) for key in columns)] for name in names),
    )
    for measure, title in (("cosine_logp", "log-probability space"), ("cosine_parameters", "parameter space")):
        if any((a, measure, b) in value for a in names for b in names):
            lines += ["", f"Cosine of the gradients in {title}:", ""]
            cells = ([a, *("1" if a == b else number(value.get((a, measure, b))) for b in names)] for a in names)
            lines += table(["", *names], cells)
    for measure in ("mass_by_length", "parameter_mass_by_length", "mass_by_position"):
        buckets = list(dict.fromkeys(row["bucket"] for row in plain if row["measure"] == measure))
        if buckets:
            lines += ["", f"{measure.replace('_', ' ').capitalize()} (tokens):", ""]
            share = [[name, *(number(value.get((name, measure, bucket))) for bucket in buckets)] for name in names]
            lines += table(["", *buckets], share)
    return "\n".join([*lines, "", *toggle_table(here), ""])


def toggle_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How far each toggle turns an objective's gradient: the cosine with the same objective as configured."""
    value = {(row["objective"], row["toggle"], row["measure"]): row["value"] for row in rows}
    pairs = list(dict.fromkeys((row["objective"], row["toggle"]) for row in rows if row["objective"]))
    keys = [key for key in TOGGLE_COLUMNS if any((*pair, key) in value for pair in pairs)]
    body = [
        [name, toggle, *(number(value.get((name, toggle, key))) for key in keys)]
        for name, toggle in pairs
        if toggle != AS_CONFIGURED
    ]
    if not body:
        return []
    header = ["objective", "toggle", *(key.replace("_", " ") for key in keys)]
    return ["Under each toggle (cosine: with the same objective as configured):", "", *table(header, body)]


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def number(value: float | None) -> str:
    """Three digits; a dash for a value that is missing or undefined, such as the cosine with a gradient of 0."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"
