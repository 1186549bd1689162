"""Recorded runs for the tests of the analysis: the committed ones, and a generator of synthetic ones."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from ablate_analysis.compare import Settings
from ablate_analysis.load import Experiment, load_experiment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def recorded() -> Path:
    """outputs/ of the recorded runs; read only."""
    return HERE / "fixture_outputs"


@pytest.fixture(scope="session")
def main_runs(recorded: Path) -> Experiment:
    return load_experiment(recorded / "main")


@pytest.fixture(scope="session")
def crossed_runs(recorded: Path) -> Experiment:
    return load_experiment(recorded / "ratio_x_weight")


@pytest.fixture
def copied_runs(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded main experiment that a test may damage."""
    return Path(shutil.copytree(recorded / "main", tmp_path / "outputs" / "main"))


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(baseline="grpo", resamples=2000, confidence=0.95, power=0.8, seed=0, pass_at=1, min_seeds=2)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for the tests of the pages; its event loop must end with them, or no later test could run one.

    .ci/run sets ABLATE_BROWSER=required, and then a missing Chromium is an error.
    """
    path, is_required = shutil.which("chromium"), os.environ.get("ABLATE_BROWSER") == "required"
    if path is None and not is_required:
        pytest.skip("the pages are not tested in a browser: there is no Chromium (apt-get install chromium)")
    if importlib.util.find_spec("playwright") is None and not is_required:
        pytest.skip("the pages are not tested in a browser: playwright is not installed (make setup)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def make_fixture() -> ModuleType:
    """The generator of synthetic runs, as a module."""
    spec = importlib.util.spec_from_file_location("make_fixture", HERE / "make_fixture.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_fixture"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
