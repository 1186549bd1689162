"""What all commands share: they read words, compose configurations, and report a user's mistake in one sentence."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from ablate.errors import UserError
from ablate.files import read_yaml
from ablate.nearest import did_you_mean, nearest

CONF_DIR = str(Path(__file__).resolve().parents[2] / "conf")
FREE_FORM = (
    "objective",
    "model.build",
    "model.architecture",
    "rollout.engine.args",
    "parallel.megatron",
)  # sections whose keys depend on the choice
SEARCHPATH = "ABLATE_SEARCHPATH"  # set for this process and its children
MISTAKE_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells have it
UNKNOWN_KEY = re.compile(r"Could not (?:override|append to config|delete from config)\.? ?'([^'+~]+)'")
HYDRA_CONFIG_OPTIONS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


def run_main(main: Callable[[], object]) -> None:
    """Call ``main`` (plain, or decorated by ``hydra.main``); report a mistake in one sentence and exit with 2."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    register_sums()
    # Torch reads this on import: one thread each for trainer and engine is fastest on two cores, and bit-exact.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Without this, Hydra prints a shortened traceback and exits with code 1 before we can print our sentence.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        if not Path(CONF_DIR).is_dir():
            raise UserError(f"{CONF_DIR} does not exist: ablate reads its YAML from a clone, so install it with pip -e")
        check_words(sys.argv[1:])
        if folders := [str(folder) for word in searchpath_of(sys.argv[1:]) for folder in searchpath_folders(word)]:
            os.environ[SEARCHPATH] = os.pathsep.join(folders)  # where a part of an objective may lie, next to its YAML
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except MissingConfigException as error:
        stop(missing_choice(str(error.missing_cfg_file), error.options or ()))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if unknown := UNKNOWN_KEY.search(str(error)):
            stop(unknown_key(unknown[1]))
        report(error)
    except ValueError as error:  # Hydra raises it for GROUP=true
        if not str(error).startswith("Config group override must be a string"):
            raise
        stop("the choice of a group is the name of one of its files: write objective=grpo, not objective=true")
    except OSError as error:  # about a path that the user named, or a path below it
        if error.filename is None or error.strerror is None or is_sweep():
            raise  # in a sweep a run has failed, and the last lines say which
        stop(f"{error.filename}: {error.strerror.lower()}: name a path that exists and can be used")


def missing_choice(name: str, options: Sequence[str]) -> str:
    """A sentence about a file of a group that does not exist, such as objective/gpso. Files with "_" are parts."""
    group, _, choice = name.rpartition("/")
    known = [option for option in options if not option.startswith("_")]
    hint = did_you_mean(choice, known) or "."
    return f"there is no {group or 'configuration'} {choice}{hint} The choices are {', '.join(known) or 'none'}"


def unknown_key(key: str) -> str:
    """A sentence about a key that no configuration has; ``+key=`` would be refused as well, so it is not offered."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    known = all_keys(OmegaConf.to_container(compose([]), resolve=False))
    group = key.split(".")[0]  # of which files are chosen by their names, such as source.nouscoder
    known += [f"{group}.{path.stem}" for path in Path(CONF_DIR, group).glob("[!_]*.yaml")]
    found = nearest(key, [name for name in known if name.split(".")[0] == group] or known)
    hint = f": did you mean {' or '.join(found)}?" if found else ": python -m ablate.train --cfg job lists all keys"
    return f"there is no key {key}{hint}"


def all_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every dotted key, sections included."""
    found = []
    for name, value in values.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, dict):
            found += all_keys(value, f"{prefix}{name}.")
    return found


def print_help_if_asked(doc: str | None) -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_page(doc))
        sys.exit(0)


def help_page(doc: str | None) -> str:
    """The text of a command's docstring: its examples first, then what it is about."""
    about, *rest = (doc or "").strip("\n").split("\n\n")
    examples = [part for part in rest[:1] if part.startswith("    ")]
    return "\n\n".join([*examples, about, *rest[len(examples) :]])


