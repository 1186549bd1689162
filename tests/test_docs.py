"""Pages that repeat what the code says are compared with the code."""

import re
from pathlib import Path

import pytest

from ablate.cli import objective_config, objective_names

ROOT = Path(__file__).parents[1]
TRAINER = ROOT / "src" / "ablate" / "trainer"
PAGES = sorted(path for folder in (".", "docs", "experiments", "src") for path in (ROOT / folder).glob("**/*.md"))
PAGES = sorted({path for path in PAGES if not {".venv", "outputs"} & set(path.relative_to(ROOT).parts)})
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without the row of dashes."""
    text = (ROOT / "docs" / page).read_text().split(heading, 1)[1]
    rows = re.search(r"(^\|.*\n)+", text, re.MULTILINE).group(0).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [cells[0], *cells[2:]]


def test_the_table_of_objectives_is_their_yaml():
    heads, *rows = table("objectives.md", "## The objectives")
    assert sorted(row[0].strip("`") for row in rows) == objective_names()
    for name, *cells in rows:
        config = objective_config(name.strip("`"))
        shown = dict(zip(heads[1:], cells, strict=True))
        slots = shown.keys() & config.keys()
        assert {slot: config[slot] for slot in slots} == {slot: shown[slot] for slot in slots}
        bounds = [config["clip_low"], config["clip_high"]]
        if config["surrogate"] == "clipped_weight" and bounds[0] == 1:  # a bound of 0 is none
            bounds[0] = None
        if bounds == [None, None]:
            assert shown["clip low / high"] == "none"
        else:
            texts = shown["clip low / high"].split(" / ")
            assert [None if text == "none" else float(text) for text in texts] == bounds


def test_every_file_of_the_trainer_has_its_row_and_every_row_its_file():
    _, *rows = table("trainer.md", "# The trainer")
    named = [name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[0])]
    files = {str(path.relative_to(TRAINER)) for path in TRAINER.rglob("*.py") if path.name != "__init__.py"}
    assert sorted(named) == sorted(files)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_code_that_a_page_names_exists(page):
    """Such as `trainer/cpu.py`, below one of five folders; a path of another project begins with none of theirs."""
    text = page.read_text()
    bases = [ROOT, ROOT / "tests", ROOT / "src" / "ablate", TRAINER, page.parent]
    made = set(re.findall(r"^`([\w./]+)`:$", text, re.MULTILINE))  # files that the page tells its reader to write
    for name in set(re.findall(r"`([\w./]+/\w+\.(?:py|sh|sbatch|yaml))`", text)) - made:
        is_ours = any((base / name).parents[name.count("/") - 1].is_dir() for base in bases)
        assert not is_ours or any((base / name).exists() for base in bases), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_finds_it(page):
    links = [target for target, _ in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in links if not (page.parent / target).exists()] == []


def test_every_entry_of_the_tree_in_the_readme_exists():
    block = (ROOT / "README.md").read_text().split("## The tree", 1)[1].split("```")[1]
    for line in block.strip("\n").splitlines():
        folder = ROOT / "src" / "ablate" if line.startswith("  ") else ROOT
        for name in re.findall(r"(?<!\S)[\w.]+(?:/|\.py)(?=\s|$)", line):
            assert (folder / name).exists(), name
