"""Replay: push given rollouts through objectives, without a training run.

python -m ablate.replay cases=IN.json out=OUT.json    advantages, losses and gradients of a list of cases
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ablate.cli import CONF_DIR, run_main
from ablate.errors import UserError

USAGE = __doc__
MODES = {"cases": ("cases", "out")}


def arguments(argv: list[str]) -> dict[str, str]:
    """``key=value`` words, as everywhere else in this project."""
    for word in argv:
        if "=" not in word:
            raise UserError(f"{word!r} is not of the form key=value: see python -m ablate.replay --help")
    return dict(word.split("=", 1) for word in argv)


def main() -> None:
    if len(sys.argv) == 1 or {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return
    given = arguments(sys.argv[1:])
    mode = next((mode for mode in MODES if mode in given), None)
    if mode is None:
        raise UserError(f"replay needs one of {', '.join(f'{mode}=' for mode in MODES)}: see --help")
    unknown = sorted(set(given) - set(MODES[mode]))
    if unknown:
        raise UserError(f"replay {mode}=... does not know {', '.join(unknown)}: use {', '.join(MODES[mode])}")
    replay_cases(given)


def replay_cases(given: dict[str, str]) -> None:
    from ablate.objectives.cases import replay_file

    if "out" not in given:
        raise UserError("replay cases=... needs out=OUT.json: where the results go")
    num_cases = replay_file(Path(given["cases"]), Path(given["out"]), preset_config)
    print(f"{num_cases} cases replayed into {given['out']}")


def preset_config(name: object) -> dict[str, Any]:
    """conf/objective/NAME.yaml as a plain mapping.

    Raises:
        UserError: when there is none, listing those there are.
    """
    from omegaconf import OmegaConf

    known = sorted(path.stem for path in Path(CONF_DIR, "objective").glob("*.yaml"))
    if name not in known:
        raise UserError(f"objective {name!r} is unknown: use one of {', '.join(known)}")
    return OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR, "objective", f"{name}.yaml")), resolve=False)


if __name__ == "__main__":
    run_main(main)
