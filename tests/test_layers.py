"""Imports go down only, every heavy dependency has one home, and light entry points stay light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ablate"

ROOT = SRC.parents[1]

# From the bottom up; a part imports only from lists above its own. ARCHITECTURE.md shows the same table.
ORDER = {
    "L0.1": ["errors", "nearest", "process", "seeding", "types"],
    "L0.2": ["files", "models"],
    "L0.3": ["config"],
    "L0.4": ["cli"],
    "L1": ["objectives", "data", "verify", "evals", "records", "display", "tracking"],
    "L2.1": ["rollout", "trainer", "sources", "estimate"],
    "L2.2": ["curate"],
    "L3.1": ["check_run", "launch", "sampling", "warm_start"],
    "L3.2": ["collector", "atropos"],
    "L3.3": ["session", "sweep"],
    "L3.4": ["loop", "laboratory"],
    "L4": [
        "train",
        "evaluate",
        "verify/__main__",
        "replay",
        "laboratory/__main__",
        "laws",
        "export",
        "plan",
        "estimate/__main__",
        "report",
        "compare",
        "rating",
        "conform",
        "serve",
        "doctor",
        "judge",
        "__main__",
    ],
}
LAYER = {part: layer for layer, parts in enumerate(ORDER.values()) for part in parts}
ENTRY_POINTS = ORDER["L4"]

HOMES = {
    # worker and receiver run inside vLLM; child imports its exception
    "vllm": {f"rollout/vllm/{name}.py" for name in ("engine", "child", "worker", "receiver", "user_arguments")},
    "modal": {"verify/modal/backend.py"},
    "transformers": {"data/tokenizer.py", "doctor/compute.py", "doctor/small_model.py"},  # compared with the trainer
    "wandb": {"tracking.py"},
    "rich": {"display.py", "launch/display.py"},
    "atroposlib": set(),  # its server is a process of its own, and src/ablate/atropos speaks HTTP to it
    "safetensors": {"trainer/model/weight_files.py"},
    "pyarrow": {"files/parquet.py"},
    "datasketch": {"curate/text.py", "curate/duplicates.py"},
    "ijson": {"sources/directory.py"},
    "huggingface_hub": {"sources/hub.py"},
}
MODULES = sorted(path for path in SRC.rglob("*.py"))
OUTSIDE_SRC = sorted(path for top in ("analysis", "benchmarks", "slurm") for path in (ROOT / top).rglob("*.py"))


@cache
def imports_of(path: Path, for_types_too: bool = False) -> set[str]:
    """Every imported module, by its full dotted name, wherever in the file the import stands."""
    found = set()
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types and not for_types_too:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    """The package or top-level module that a file belongs to: ``objectives``, ``loop``.

    A package of a lower layer can have a command, which stands with the other commands: ``verify/__main__``.
    """
    parts = path.relative_to(SRC).with_suffix("").parts
    return name if (name := "/".join(parts)) in ENTRY_POINTS else parts[0]


def test_imports_go_down_only():
    for path in MODULES:
        part = part_of(path)
        if part == "__init__":
            continue
        assert part in LAYER, f"{part} has no layer: add it to ORDER"
        for name in imports_of(path):
            other = name.split(".")[1] if name.startswith("ablate.") else part
            if other != part and other in LAYER:
                assert LAYER[other] < LAYER[part], f"{path} imports {name}, which lies above it or next to it"


def test_every_heavy_dependency_has_one_home():
    for path in MODULES:
        relative = str(path.relative_to(SRC))
        roots = {name.split(".")[0] for name in imports_of(path)}
        for package, homes in HOMES.items():
            assert package not in roots or relative in homes, f"{relative} imports {package}; its home is {homes}"
        assert "megatron" not in roots or relative.startswith("trainer/"), relative
        assert "hydra" not in roots or part_of(path) in [*ENTRY_POINTS, "cli", "launch", "sweep"], relative


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
        f"import sys, ablate.{module.replace('/', '.')}; "
        "print([m for m in ('torch', 'vllm', 'megatron', 'transformers', 'modal', 'wandb', 'pandas', 'matplotlib') "
        "if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def module_name(path: Path) -> str:
    base = next(top for top in (ROOT / "src", ROOT / "analysis", ROOT) if path.is_relative_to(top))
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def test_no_files_import_each_other_in_a_circle_not_even_for_types():
    files = {module_name(path): path for path in [*MODULES, *OUTSIDE_SRC]}
    remaining = {}
    for name, path in files.items():
        imported = {each if each in files else each.rpartition(".")[0] for each in imports_of(path, for_types_too=True)}
        remaining[name] = (imported & files.keys()) - {name}
    while free := [name for name, imported in remaining.items() if not imported & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining, f"these files import each other, or import files that do: {sorted(remaining)}"


def test_the_table_of_architecture_md_is_the_order():
    rows = [
        line.split("|")[1:3] for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| L")
    ]
    assert {label.strip(): names.split() for label, names in rows} == ORDER


def test_analysis_reads_records_and_needs_no_trainer_or_engine():
    allowed = {*ORDER["L0.1"], "files", "config", *ORDER["L0.4"], *ORDER["L1"], "laboratory"}
    for path in OUTSIDE_SRC:
        top = path.relative_to(ROOT).parts[0]
        assert top != "slurm", f"{path}: a Python program of the package is an entry point: python -m ablate.NAME"
        if top == "analysis":
            parts = {name.split(".")[1] for name in imports_of(path) if name.startswith("ablate.")}
            assert parts <= allowed, path


def test_only_the_commands_that_draw_or_compute_statistics_import_ablate_analysis():
    commands = ("report", "compare", "conform", "rating", "replay", "export", "evaluate")
    commands += ("laboratory/__main__", "estimate/__main__", "plan")
    for path in MODULES:
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & {"benchmarks", "tests"}, path
        assert "ablate_analysis" not in roots or part_of(path) in commands, path
