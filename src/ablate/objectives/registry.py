"""From a mapping (conf/objective/*.yaml) to an ``Objective``: every slot filled, every knob bound."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from ablate.cli import SEARCHPATH
from ablate.errors import UserError
from ablate.objectives.base import OFFERED, SLOTS, Objective, Slots, arguments_of
from ablate.objectives.knobs import KNOBS, check_knob, check_pairs, in_order
from ablate.objectives.parts import PARTS

TERMS = ("kl", "correction")
FIXED = ("name", "label", *SLOTS, *TERMS)  # the keys that are no knobs


def build(config: Mapping[str, Any]) -> Objective:
    """Build an objective from its configuration.

    Args:
        config: ``name``, ``label`` (the name if absent), one part for each of the eight slots (``select`` is ``all`` if
            absent), ``kl``, ``correction``, and the knobs that the parts read. A part is a name, or a user's own
            function as ``my_file.py:my_part``. A knob that only absent parts read has no effect; null is as good as
            absent.

    Raises:
        UserError: for an unknown part or knob, a bad value, or a missing knob.
    """
    names, parts, knobs = resolve(config)
    bound = {slot: partial(part, **{knob: knobs[knob] for knob in knobs_of(part)}) for slot, part in parts.items()}
    waived = {law: why for part in parts.values() for law, why in getattr(part, "waived_laws", {}).items()}
    return Objective(
        name=config["name"],
        label=config.get("label") or config["name"],
        slots=Slots(**{slot: bound[slot] for slot in SLOTS}),
        kl=bound.get("kl"),
        correction=bound.get("correction"),
        part_names=MappingProxyType(names),
        knobs=MappingProxyType(knobs),
        waived_laws=MappingProxyType(waived),
    )


def canonical(config: Mapping[str, Any], base: Callable[[], Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """The configuration as a run records it: one spelling of every part, and null for a knob that no part reads.

    Args:
        base: gives the objective before some of its parts were replaced: its YAML file without overrides. It is called
            for a knob of a user's own part that no part of ``config`` reads; where a part of ``base`` reads it, the
            knob left with its part.

    Example:
        ``{"overlong": "off", "weight": "mine.py:w", "max_length": 9, ...}`` becomes ``{"overlong": "train", "weight":
        "/home/me/mine.py:w", "max_length": None, ...}``.

    Raises:
        UserError: as ``build`` does.
    """
    _, parts = find_parts(config)
    left = {key for key, value in config.items() if value is not None} - {*FIXED, *KNOBS, *knobs_of_all(parts)}
    if left and base is not None:
        left &= set(knobs_of_all(find_parts(base())[1]))
        config = {key: None if key in left else value for key, value in config.items()}
    names, _, knobs = resolve(config)
    record = {"name": config["name"], "label": config.get("label") or config["name"]}
    record |= {slot: names[slot] for slot in SLOTS}
    for knob, value in in_order(dict.fromkeys(KNOBS) | knobs).items():
        if knob in KNOBS and KNOBS[knob].of is not None:
            record[KNOBS[knob].of] = names.get(KNOBS[knob].of)
        record[knob] = value
    return record | {key: None for key in config if key not in record}


def outside_files(config: Mapping[str, Any]) -> dict[str, str]:
    """Path -> SHA-256 of every file outside this package that a part of the objective comes from."""
    _, parts = find_parts(config)
    paths = {inspect.getfile(inspect.unwrap(parts[slot])) for slot in outside_parts(config)}
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in sorted(paths)}


def outside_parts(config: Mapping[str, Any]) -> dict[str, str]:
    """Slot or term -> name of its part, where the part is a user's own."""
    names, parts = find_parts(config)
    own = [part for named in PARTS.values() for part in named.values()]
    return {slot: names[slot] for slot, part in parts.items() if part not in own}


def resolve(config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Callable], dict[str, Any]]:
    """Slot or term -> name of its part, slot or term -> part, and the knobs that the parts read."""
    if not isinstance(config.get("name"), str) or not config["name"]:
        raise UserError(f"objective.name={config.get('name')!r} must be a name: name: my_objective")
    names, parts = find_parts(config)
    ratio = getattr(parts["surrogate"], "needs_ratio", names["ratio"])
    if ratio != names["ratio"]:
        raise UserError(
            f"objective.surrogate={names['surrogate']} is defined for ratio={ratio} only, not for "
            f"{names['ratio']}: set objective.ratio={ratio}"
        )
    return names, parts, read_knobs(config, names, parts)


