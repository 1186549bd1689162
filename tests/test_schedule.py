"""Tests that share what is expensive stay on one worker of ``make test``."""

from __future__ import annotations

import pytest


def test_a_worker_knows_the_group_of_a_test(request: pytest.FixtureRequest) -> None:
    workers = getattr(request.config, "workerinput", None)
    groups = workers is not None and request.config.getoption("loadgroup")
    assert ("@" in request.node.nodeid) == groups
