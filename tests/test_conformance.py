"""The referee's own parts: rows that our objectives accept, and verdicts that a wrong gradient turns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ablate.check_run import objective_with
from ablate_analysis.cases import replay
from benchmarks.conformance.__main__ import PEERS
from benchmarks.conformance.batches import make_batches, outside_the_clip
from benchmarks.conformance.rows_file import FOLDER, knobs_of, read_rows
from benchmarks.conformance.run import ROOT, case_of, tasks_of, verdict_of
from benchmarks.conformance.verdicts import compare, compare_rows

BATCHES = make_batches()
ROWS = [row for path in sorted(FOLDER.glob("*.yaml")) for row in read_rows(path.stem)]
NAMES = [f"{row.peer}-{row.cell}-{row.keys}" for row in ROWS]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # rows name benchmarks/conformance/parts.py


def config_of(name):
    return objective_with(name, ())


def answer_of(row, mine, factor=lambda: 1.0):
    """What a trainer would answer that computes ours, each number times a factor."""
    if row.compare == "advantage":
        return {"advantage": [each * factor() for group in mine["advantage"] for each in group]}
    return {"grad": [[each * factor() for each in line] for line in mine["grad"]]}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_shows_equal_for_ours_and_turns_when_ours_is_mutated(row):
    task = tasks_of(0, row, BATCHES)[-1]
    mine = replay(case_of(row.ours, task, BATCHES), config_of)
    assert verdict_of(row, mine, answer_of(row, mine)).kind == "equal"
    rng = random.Random(0)
    assert verdict_of(row, mine, answer_of(row, mine, lambda: 1 + 1e-4 * rng.random())).kind == "different"
    assert verdict_of(row, mine, answer_of(row, mine, lambda: 0.75)).kind == "factor"


def mutations_of(row):
    """Knobs that an adapter would have to ignore: another advantage, or another weight and another clip or ratio."""
    whole = {**config_of(row.ours["objective"]), **row.ours}
    if row.compare == "advantage":
        yield {"advantage": "group_centred" if whole["advantage"] != "group_centred" else "leave_one_out"}
        return
    yield {"weight": "token_mean" if whole["weight"] != "token_mean" else "sequence_mean"}
    if whole["surrogate"] == "clipped" and row.batches != "extreme":  # where every ratio is far outside
        yield {"clip_high": 0.5 * whole["clip_high"]}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_turns_when_one_slot_or_knob_of_ours_is_another(row):
    """The batches of a row tell every mutation from the right objective, so no adapter that ignores a key is equal."""
    tasks = [task for task in tasks_of(0, row, BATCHES) if task["split_name"] in ("-", "two")]
    for changed in mutations_of(row):
        turned = set()
        for task in tasks:
            mine, theirs = (replay(case_of({**row.ours, **more}, task, BATCHES), config_of) for more in ({}, changed))
            turned.add(verdict_of(row, mine, answer_of(row, theirs)).kind)
        assert turned != {"equal"}, changed


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.same_as], ids=lambda row: f"{row.peer}-{row.cell}-{row.keys}"
)
def test_an_objective_that_is_the_same_as_theirs_builds_and_is_not_ours(row):
    kinds = set()
    for task in tasks_of(0, row, BATCHES):
        if task["split_name"] in ("-", "two"):
            mine = replay(case_of(row.ours, task, BATCHES), config_of)
            theirs = replay(case_of(knobs_of(row, task["split"]), task, BATCHES, row.old_logp), config_of)
            kinds.add(verdict_of(row, mine, answer_of(row, theirs)).kind)
    assert kinds & {"different", "factor"}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_what_is_not_equal_has_its_reason_and_its_consequence(row):
    assert (row.expected == "equal") == (not row.why)
    assert bool(row.why) == bool(row.consequence)


def test_every_trainer_has_its_rows_and_an_adapter_of_at_most_a_hundred_lines_of_code():
    adapters = {path.stem: path for path in (FOLDER.parent / "adapters").glob("[!_]*.py")}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(adapters) >= set(PEERS)
    for path in adapters.values():
        code = path.read_text().split('"""', 2)[2]
        assert sum(bool(line.strip()) for line in code.splitlines()) <= 100, path.name


def test_the_clip_binds_on_both_sides_for_both_signs():
    for batch in BATCHES:
        is_sequence = batch["kind"] == "sequence"
        if batch["kind"] in ("token", "sequence"):
            found = outside_the_clip(batch, *((3e-4, 4e-4) if is_sequence else (0.2, 0.28)), is_sequence)
            assert all(found[side, sign] for side in ("above", "below") for sign in (1, -1))


def test_one_huge_row_hides_no_other():
    ours, theirs = [[1e9], [1.0]], [[1e9], [2.0]]
    assert compare_rows(ours, theirs, by_row=False).kind == "equal"
    assert compare_rows(ours, theirs, by_row=True).kind != "equal"


def test_no_number_is_equal_to_one_that_is_not_finite():
    assert compare([1.0, 2.0], [1.0, float("nan")]).kind == "different"


def test_the_page_is_made_of_the_rows():
    for row in ROWS:
        page = "conformance.md" if row.peer in PEERS else "conformance_checkouts.md"
        text = (Path(ROOT) / "docs" / page).read_text()
        assert row.keys.replace("|", "\\|") in text, f"{row.peer}: {row.keys}: run make conformance"
        assert row.why in text


def test_the_table_of_all_trainers_counts_the_rows_of_both_pages():
    docs = Path(ROOT) / "docs"
    kinds = ("equal", "equal up to a factor", "different", "refused")
    for name in ("conformance.md", "conformance_checkouts.md"):
        for section in (docs / name).read_text().split("\n## ")[1:]:
            results = [line.rsplit("|", 2)[1].strip() for line in section.splitlines() if line.startswith("|")][2:]
            counts = [sum(each.split(":")[0] == kind for each in results) for kind in kinds]
            row = f"| {section.splitlines()[0]} | {' | '.join(map(str, [len(results), *counts]))} |"
            assert row in (docs / "peers.md").read_text(), row
