"""An installed copy: its packages have names of their own, and it says what it lacks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The directory into which pip installed a copy of the project, as a wheel."""
    clone, target = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("installed")
    for name in ("src", "analysis"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*pip, "--target", target, clone], check=True, capture_output=True, text=True)
    return target


def run(installed: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *words], env=environment, cwd=installed, capture_output=True, text=True)


def test_no_installed_package_has_a_name_that_another_project_may_have(installed):
    packages = {path.name for path in installed.iterdir() if path.suffix != ".dist-info" and path.name != "bin"}
    assert packages == {"ablate", "ablate_analysis", "hydra_plugins"}  # Hydra looks for its plugins in the last


def test_the_analysis_is_installed_with_its_pages_and_figures(installed):
    code = (
        "import ablate_analysis.pages.document as d, ablate_analysis.tables as t; print(d.__file__, t.PUBLISHED.name)"
    )
    result = run(installed, "-c", code)
    assert result.stdout.split() == [str(installed / "ablate_analysis/pages/document.py"), "published.yaml"]
    assert (installed / "ablate_analysis/pages/script/core.js").is_file()


@pytest.mark.parametrize("module", ["ablate.train", "ablate.plan", "ablate_analysis.notebooks"])
def test_a_copy_without_conf_names_the_fix_in_one_sentence(installed, module):
    result = run(installed, "-m", module, "experiment=tiny")
    assert result.returncode == 2
    conf = installed.parent / "conf"
    assert (
        result.stderr
        == f"error: {conf} does not exist: ablate reads its YAML from a clone, so install it with pip -e\n"
    )
