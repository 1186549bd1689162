"""From a mapping (conf/objective/*.yaml) to an ``Objective``: preset, swapped slots, bound knobs, no leftovers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from ablate.errors import UserError
from ablate.objectives import presets
from ablate.objectives.base import SLOTS, Objective, Preset
from ablate.objectives.parts import OVERLONG, PARTS, soft_overlong_penalty

TERMS = ("kl", "correction")
RESERVED = ("name", "source", "dynamic_sampling", "overlong", "swap", *TERMS)

# knob -> (test of its value, the rule in words). A knob of a user's own part has no rule here.
KNOB_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "clip_low": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "clip_high": (lambda value: value >= 0, "0 or above"),
    "eps": (lambda value: value >= 0, "0 or above"),
    "max_length": (lambda value: value > 0, "above 0"),
    "buffer": (lambda value: value > 0, "above 0"),
    "kl_coef": (lambda value: value >= 0, "0 or above"),
    "constant_length": (lambda value: value > 0, "above 0"),
    "correction_cap": (lambda value: value > 0, "above 0"),
}


def preset_names() -> list[str]:
    """Names of the package's own presets, from the files in ``presets/``."""
    return sorted(module.name for module in pkgutil.iter_modules(presets.__path__))


def build(config: Mapping[str, Any]) -> Objective:
    """Build an objective from its configuration.

    Args:
        config: ``name`` (a preset; with ``source``, a function of that file or module), ``dynamic_sampling``,
            ``overlong``, ``swap`` (slot -> part name), ``kl``, ``correction``, and the knobs that the parts read.
            A null knob, swap or term is as good as absent.

    Raises:
        UserError: for an unknown name or key, a bad value, a missing knob, or a knob that no part reads.
    """
    name, preset = find_preset(config)
    overlong = choice("overlong", "off" if config.get("overlong") is False else config.get("overlong"), OVERLONG)
    dynamic_sampling = choice("dynamic_sampling", config.get("dynamic_sampling"), (True, False))
    if not isinstance(config.get("swap") or {}, Mapping):
        raise UserError(f"objective.swap={config['swap']!r} must map slots to parts: {{ratio: sequence}}")
    preset = swapped(preset, dict(config.get("swap") or {}), dynamic_sampling, overlong)
    parts = {slot: getattr(preset, slot) for slot in SLOTS}
    if not dynamic_sampling:
        del parts["keep"]  # an unused slot reads no knobs
    for term in TERMS:
        if config.get(term) not in (None, False, "off"):
            parts[term] = find_part(term, config[term])
    knobs = {key: value for key, value in config.items() if key not in RESERVED and value is not None}
    bound = bind(name, parts, knobs)
    return Objective(
        name=name,
        slots=replace(preset, **{slot: bound[slot] for slot in SLOTS if slot in bound}),
        dynamic_sampling=dynamic_sampling,
        overlong=overlong,
        kl=bound.get("kl"),
        correction=bound.get("correction"),
        part_names=MappingProxyType({slot: part.__name__ for slot, part in parts.items()}),
        knobs=MappingProxyType(knobs),
        waived_laws=MappingProxyType(
            {law: why for part in parts.values() for law, why in getattr(part, "waived_laws", {}).items()}
        ),
    )


def find_preset(config: Mapping[str, Any]) -> tuple[str, Preset]:
    name, source = config.get("name"), config.get("source")
    if not isinstance(name, str) or not name:
        raise UserError(f"objective.name={name!r} must name a preset: {', '.join(preset_names())}")
    if source is not None:
        function = getattr(load_module(source), name, None)
    elif name in preset_names():
        function = getattr(importlib.import_module(f"{presets.__name__}.{name}"), name)
    else:
        raise UserError(
            f"objective {name!r} is unknown: use one of {', '.join(preset_names())}, "
            "or give the file of your own as objective.source"
        )
    if not callable(function):
        raise UserError(f"objective.source={source} has no function {name!r}: define `def {name}() -> Preset`")
    preset = function()
    if not isinstance(preset, Preset):
        raise UserError(f"{name}() in {source} must return a Preset, not {type(preset).__name__}")
    return name, preset


def load_module(source: str) -> ModuleType:
    """A user's Python file (``folder/mine.py``, from the working directory) or module (``my_package.mine``)."""
    if not str(source).endswith(".py"):
        try:
            return importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise UserError(f"objective source {source!r} cannot be imported ({error}): give a .py file") from error
    path = Path(source)
    if not path.is_file():
        raise UserError(f"objective source {source!r} does not exist below {Path.cwd()}: mend the path")
    spec = importlib.util.spec_from_file_location(f"user_objective_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
    spec.loader.exec_module(module)
    return module


def swapped(preset: Preset, swap: dict[str, Any], dynamic_sampling: bool, overlong: str) -> Preset:
    """Replace the named slots; ``overlong=soft_penalty`` is a replaced ``shape``."""
    slots = [field.name for field in fields(preset)]
    for slot, part in swap.items():
        if slot not in slots:
            raise UserError(f"swap.{slot} is no slot: use one of {', '.join(slots)}")
        if part is not None:
            preset = replace(preset, **{slot: find_part(slot, part)})
    if swap.get("keep") is not None and not dynamic_sampling:
        raise UserError(f"swap.keep={swap['keep']} has no effect with dynamic_sampling=false: set it to true")
    if overlong == "soft_penalty":
        if swap.get("shape") is not None:
            raise UserError(
                f"overlong=soft_penalty and swap.shape={swap['shape']} both shape the reward: set one to null"
            )
        preset = replace(preset, shape=soft_overlong_penalty)
    return preset


def find_part(slot: str, name: Any) -> Callable:
    """A named part, or a user's own as ``my_file.py:my_part``."""
    if isinstance(name, str) and ":" in name:
        source, _, function = name.rpartition(":")
        part = getattr(load_module(source), function, None)
        if not callable(part):
            raise UserError(f"{slot}={name}: {source} has no function {function!r}: define it there")
        return part
    if not isinstance(name, str) or name not in PARTS[slot]:
        raise UserError(f"{slot}={name} is no part of that slot: use one of {', '.join(PARTS[slot])}")
    return PARTS[slot][name]


def bind(name: str, parts: Mapping[str, Callable], knobs: Mapping[str, Any]) -> dict[str, Callable]:
    """Give every part the knobs that it reads; each knob must be read by at least one part."""
    bound, read = {}, set()
    for slot, part in parts.items():
        wanted = knobs_of(part)
        missing = [knob for knob in wanted if knob not in knobs]
        if missing:
            raise UserError(f"objective {name}: {slot}={part.__name__} needs {', '.join(missing)}: set it in the YAML")
        for knob in wanted:
            check_knob(knob, knobs[knob])
        bound[slot] = partial(part, **{knob: knobs[knob] for knob in wanted})
        read.update(wanted)
    for knob in knobs:
        if knob not in read:
            slots = ", ".join(f"{slot}={part.__name__}" for slot, part in parts.items())
            raise UserError(f"objective {name} ({slots}) never reads {knob}={knobs[knob]}: remove it or set it to null")
    return bound


def knobs_of(part: Callable) -> list[str]:
    parameters = inspect.signature(part).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def check_knob(knob: str, value: Any) -> None:
    if knob not in KNOB_RULES:
        return
    holds, rule = KNOB_RULES[knob]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not holds(value):
        raise UserError(f"objective.{knob} must be a number {rule}, not {value!r}")


def choice(key: str, value: Any, allowed: tuple) -> Any:
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        raise UserError(f"objective.{key}={value} is not one of {', '.join(str(option).lower() for option in allowed)}")
    return value
