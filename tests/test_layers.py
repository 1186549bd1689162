"""Imports go down only, every heavy dependency has one home, and light entry points stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ablate"

LAYER = {
    "errors": 0, "seeding": 0, "types": 0, "config": 0, "cli": 0,
    "objectives": 1, "data": 1, "verify": 1, "evals": 1, "records": 1, "provenance": 1, "progress": 1, "tracking": 1,
    "rollout": 2, "trainer": 2,
    "session": 3, "loop": 3, "warm_start": 3, "laboratory": 3,
    "train": 4, "evaluate": 4, "judge": 4, "replay": 4, "export": 4, "plan": 4, "report": 4,
}  # fmt: skip

HOMES = {
    "vllm": {"rollout/vllm.py"},
    "modal": {"verify/modal.py"},
    "transformers": {"data/tokenizer.py"},
    "wandb": {"tracking.py"},
    "rich": {"progress.py"},
    "atroposlib": {"rollout/atropos.py"},
    "safetensors": {"trainer/weights.py"},
    "pyarrow": {"records.py"},
}
MODULES = sorted(path for path in SRC.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every imported module, by its full dotted name, wherever in the file the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    """The package or top-level module that a file belongs to: ``objectives``, ``loop``."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down_only(path):
    part = part_of(path)
    if part == "__init__":
        return
    assert part in LAYER, f"{part} has no layer: add it to LAYER"
    for name in imports_of(path):
        if not name.startswith("ablate."):
            continue
        other = name.split(".")[1]
        if other == part or other not in LAYER:
            continue
        assert LAYER[other] < LAYER[part], f"{path.name} (L{LAYER[part]}) imports {name} (L{LAYER[other]})"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_heavy_dependency_has_one_home(path):
    relative = str(path.relative_to(SRC))
    roots = {name.split(".")[0] for name in imports_of(path)}
    for package, homes in HOMES.items():
        assert package not in roots or relative in homes, f"{relative} imports {package}; its home is {homes}"
    if "megatron" in roots:
        assert relative.startswith("trainer/")
    if "hydra" in roots:
        assert LAYER[part_of(path)] == 4 or part_of(path) == "cli"


def test_rollout_and_trainer_never_meet():
    for path in MODULES:
        names = {name for name in imports_of(path) if name.startswith("ablate.")}
        if part_of(path) == "rollout":
            assert not any(name.startswith(("ablate.trainer", "ablate.objectives")) for name in names), path
        if part_of(path) == "trainer":
            assert not any(name.startswith(("ablate.rollout", "ablate.verify", "ablate.data")) for name in names), path


@pytest.mark.parametrize("module", ["train", "evaluate", "judge", "replay", "export", "plan", "report"])
def test_an_entry_point_imports_without_the_heavy_packages(module):
    code = (
        f"import sys, ablate.{module}; "
        "print([m for m in ('torch', 'vllm', 'megatron', 'transformers', 'modal', 'wandb', 'pandas', 'matplotlib') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"
