"""Replay: push given rollouts through objectives, without a training run.

    python -m ablate.replay cases=IN.json out=OUT.json   advantages, losses and gradients of a list of cases
    python -m ablate.replay laws=my_objective            which laws an objective keeps
    python -m ablate.replay golden=check|record          committed values of every preset

    python -m ablate.replay rollouts=RUN/rollouts checkpoint=RUN/checkpoints objectives=[grpo,dapo,gspo,gspo_plus]

is the laboratory: a run's rollouts, log-probabilities recomputed by the trainer at one checkpoint or several
(checkpoint=[A,B]), through every objective and toggle. It writes laboratory.parquet, laboratory.md and figures into
out=DIR (RUN/laboratory).

    moment=after    (unless told) each checkpoint meets the whole rollout batch it was just trained on
    moment=during   the batch after it, at its last optimizer step; those before it are made again, as in training
    steps=[10,20]   other rollouts than those that the moment calls for

Words with a dot in their key go to Hydra: objective.clip_high=0.3, 'hydra.searchpath=[file://my_conf]'; in the
laboratory laboratory.parameter_space=false changes conf/laboratory.yaml, and other sections change the run's own
configuration: parallel.max_tokens_per_micro_batch=4096.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ablate.cli import run_main
from ablate.errors import UserError

LAW_BATCHES = 24


@dataclass(frozen=True)
class Words:
    """The command line: our own ``key=value`` words, and those that Hydra composes with."""

    ours: dict[str, str]
    overrides: tuple[str, ...]


def words_of(argv: list[str]) -> Words:
    for word in argv:
        if "=" not in word:
            raise UserError(f"{word!r} is not of the form key=value: see python -m ablate.replay --help")
    is_override = {word: "." in word.split("=", 1)[0] for word in argv}
    return Words(
        ours=dict(word.split("=", 1) for word in argv if not is_override[word]),
        overrides=tuple(word for word in argv if is_override[word]),
    )


def main() -> int:
    if len(sys.argv) == 1 or {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    words = words_of(sys.argv[1:])
    name = next((name for name in MODES if name in words.ours), None)
    if name is None:
        raise UserError(f"replay needs one of {', '.join(f'{name}=' for name in MODES)}: see --help")
    mode, given = MODES[name], set(words.ours)
    missing, unknown = sorted(mode.required - given), sorted(given - mode.required - mode.optional)
    if missing:
        raise UserError(f"replay {name}=... needs {', '.join(f'{key}=' for key in missing)} too: see --help")
    if unknown:
        known = ", ".join(sorted(mode.required | mode.optional))
        raise UserError(f"replay {name}=... does not know {', '.join(unknown)}: use {known}")
    return mode.run(words)


def replay_cases(words: Words) -> int:
    from ablate.objectives.cases import replay_file

    num_cases = replay_file(Path(words.ours["cases"]), Path(words.ours["out"]), configs(words.overrides))
    print(f"{num_cases} cases replayed into {words.ours['out']}")
    return 0


def replay_laws(words: Words) -> int:
    """Print one line per law; 1 when one is broken."""
    from ablate.objectives import build
    from ablate.objectives.laws import examine

    objective = build(preset_config(words.ours["laws"], words.overrides))
    findings = examine(objective, LAW_BATCHES)
    for finding in findings:
        print(f"{finding.status:15} {finding.law:42} {finding.detail}")
    num_broken = sum(finding.status == "broken" for finding in findings)
    num_kept = sum(finding.status == "holds" for finding in findings)
    print(f"{objective.name}: {num_kept} laws hold, {num_broken} broken, of {len(findings)}")
    return int(num_broken > 0)


def replay_golden(words: Words) -> int:
    """Compare with golden.json, or write it; 1 when something differs."""
    from ablate.objectives import golden

    action = words.ours["golden"]
    if action not in ("check", "record"):
        raise UserError(f"golden={action} is not one of check, record")
    # Dr. GRPO's constant is the context length, which must not move the committed values.
    values = golden.golden_values(configs((*words.overrides, "context.length=160")))
    if action == "record":
        golden.write_golden(values)
        print(f"recorded {len(values)} presets in {golden.GOLDEN_FILE}")
        return 0
    changed = golden.differences(values)
    print("\n".join(changed) or f"{len(values)} presets as committed")
    return int(bool(changed))


def replay_rollouts(words: Words) -> int:
    """The laboratory."""
    from ablate.laboratory.command import run_command
    from analysis.laboratory_plots import write_figures

    out, paths = run_command(words.ours, words.overrides, preset_config, print)
    print(*paths, *write_figures(out), sep="\n")
    return 0


def configs(overrides: tuple[str, ...]) -> Callable[[str], dict[str, Any]]:
    return lambda name: preset_config(name, overrides)


@cache
def preset_config(name: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The ``objective`` group that ``ablate.train objective=NAME`` would compose, as a plain mapping.

    Raises:
        UserError: when there is no such YAML, listing those there are.
    """
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import OmegaConf

    from ablate.cli import compose

    if not name.isidentifier():
        raise UserError(f"objective {name!r} is not a name: use that of a YAML in conf/objective/")
    try:
        config = compose([f"objective={name}", *overrides])
    except MissingConfigException as error:
        known = ", ".join(option for option in error.options or () if not option.startswith("_"))
        raise UserError(f"objective {name!r} is unknown: use one of {known}, or add its YAML") from error
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from error
    return OmegaConf.to_container(config.objective, resolve=True)


@dataclass(frozen=True)
class Mode:
    run: Callable[[Words], int]
    required: frozenset[str]
    optional: frozenset[str] = frozenset()


MODES = {
    "cases": Mode(replay_cases, frozenset({"cases", "out"})),
    "laws": Mode(replay_laws, frozenset({"laws"})),
    "golden": Mode(replay_golden, frozenset({"golden"})),
    "rollouts": Mode(
        replay_rollouts, frozenset({"rollouts", "checkpoint", "objectives"}), frozenset({"out", "steps", "moment"})
    ),
}


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
