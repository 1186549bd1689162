"""Every published shape of a row becomes the right problem, and every broken row is rejected by its own reason."""

import json

import pytest
from public_sets.deepcoder import BARE, LISTED, WRAPPED, listed, values
from public_sets.example import CALLS, FUNCTIONS, HELD_OUT, HELD_OUT_FUNCTIONS, STORY, STORY_TESTS, TRAIN, stdin_pairs
from public_sets.write import examples

from ablate.sources.base import Rejected, Row, SourceConfig, read
from ablate.sources.choices import SOURCES
from ablate.sources.hub import locate
from ablate.types import TestCase

EXAMPLES = {
    (source, config, number): example
    for source, configs in examples(large_test_bytes=100).items()
    for config, each in configs.items()
    for number, example in enumerate(each)
}


def key_of(source: str, trap: str, config: str | None = None) -> tuple[str, str, int]:
    """The first row of a source that shows ``trap``."""
    return next(
        key
        for key, example in EXAMPLES.items()
        if key[0] == source and example.trap == trap and config in (None, key[1])
    )


def as_cases(pairs) -> tuple[TestCase, ...]:
    return tuple(TestCase(given, expected) for given, expected in pairs)


def encoded(outputs) -> tuple[TestCase, ...]:
    return tuple(TestCase(f"{a}\n{b}", json.dumps(value)) for (a, b), value in zip(CALLS, outputs, strict=True))


@pytest.mark.parametrize("key", EXAMPLES, ids=lambda key: f"{key[0]}-{key[1]}-{EXAMPLES[key].trap}")
def test_a_row_is_kept_or_rejected_by_its_own_reason(rows, key):
    row = rows[key]
    assert (row.reason if isinstance(row, Rejected) else None) == EXAMPLES[key].reason


def test_no_row_is_lost_and_every_kept_row_has_a_unique_id(rows):
    assert rows.keys() == EXAMPLES.keys()
    kept = [row for row in rows.values() if isinstance(row, Row)]
    assert len({row.id for row in kept}) == len(kept)


def test_every_kept_row_has_tests_a_statement_and_is_what_it_says(rows):
    for row in rows.values():
        if isinstance(row, Row):
            assert row.tests
            assert row.statement.strip()
            assert row.license in ({"cc by-sa", "public domain"} if row.source == "icpc" else {"Apache-2.0"})
            assert (row.kind == "functional") == (row.fn_name is not None) == (row.starter_code is not None)


@pytest.mark.parametrize(
    ("source", "trap", "combination"),
    [
        ("deepcoder/primeintellect", "program", TRAIN[0]),
        ("deepcoder/taco", "program", TRAIN[10]),
        ("deepcoder/lcbv5", "program", TRAIN[20]),
        ("taco_verified", "tests as JSON", TRAIN[22]),
        ("primeintellect", "tests as a Python literal", TRAIN[25]),
        ("primeintellect", "tests as JSON", TRAIN[27]),
        ("nouscoder", "program, tests as text", TRAIN[29]),
        ("nouscoder", "program, tests as an object", TRAIN[30]),
        ("nouscoder", "program in framing", TRAIN[31]),
    ],
)
def test_a_program_has_its_statement_without_framing_and_lines_that_end(rows, source, trap, combination):
    name, _, config = source.partition("/")
    problem = rows[key_of(name, trap, config or None)].problem()
    ended = [
        (given if given.endswith("\n") else f"{given}\n", expected) for given, expected in stdin_pairs(combination)
    ]
    assert (problem.statement, problem.input_mode, problem.fn_name) == (combination.statement, "stdin", None)
    assert problem.tests == as_cases(ended)


@pytest.mark.parametrize(
    ("source", "trap", "function"),
    [
        ("deepcoder", "function of more than 15 tests", FUNCTIONS[0]),
        ("deepcoder", "function", FUNCTIONS[7]),
        ("deepcoder", "metadata as text", HELD_OUT_FUNCTIONS[0]),
        ("primeintellect", "function", FUNCTIONS[8]),
        ("nouscoder", "LiveCodeBench's function", FUNCTIONS[9]),
        ("nouscoder", "PrimeIntellect's function", FUNCTIONS[10]),
        ("nouscoder", "TACO's function, bare", BARE),
        ("deepcoder", "function output bare", BARE),
        ("livecodebench", "function", HELD_OUT_FUNCTIONS[1]),
    ],
)
def test_a_function_keeps_its_name_and_every_test(rows, source, trap, function):
    row = rows[key_of(source, trap)]
    problem = row.problem()
    assert (problem.input_mode, problem.fn_name, problem.statement) == ("functional", function.name, function.statement)
    assert problem.tests == encoded(values(function))
    assert f"def {function.name}(" in problem.starter_code
    assert not row.needs_reference


