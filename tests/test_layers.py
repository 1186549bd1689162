"""Imports go down only, every heavy dependency has one home, and light entry points stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ablate"

# From the bottom up; a part imports only from lists above its own.
ORDER = [
    ["errors", "seeding", "types"],  # L0
    ["files", "hf_config"],
    ["config"],
    ["cli"],
    ["objectives", "data", "verify", "evals", "records", "provenance", "display", "tracking", "preemption"],  # L1
    ["rollout", "trainer"],  # L2
    ["check_run", "sampling", "warm_start"],  # L3
    ["session"],
    ["loop", "laboratory"],
    ["train", "evaluate", "judge", "replay", "laws", "export", "plan", "report", "serve"],  # L4: entry points
]
LAYER = {part: layer for layer, parts in enumerate(ORDER) for part in parts}
ENTRY_POINTS = ORDER[-1]

HOMES = {
    "vllm": {"rollout/vllm.py"},
    "modal": {"verify/modal.py"},
    "transformers": {"data/tokenizer.py"},
    "wandb": {"tracking.py"},
    "rich": {"display.py"},
    "atroposlib": {"rollout/atropos.py"},
    "safetensors": {"trainer/model/weight_files.py"},
    "pyarrow": {"records/files.py"},
}
MODULES = sorted(path for path in SRC.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every imported module, by its full dotted name, wherever in the file the import stands; not those for types."""
    found = set()
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
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
    assert part in LAYER, f"{part} has no layer: add it to ORDER"
    for name in imports_of(path):
        if not name.startswith("ablate."):
            continue
        other = name.split(".")[1]
        if other != part and other in LAYER:
            assert LAYER[other] < LAYER[part], f"{path.name} imports {name}, which lies above it or beside it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_every_heavy_dependency_has_one_home(path):
    relative = str(path.relative_to(SRC))
    roots = {name.split(".")[0] for name in imports_of(path)}
    for package, homes in HOMES.items():
        assert package not in roots or relative in homes, f"{relative} imports {package}; its home is {homes}"
    if "megatron" in roots:
        assert relative.startswith("trainer/")
    if "hydra" in roots:
        assert part_of(path) in [*ENTRY_POINTS, "cli"]


def test_rollout_and_trainer_never_meet():
    for path in MODULES:
        names = {name for name in imports_of(path) if name.startswith("ablate.")}
        if part_of(path) == "rollout":
            assert not any(name.startswith(("ablate.trainer", "ablate.objectives")) for name in names), path
        if part_of(path) == "trainer":
            assert not any(name.startswith(("ablate.rollout", "ablate.verify", "ablate.data")) for name in names), path


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_an_entry_point_imports_without_the_heavy_packages(module):
    code = (
        f"import sys, ablate.{module}; "
        "print([m for m in ('torch', 'vllm', 'megatron', 'transformers', 'modal', 'wandb', 'pandas', 'matplotlib') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"
