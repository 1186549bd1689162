"""The laboratory's command line: from ``key=value`` words to a laboratory run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ablate.cli import CONF_DIR
from ablate.cli import recorded as recorded_config
from ablate.config import parse
from ablate.errors import UserError
from ablate.laboratory.bench import LaboratoryConfig
from ablate.laboratory.recorded import run_of
from ablate.laboratory.run import built_variants, places_of, run_laboratory
from ablate.records.rollouts import RecordedStep

MOMENTS = ("after", "during")


def run_command(
    words: Mapping[str, str],
    overrides: Sequence[str],
    objective_config: Callable[[str, Sequence[str]], Mapping[str, Any]],
    say: Callable[[str], None],
    markdown: Callable[[list[dict[str, Any]]], str],
) -> tuple[Path, list[Path]]:
    """Run the laboratory for one command line; return its folder and the files written.

    Args:
        words: ``rollouts checkpoint objectives`` and perhaps ``out steps moment tokens``.
        overrides: ``objective.*`` and ``hydra.*`` for the objectives, ``laboratory.*`` for conf/laboratory.yaml, others
            for the run's own configuration.
        objective_config: the objectives' configuration by name, with overrides.
        markdown: the tables of tidy rows.
    """
    run = run_of(Path(words["rollouts"]))
    others = starting_with(overrides, "objective", "hydra", "laboratory")
    config = parse(recorded_config(run.config_path, [word for word in overrides if word not in others]))
    settings = laboratory_settings(overrides)
    for_objectives = (*starting_with(overrides, "objective", "hydra"), f"context.length={config.context.longest}")
    configs = {name: objective_config(name, for_objectives) for name in listed(words["objectives"])}
    moment = words.get("moment", MOMENTS[0])
    if moment not in MOMENTS:
        raise UserError(f"moment={moment} is not one of {', '.join(MOMENTS)}")
    tokens = words.get("tokens", "false").lower()
    if tokens not in ("true", "false"):
        raise UserError(f"tokens={tokens} is not true or false: choose one of them")
    places = places_of(run, [Path(path) for path in listed(words["checkpoint"])], steps_in(words), moment)
    out = Path(words.get("out", run.path / "laboratory"))
    paths = run_laboratory(
        run,
        config,
        places,
        lambda recorded: built_variants(configs, toggles_for(settings, recorded), say),
        LaboratoryConfig(settings.num_buckets, settings.num_bins, settings.parameter_space, tokens == "true"),
        out,
        say,
        markdown,
    )
    return out, paths


def starting_with(overrides: Sequence[str], *sections: str) -> list[str]:
    return [word for word in overrides if word.lstrip("+~").split(".")[0] in sections]


def laboratory_settings(overrides: Sequence[str]) -> DictConfig:
    settings = OmegaConf.load(Path(CONF_DIR, "laboratory.yaml"))
    OmegaConf.set_struct(settings, True)  # a key that is not there is a mistake
    words = [word.removeprefix("laboratory.") for word in starting_with(overrides, "laboratory")]
    return OmegaConf.merge(settings, OmegaConf.from_dotlist(words))


def toggles_for(settings: DictConfig, recorded: RecordedStep) -> dict[str, dict[str, Any]]:
    """The toggles, with the lengths of this batch filled in."""
    longest = recorded.longest_response
    lengths = {"longest_response": longest, "soft_penalty_buffer": max(1, longest // 5)}
    return OmegaConf.to_container(OmegaConf.merge(settings, lengths), resolve=True)["toggles"] or {}


def listed(text: str) -> list[str]:
    """``[a,b]`` or ``a,b`` or ``a``."""
    return [part.strip() for part in text.strip("[] ").split(",") if part.strip()]


def steps_in(words: Mapping[str, str]) -> list[int]:
    parts = listed(words.get("steps", ""))
    if not all(part.isdigit() for part in parts):
        raise UserError(f"steps={words['steps']} must be whole numbers: steps=[10,20]")
    return [int(part) for part in parts]