def test_outputs_of_one_element_keep_both_readings_until_a_reference_chooses(rows):
    wrapped = rows[key_of("deepcoder", "function output wrapped")]
    assert wrapped.needs_reference
    assert wrapped.tests == encoded(values(WRAPPED))
    assert wrapped.other_tests == encoded([[value] for value in values(WRAPPED)])
    returns_lists = rows[key_of("deepcoder", "function that returns a list of one")]
    assert returns_lists.other_tests == encoded([[value] for value in values(LISTED)])
    assert returns_lists.references == (listed(LISTED.code),)


def test_an_output_that_should_be_wrapped_and_is_not_needs_a_reference(rows):
    row = rows[key_of("deepcoder", "function output not wrapped")]
    assert row.needs_reference
    assert not row.other_tests
    assert row.tests == encoded(values(FUNCTIONS[1]))


def test_examples_of_codeforces_are_tests_of_a_test_split(rows):
    row = rows[key_of("deepcoder", "examples only")]
    assert (row.split, row.platform, row.kind, row.fn_name) == ("test", "codeforces", "stdin", None)
    assert row.tests == as_cases(stdin_pairs(HELD_OUT[2])[:2])


def test_lists_of_lines_are_joined(rows):
    row = rows[key_of("deepcoder", "lists of lines")]
    assert (row.statement, row.tests) == (STORY, as_cases(STORY_TESTS))


def test_line_ends_are_folded_for_training(rows):
    row = rows[key_of("deepcoder", "carriage returns")]
    assert "\r" not in "".join(test.input + test.output for test in row.tests)


def test_references_come_without_their_fences_and_prose_is_none(rows):
    assert rows[key_of("deepcoder", "program", "primeintellect")].references == (TRAIN[0].program,)
    assert rows[key_of("deepcoder", "the first reference is wrong")].references == ("print(0)", TRAIN[17].program)
    assert rows[key_of("deepcoder", "prose for a reference")].references == ()


def test_a_stub_is_the_published_one_or_made_from_the_number_of_arguments(rows):
    published = rows[key_of("deepcoder", "function of more than 15 tests")]
    assert published.starter_code.rstrip() == FUNCTIONS[0].stub.rstrip()
    made = rows[key_of("deepcoder", "function output bare")]
    assert made.starter_code == f"def {BARE.name}(arg0, arg1):\n    pass"


@pytest.mark.parametrize("form", ["packed", "packed by protocol 0", "JSON"])
def test_private_tests_of_livecodebench_follow_the_public_ones_byte_by_byte(rows, form):
    key = key_of("livecodebench", f"program, private tests {form}")
    row, columns = rows[key], EXAMPLES[key].columns
    combination = next(each for each in HELD_OUT if each.statement == columns["question_content"])
    assert row.tests == as_cases(stdin_pairs(combination))
    assert (row.id, row.title, row.split) == (columns["question_id"], columns["question_title"], "test")
    assert (row.platform, row.difficulty) == (columns["platform"], columns["difficulty"])
    assert row.date == columns["contest_date"][:10]


def test_no_private_tests_is_kept_and_noted(rows):
    assert rows[key_of("livecodebench", "no private tests")].notes == ("no_private_tests",)
    assert rows[key_of("livecodebench", "no public tests")].notes == ()


def test_a_release_is_a_set_of_files_and_a_window_a_set_of_dates(public_sets, rows):
    window = json.loads((public_sets["livecodebench"] / "source.json").read_text())["window"]
    evaluation = [row for row in rows.values() if row.source == "livecodebench"]
    inside = [row for row in evaluation if window["first"] <= row.date <= window["last"]]
    assert len(inside) == window["rows"]
    assert {row.config for row in inside} == {"v3", "v4", "v5", "v6"}
    assert {row.config for row in inside if row.date == "2025-01-04"} == {"v5", "v6"}


def test_reading_twice_gives_the_same_rows(public_sets, rows):
    facts = SourceConfig(hub="made/here", revision=None, license="Apache-2.0", float_tolerance=None, rows={})
    for name in ("deepcoder", "taco_verified", "livecodebench"):
        again = list(read(SOURCES[name], *locate(str(public_sets[name]), facts)))
        assert again == [row for row in rows.values() if row.source == name]
