"""The values that ``verify.*`` may have. A new backend is one row of ``BACKENDS``."""

from __future__ import annotations

import json
import math

from ablate.config import VerifyConfig
from ablate.errors import UserError
from ablate.verify.backend import Backend
from ablate.verify.compare import COMPARISONS
from ablate.verify.extract import EXTRACTIONS
from ablate.verify.local.backend import LocalBackend
from ablate.verify.modal.backend import ModalBackend
from ablate.verify.speed import AUTO

BACKENDS: dict[str, type[Backend]] = {"local": LocalBackend, "modal": ModalBackend}
MAX_PRELUDE_CHARACTERS = 32_768  # as JSON; the fork server receives messages of 64 KiB
CONTAINERS = ("rollout", "problem", "test")
POSITIVE = (
    "checker_time_limit_s",
    "workers",
    "queue_size",
    "time_limit_s",
    "reference_speed_s",
    "wall_factor",
    "memory_limit_mib",
    "output_limit_kib",
    "disk_limit_mib",
    "max_processes",
)


def check_prelude(prelude: str | None) -> None:
    """Raise ``UserError`` for a ``verify.prelude`` that is not Python, or too long for a message to the sandbox."""
    if prelude is None:
        return
    if len(json.dumps(prelude)) > MAX_PRELUDE_CHARACTERS:
        raise UserError(f"verify.prelude is longer than {MAX_PRELUDE_CHARACTERS} characters: shorten it")
    try:
        compile(prelude, "verify.prelude", "exec")
    except (SyntaxError, ValueError) as error:
        raise UserError(f"verify.prelude is not Python: {error}: correct it, or give null for none") from None


def check_case(config: VerifyConfig) -> None:
    choice = str(config.case_insensitive).lower()  # of YAML's true and false, the configuration makes text
    if choice not in ("true", "false", "statement"):
        raise UserError(f"verify.case_insensitive={config.case_insensitive} is not one of true, false, statement")
    if choice == "true" and config.comparison != "tokens":
        raise UserError(
            f"verify.case_insensitive=true needs verify.comparison=tokens, because {config.comparison} compares every "
            "letter: leave one of them out"
        )


def check_verify(config: VerifyConfig) -> None:
    """Raise ``UserError`` for the first rule that ``config`` breaks."""
    choices = {
        "backend": BACKENDS,
        "container": CONTAINERS,
        "comparison": COMPARISONS,
        "extraction": EXTRACTIONS,
    }
    for key, allowed in choices.items():
        value = getattr(config, key)
        if value not in allowed:
            raise UserError(f"verify.{key}={value} is not one of {', '.join(allowed)}")
    if config.second_comparison not in (None, *COMPARISONS):
        raise UserError(
            f"verify.second_comparison={config.second_comparison} is not one of {', '.join(COMPARISONS)}: "
            "choose one, or null for none"
        )
    if config.second_comparison == config.comparison:
        raise UserError(
            f"verify.second_comparison={config.second_comparison} is verify.comparison already: choose another one, "
            "or null for none"
        )
    check_case(config)
    check_prelude(config.prelude)
    for key in POSITIVE:
        if not 0 < getattr(config, key) < math.inf:
            raise UserError(f"verify.{key} must be above 0 and finite, not {getattr(config, key)}")
    scale = config.time_scale
    if scale != AUTO and (isinstance(scale, str | bool) or not 0 < scale < math.inf):
        raise UserError(f"verify.time_scale={scale} is not auto or a number above 0: choose one")
    if config.retries < 0:
        raise UserError(f"verify.retries must be 0 or above, not {config.retries}")
    if config.max_tests is not None and config.max_tests < 1:
        raise UserError(
            f"verify.max_tests={config.max_tests} would pass every program: give 1 or more, or null for all"
        )
