"""The values that ``verify.*`` may have. A new backend is one row of ``BACKENDS``."""

from __future__ import annotations

import math

from ablate.config import VerifyConfig
from ablate.errors import UserError
from ablate.verify.backend import Backend
from ablate.verify.compare import COMPARISONS
from ablate.verify.extract import EXTRACTIONS
from ablate.verify.local import LocalBackend
from ablate.verify.modal import ModalBackend

BACKENDS: dict[str, type[Backend]] = {"local": LocalBackend, "modal": ModalBackend}
CONTAINERS = ("rollout", "problem", "test")
POSITIVE = (
    "workers",
    "queue_size",
    "time_limit_s",
    "wall_factor",
    "memory_limit_mib",
    "output_limit_kib",
    "max_processes",
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
    for key in POSITIVE:
        if not 0 < getattr(config, key) < math.inf:
            raise UserError(f"verify.{key} must be above 0 and finite, not {getattr(config, key)}")
    if config.retries < 0:
        raise UserError(f"verify.retries must be 0 or above, not {config.retries}")
    if config.max_tests is not None and config.max_tests < 1:
        raise UserError(
            f"verify.max_tests={config.max_tests} would pass every program: give 1 or more, or null for all"
        )
