"""The command line of ``ablate.compare``: from ``NAME=VALUE`` words to a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from ablate.errors import UserError
from ablate_analysis.results import curve_text, text
from ablate_analysis.results.arms import Arm, make_arm
from ablate_analysis.results.curves import read_curves
from ablate_analysis.results.document import Document
from ablate_analysis.results.formats import ours, read
from ablate_analysis.results.numbers import Settings, check_settings
from ablate_analysis.results.pairing import pair
from ablate_analysis.results.samples import Options

READING = ("format", "metric", "filter", "task", "model", "step", "context")
OTHERS = (
    *("out", "baseline", "pairs", "runs_are", "pass_at_least", "samples", "effect", "hours_per_run", "confidence"),
    *("power", "runs_match", "curves", "axis", "start", "from"),
)
COLUMNS = "columns."


def document_of(words: Sequence[str]) -> tuple[Document, Path | None]:
    """What the words ask for, and the directory in which to write it."""
    paths, options = split(words)
    document = curves(paths, options) if "curves" in options else samples(paths, options)
    return document, Path(options["out"]) if "out" in options else None


def split(words: Sequence[str]) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Arms with their paths, and options.

    Raises:
        UserError: for a word that is neither, a word that is there twice, and fewer than two arms.
    """
    paths: dict[str, list[Path]] = {}
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise UserError(f"{word} is not of the form NAME=VALUE: write NAME=PATH for an arm, see --help")
        if key in paths or key in options:
            raise UserError(f"{key} is given twice: give every arm its own name")
        if key in READING or key in OTHERS or key.startswith(COLUMNS) or key.partition(".")[0] in READING:
            options[key] = value
        else:
            paths[key] = [Path(part) for part in value.split(",")]
    for name, files in paths.items():
        missing = next((file for file in files if not file.exists()), None)
        if missing is not None:
            near = get_close_matches(name, [*READING, *OTHERS], 1)
            raise UserError(
                f"{name}={missing}: there is no such file" + (f"; did you mean {near[0]}=?" if near else "")
            )
    for key in options:
        kind, dot, arm = key.partition(".")
        if dot and kind in READING and arm not in paths:
            raise UserError(f"{key}= names no arm: the arms are {', '.join(paths) or 'none'}")
    return paths, options


def number(options: Mapping[str, str], key: str, kind: type = float) -> float | None:
    if key not in options:
        return None
    try:
        return kind(options[key])
    except ValueError:
        raise UserError(f"{key}={options[key]} must be a {'whole ' if kind is int else ''}number") from None


def samples(paths: dict[str, list[Path]], options: dict[str, str]) -> Document:
    """Compare results of single problems."""
    arms = read_arms(paths, options)
    if len(arms) < 2:
        raise UserError(
            f"two arms are needed, and {', '.join(arm.name for arm in arms) or 'none'} is there: add NAME=PATH"
        )
    settings = Settings(
        confidence=number(options, "confidence") or Settings.confidence,
        power=number(options, "power") or Settings.power,
        effect=number(options, "effect"),
        hours_per_run=number(options, "hours_per_run"),
        runs_match=truth(options, "runs_match", all(arm.format == "ablate" for arm in arms)),
    )
    check_settings(settings)
    paired = pair(arms)
    document = text.compose(paired, pairs_of([arm.name for arm in arms], options), settings)
    document.read = [line for arm in arms for line in text.what_was_read(arm)]
    return document


def truth(options: Mapping[str, str], key: str, default: bool) -> bool:
    value = options.get(key)
    if value not in (None, "true", "false"):
        raise UserError(f"{key}={value} must be true or false")
    return default if value is None else value == "true"


def pairs_of(names: Sequence[str], options: Mapping[str, str]) -> list[tuple[int, int]]:
    if options.get("pairs", "all") != "all":
        raise UserError(f"pairs={options['pairs']} is unknown: pairs=all compares every two arms")
    baseline = options.get("baseline", names[0])
    if baseline not in names:
        raise UserError(f"baseline={baseline} is not an arm: choose one of {', '.join(names)}")
    if "pairs" in options:
        return [(first, second) for second in range(len(names)) for first in range(second)]
    first = names.index(baseline)
    return [(first, second) for second in range(len(names)) if second != first]


def read_arms(paths: dict[str, list[Path]], options: dict[str, str]) -> list[Arm]:
    arms = []
    for name, files in expanded(paths).items():
        chosen = reading_options(name, options)
        form = options.get(f"format.{name}", options.get("format"))
        results = [(file.name, read(file, chosen, form)) for file in files]
        if len({file for file, _ in results}) < len(results):
            results = [(str(file), each) for file, (_, each) in zip(files, results, strict=True)]
        arms.append(make_arm(name, results, options.get("runs_are"), first_of(options), chosen.pass_at_least))
    return arms


def expanded(paths: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """An experiment of ours as one arm for each of its cells."""
    found: dict[str, list[Path]] = {}
    for name, files in paths.items():
        cells = ours.cells(files[0]) if len(files) == 1 and files[0].is_dir() else {}
        if cells:
            found |= {(cell if len(paths) == 1 else f"{name}/{cell}"): [directory] for cell, directory in cells.items()}
        else:
            found[name] = files
    return found


def reading_options(name: str, options: dict[str, str]) -> Options:
    runs_are = options.get("runs_are")
    if runs_are not in (None, "seeds", "samples"):
        raise UserError(f"runs_are={runs_are} is unknown: runs_are=seeds or runs_are=samples")
    words = {key: options.get(f"{key}.{name}", options.get(key)) for key in READING}
    columns = {key.removeprefix(COLUMNS): value for key, value in options.items() if key.startswith(COLUMNS)}
    whole = {key: number({key: words[key]} if words[key] is not None else {}, key, int) for key in ("step", "context")}
    made = Options(columns=columns, pass_at_least=number(options, "pass_at_least"))
    return replace(made, **{key: words[key] for key in ("metric", "filter", "task", "model")}, **whole)


def first_of(options: Mapping[str, str]) -> int | None:
    if "samples" not in options:
        return None
    kind, _, count = options["samples"].partition(":")
    if kind != "first" or not count.isdigit() or int(count) < 1:
        raise UserError(
            f"samples={options['samples']} is unknown: samples=first:4 keeps the first 4 samples of a problem"
        )
    return int(count)


def curves(paths: dict[str, list[Path]], options: dict[str, str]) -> Document:
    """Fit and compare learning curves."""
    metric = None if options["curves"] == "true" else options["curves"]
    axis = options.get("axis", "steps")
    arms = {
        name: [curve for file in files for curve in read_curves(file, metric, axis)] for name, files in paths.items()
    }
    if not arms:
        raise UserError("no arm is there: add NAME=PATH for the runs of each arm")
    return curve_text.compose(
        arms,
        axis=axis,
        start=number(options, "start"),
        first=number(options, "from"),
        confidence=number(options, "confidence") or 0.95,
        matched=truth(options, "runs_match", False),
    )
