"""The formats that ``ablate.compare`` reads. Each module has NAME, ``matches(path)`` and ``read(path, options)``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from ablate.errors import UserError
from ablate_analysis.results.formats import (
    cruxeval,
    evalplus,
    inspect_log,
    lighteval,
    livecodebench,
    lm_eval,
    nemo_skills,
    ours,
    skyrl,
    swe_bench,
    tables,
    tau_bench,
    trl,
    verifiers,
    verl,
)
from ablate_analysis.results.samples import Options, Results

# The first that matches reads a file; tables, which match by their columns, come last.
FORMATS: tuple[ModuleType, ...] = (
    *(ours, cruxeval, livecodebench, evalplus, lm_eval, lighteval, inspect_log, verifiers, verl, trl),
    *(nemo_skills, skyrl, swe_bench, tau_bench),
    tables,
)
BY_NAME = {module.NAME: module for module in FORMATS}


def read(path: Path, options: Options, format_name: str | None = None) -> Results:
    """Read one file or directory.

    Raises:
        UserError: if it does not exist, has no known format, or is refused by its reader.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: name a file or directory of results")
    if format_name is not None and format_name not in BY_NAME:
        raise UserError(f"format={format_name} is unknown: use one of {', '.join(BY_NAME)}")
    module = BY_NAME[format_name] if format_name else next((each for each in FORMATS if each.matches(path)), None)
    if module is None:
        raise UserError(
            f"{path} has none of the known formats ({', '.join(BY_NAME)}): name one with format=, or give CSV, "
            "JSON, JSON lines or parquet with columns.problem= and columns.passed="
        )
    results = module.read(path, options)
    if not results.samples:
        raise UserError(f"{path} was read as {module.NAME} and holds no sample: is it the right file?")
    return results