def hand_over(old: str, new: str, words: Sequence[str]) -> None:
    """Run the command ``new`` with ``words``, after one line that names it; ``old`` is its former name."""
    print(f"note: {old} is now {new}", file=sys.stderr)
    sys.argv = [new, *words]
    runpy.run_module(new, run_name="__main__", alter_sys=True)


def report(error: Exception) -> NoReturn:
    """Say a mistake in one sentence, unless another process of the job says it, and exit."""
    if isinstance(error, UserError) and error.is_said:
        sys.exit(MISTAKE_EXIT_CODE)
    stop(" ".join(line.strip() for line in str(error).strip().splitlines() if line.strip()))


def stop(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(MISTAKE_EXIT_CODE)


def is_sweep() -> bool:
    return bool({"-m", "--multirun"} & set(sys.argv[1:]))


# --- words of a command line ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """A command line: the command's own ``key=value`` words, and the overrides of the configuration."""

    own: dict[str, str]
    overrides: tuple[str, ...] = ()


def read_words(doc: str | None, own: Sequence[str], required: Sequence[str] = (), overrides: bool = True) -> Words:
    """Read ``sys.argv``; with ``--help``, or without the words that the command requires, print ``doc`` and exit.

    Args:
        own: the command's own keys.
        required: keys that must be given, whether they are the command's own or overrides.
        overrides: whether all other words are overrides of the configuration; otherwise they are mistakes.

    Raises:
        UserError: for a word that is not ``key=value``, an unknown key, a key given twice or a missing one.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words) or (required and not words):
        print(help_page(doc))
        sys.exit(0)
    found = split_words(words, own)
    if found.overrides and not overrides:
        key = found.overrides[0].split("=", 1)[0]
        raise UserError(f"{key} is not a key of this command: use {', '.join(own)}")
    given = {*found.own, *(word.split("=", 1)[0] for word in found.overrides)}
    for key in required:
        if key not in given:
            typed = [word for word in given if key in nearest(word, [key])]
            hint = f"{typed[0]} is not a key: did you mean {key}?" if typed else "see --help"
            raise UserError(f"{key}=… is needed: {hint}")
    return found


def split_words(words: Sequence[str], own: Sequence[str]) -> Words:
    """Split words into a command's own words and the overrides.

    Raises:
        UserError: for a word that is neither ``key=value`` nor Hydra's ``~key``, and for a command's key given twice.
    """
    check_words(words)
    pairs: dict[str, str] = {}
    overrides = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise UserError(f"{word} is not of the form key=value: write {word.lstrip('-')}=VALUE, or leave it out")
        if key not in own:
            overrides.append(word)
        elif key in pairs:
            raise UserError(f"{key} is given twice: leave one of the two out")
        else:
            pairs[key] = value
    return Words(pairs, tuple(overrides))


def check_words(words: Sequence[str]) -> None:
    """Raise ``UserError`` for a word that no command accepts."""
    for word in words:
        option, _, _ = word.partition("=")
        if option in HYDRA_CONFIG_OPTIONS:
            raise UserError(
                f"{option} is not accepted: keep your own configuration files in a directory and add "
                "'hydra.searchpath=[file:///path/to/that/directory]'"
            )
        key = option.lstrip("+~")
        if key == "hydra.searchpath":
            check_searchpath(word)
        value = word.partition("=")[2]
        if value.startswith("_") and Path(CONF_DIR, key, f"{value}.yaml").is_file():
            known = sorted(path.stem for path in Path(CONF_DIR, key).glob("[!_]*.yaml"))
            raise UserError(f"{key}={value} is a part of other files, and no choice: choose one of {', '.join(known)}")


def searchpath_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """The words that say where configuration files of the user's own are."""
    return tuple(word for word in overrides if word.lstrip("+").startswith("hydra.searchpath="))


def searchpath_folders(word: str) -> list[Path]:
    """The directories that a word of ``hydra.searchpath`` names."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    value = OverridesParser.create().parse_override(word).value()
    entries = [str(entry).removeprefix("file://") for entry in (value if isinstance(value, list) else [value])]
    return [Path(entry).absolute() for entry in entries if "://" not in entry]


def check_searchpath(word: str) -> None:
    """Raise ``UserError`` for a directory that does not exist: Hydra would only warn and continue without it."""
    for folder in searchpath_folders(word):
        if not folder.is_dir():
            raise UserError(f"hydra.searchpath: {folder} is not a directory: name one that exists")


# --- configurations ---------------------------------------------------------------------------------------------------


def compose(overrides: Sequence[str], with_hydra: bool = False, config_name: str = "train") -> Any:
    """Compose one configuration exactly as ``ablate.train`` would, ``hydra.searchpath`` included."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    check_words(overrides)
    register_sums()
    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(CONF_DIR, version_base="1.3")
    return hydra_compose(config_name, overrides=list(overrides), return_hydra_config=with_hydra)


def register_sums() -> None:
    """Let YAML add numbers, as in ``steps: ${sum:${fork.step},8}``; null counts as 0."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("sum", lambda *numbers: sum(number or 0 for number in numbers), replace=True)


def changed(values: Any, words: Sequence[str]) -> Any:
    """A copy of a composed configuration with single keys replaced, no choices of a group; what refers to them follows.

    Hydra needs a fifth of a second to compose anew.
    """
    from copy import deepcopy

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    values, parser = deepcopy(values), OverridesParser.create()
    for override in parser.parse_overrides(list(words)):
        OmegaConf.update(values, override.key_or_group, override.value(), merge=False)
    return values


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
    """The configuration that a run has recorded at ``path``, with overrides; ``eval=lcb`` replaces the whole section.

    A key that was added to the project after the run takes its value from conf/train.yaml.

    Raises:
        UserError: if there is no such file, or it is damaged, or it has keys of another version.
    """
    from omegaconf import OmegaConf

    check_words(overrides)
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: checkpoint must be outputs/<experiment>/<cell>/seed<k>/checkpoints/step_…"
        )
    own, today = OmegaConf.create(read_yaml(path)), OmegaConf.create(OmegaConf.to_container(compose([])))
    check_known(path, own, today)
    # These sections are free-form: keys of a different objective or model must not be merged in.
    for key in FREE_FORM:
        OmegaConf.update(today, key, OmegaConf.select(own, key), merge=False)
    config = OmegaConf.merge(today, own)
    choices = [word for word in overrides if is_choice(word, today)]
    for key in (word.split("=")[0] for word in choices):
        OmegaConf.update(config, key, compose(choices)[key], merge=False)
    return OmegaConf.merge(config, OmegaConf.from_dotlist([word for word in overrides if word not in choices]))


def is_choice(word: str, config: Any) -> bool:
    """Whether a word chooses a file of a group, as ``eval=lcb`` does: a key alone, and a section."""
    from omegaconf import DictConfig

    key = word.split("=")[0]
    return (Path(CONF_DIR) / key).is_dir() and isinstance(config.get(key), DictConfig)


def check_known(path: Path, own: Any, today: Any) -> None:
    """Raise ``UserError`` for recorded keys that this version does not have."""
    from omegaconf import DictConfig

    def unknown(values: Any, known: Any, prefix: str) -> list[str]:
        names = []
        for key in values:
            name = f"{prefix}{key}"
            if key not in known:
                names.append(name)
            elif name not in FREE_FORM and isinstance(values[key], DictConfig) and isinstance(known[key], DictConfig):
                names += unknown(values[key], known[key], name + ".")
        return names

    names = unknown(own, today, "")
    if names:
        raise UserError(
            f"{path} was written by another version, whose {', '.join(names)} this version does not know: use the "
            "commit that manifest.json next to it names"
        )