def find_parts(config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Callable]]:
    """Slot or term -> name of its part, and slot or term -> part."""
    chosen = {slot: config.get(slot) for slot in SLOTS}
    chosen["select"] = chosen["select"] or "all"
    chosen |= {term: config[term] for term in TERMS if config.get(term) not in (None, False, "off")}
    if chosen["overlong"] in (False, "off"):  # YAML reads a bare `off` as False
        chosen["overlong"] = "train"
    names, parts = {}, {}
    for slot, name in chosen.items():
        names[slot], parts[slot] = find_part(slot, name)
    return names, parts


def find_part(slot: str, name: Any) -> tuple[str, Callable]:
    """The name to record and the part: a named one, or a user's own as ``my_file.py:my_part``."""
    if isinstance(name, str) and name in PARTS[slot]:
        return name, PARTS[slot][name]
    if not isinstance(name, str) or ":" not in name:
        known = ", ".join(PARTS[slot])
        raise UserError(
            f"objective.{slot}={name} is not a part of that slot: use one of {known}, or my_file.py:my_part"
        )
    source, _, function = name.rpartition(":")
    part = getattr(load_module(source), function, None)
    if not callable(part):
        raise UserError(f"objective.{slot}={name}: {source} has no function {function!r}: define it there")
    if len(arguments_of(part, slot)) > len(OFFERED[slot]):
        raise UserError(
            f"objective.{slot}={name} takes {', '.join(arguments_of(part, slot))}: the slot offers "
            f"{', '.join(OFFERED[slot])}; name those that it needs, and make a knob keyword-only"
        )
    is_file = source.endswith(".py")
    return f"{file_of(source) if is_file else source}:{function}", part


def file_of(source: str) -> Path:
    """A user's file as its YAML means it: from the YAML's folder, or where that one is found; else from here."""
    roots = map(Path, filter(None, os.environ.get(SEARCHPATH, "").split(os.pathsep)))
    places = (folder / source for root in roots for folder in (root / "objective", root, root.parent))
    return next((place for place in places if place.is_file()), Path(source)).resolve()


def load_module(source: str) -> ModuleType:
    """A user's Python file (``folder/mine.py``, see ``file_of``) or module (``my_package.mine``).

    Raises:
        UserError: if it does not exist or cannot be run.
    """
    path = file_of(source)
    if source.endswith(".py") and not path.is_file():
        raise UserError(f"objective part file {path} does not exist: correct the path, or add hydra.searchpath")
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        # The path is part of the name, so that two files called mine.py in two folders stay two modules.
        name = f"outside_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's program, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"objective part file {source} cannot be loaded ({reason}): correct the file") from error
    return module


def read_knobs(config: Mapping[str, Any], names: Mapping[str, str], parts: Mapping[str, Callable]) -> dict[str, Any]:
    """The knobs that the parts read, in the order of KNOBS, then a user's own.

    Raises:
        UserError: for a knob that no part of any slot reads, a knob that is missing, or a value out of its range.
    """
    known = dict.fromkeys((*KNOBS, *knobs_of_all(parts)))
    given = {key: value for key, value in config.items() if value is not None}
    for key in given:
        if key not in {*FIXED, *known}:
            raise UserError(
                f"objective.{key}={given[key]}: no part reads {key}: the knobs are {', '.join(known)}; "
                "remove it or set it to null"
            )
    read = {}
    for slot, part in parts.items():
        read |= {knob: given.get(knob, default) for knob, default in knobs_of(part).items()}
        missing = [knob for knob in knobs_of(part) if read[knob] is None]
        if missing:
            raise UserError(
                f"objective {config['name']}: {slot}={names[slot]} needs {', '.join(missing)}: "
                f"set objective.{missing[0]}"
            )
    for knob, value in read.items():
        check_knob(knob, value)
    check_pairs(read)
    return in_order(read)


def knobs_of(part: Callable) -> dict[str, Any]:
    """The keyword-only parameters of a part with their defaults, None for one that has no default."""
    parameters = inspect.signature(part).parameters.values()
    knobs = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return {knob.name: None if knob.default is knob.empty else knob.default for knob in knobs}


def knobs_of_all(parts: Mapping[str, Callable]) -> list[str]:
    return [knob for part in parts.values() for knob in knobs_of(part)]
