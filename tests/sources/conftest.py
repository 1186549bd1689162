"""The generated data sets, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.sources.base import Rejected, Row, SourceConfig, read
from ablate.sources.choices import SOURCES
from ablate.sources.hub import locate

FACTS = SourceConfig(hub="made/here", revision=None, license="Apache-2.0", float_tolerance=None, rows={})


@pytest.fixture(scope="session")
def rows(public_sets: dict[str, Path]) -> dict[tuple[str, str, int], Row | Rejected]:
    """Every row of the generated data sets, by source, config and number."""
    found = {}
    for name, directory in public_sets.items():
        for row in read(SOURCES[name], *locate(str(directory), FACTS)):
            found[row.source, row.config, row.row] = row
    return found
