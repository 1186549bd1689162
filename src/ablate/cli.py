"""What every entry point shares: a user's mistake is one sentence and exit code 2, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from ablate.errors import UserError

CONF_DIR = str(Path(__file__).resolve().parents[2] / "conf")


def run_main(main: Callable[[], object]) -> None:
    """Call ``main`` (usually a ``hydra.main`` function); print a ``UserError`` or a Hydra mistake and exit with 2."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    # Read when torch is loaded: one thread each for trainer and engine is fastest on two cores, and bit-exact.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Without this Hydra prints its own shortened traceback and exits with 1 before we can speak.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except MissingConfigException as error:
        choices = f": choose one of {', '.join(error.options)}" if error.options else ""
        stop(f"there is no configuration {error.missing_cfg_file}{choices}")
    except (UserError, HydraException, OmegaConfBaseException) as error:
        stop(" ".join(line.strip() for line in str(error).strip().splitlines() if line.strip()))
    except ValueError as error:  # Hydra's, for GROUP=true
        if not str(error).startswith("Config group override must be a string"):
            raise
        stop("the choices of a group are words: write dynamic_sampling=on or dynamic_sampling=off")
    except OSError as error:  # of a path that the user named, or of one below it
        if error.filename is None or error.strerror is None or is_sweep():
            raise  # of a sweep: a cell has failed, and the last lines say which
        stop(f"{error.filename}: {error.strerror.lower()}: name a path that exists and can be used")


def is_sweep() -> bool:
    return bool({"-m", "--multirun"} & set(sys.argv[1:]))


def own_keys(words: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split a command line into an entry point's own ``key=value`` words and the overrides.

    Raises:
        UserError: for a word that is no ``key=value``.
    """
    for word in words:
        if "=" not in word:
            raise UserError(f"{word} is not of the form key=value: write {word.lstrip('-')}=VALUE, or leave it out")
    pairs = dict(word.split("=", 1) for word in words)
    return {name: pairs[name] for name in names if name in pairs}, [
        word for word in words if word.split("=", 1)[0] not in names
    ]


def compose(overrides: Sequence[str], with_hydra: bool = False) -> Any:
    """Compose one configuration exactly as ``ablate.train`` would."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(CONF_DIR, version_base="1.3")
    return hydra_compose("train", overrides=list(overrides), return_hydra_config=with_hydra)


def objective_names() -> list[str]:
    """Names of the objectives in conf/objective."""
    return sorted(path.stem for path in Path(CONF_DIR, "objective").glob("[!_]*.yaml"))


def objective_config(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The ``objective`` section that ``ablate.train objective=NAME`` would compose, as a plain mapping."""
    return _objective_config(name, tuple(overrides)).copy()


@cache
def _objective_config(name: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf

    if not name.isidentifier():
        raise UserError(f"objective {name!r} is not a name: use the name of a YAML file in conf/objective")
    try:
        config = compose([f"objective={name}", *overrides])
    except MissingConfigException as error:
        known = ", ".join(option for option in error.options or () if not option.startswith("_"))
        raise UserError(f"objective {name!r} is unknown: use one of {known}, or add its YAML") from error
    return OmegaConf.to_container(config.objective, resolve=True)


def recorded(path: Path, overrides: Sequence[str]) -> Any:
    """The configuration that a run has recorded at ``path``, with overrides.

    A key that the project has gained since the run takes its value from conf/train.yaml.

    Raises:
        UserError: where there is no such file.
    """
    from omegaconf import OmegaConf

    if not path.is_file():
        raise UserError(
            f"{path} does not exist: checkpoint must be outputs/<experiment>/<cell>/seed<k>/checkpoints/step_…"
        )
    own, gained = OmegaConf.load(path), OmegaConf.create(OmegaConf.to_container(compose([])))
    for key in ("objective", "model.build", "model.architecture"):  # of free form: another one's keys are no gain
        OmegaConf.update(gained, key, OmegaConf.select(own, key), merge=False)
    return OmegaConf.merge(gained, own, OmegaConf.from_dotlist(list(overrides)))


def stop(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
