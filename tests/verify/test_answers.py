"""What an answer means: which values and limits decide, and which tests nobody can pass."""

from __future__ import annotations

import dataclasses

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.choices import check_verify
from ablate.verify.verifier import open_verifier

ADD = Problem("p", "", (TestCase("", "7"),), "easy")
FUNCTION = Problem("f", "", (TestCase("1", "7"),), "easy", input_mode="functional", fn_name="f")


def expecting(expected: str, problem: Problem = ADD, given: str = "", **changes: object) -> Problem:
    test = TestCase(given or problem.tests[0].input, expected)
    return dataclasses.replace(problem, tests=(test,), **changes)


def kind_of(verifier, problem: Problem, program: str) -> VerdictKind:
    verdict = verifier.submit(problem, program).result()
    assert verdict.kind is not VerdictKind.infrastructure_error, verdict
    return verdict.kind


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print('1' * 60000 + 'x')", "7"),
        ("print('1' * 900000 + '.')", "7"),
        ("print('1 ' * 400000 + 'x')", "7"),
        ("print('1e' + '9' * 900000)", "7"),
        ("print(7)", "1" + "0" * 400),
        ("print(7)", "1e400"),
        ("print('1e400')", "7"),
    ],
)
def test_a_tolerance_accepts_no_number_that_differs_however_large(verifier, program, expected):
    assert kind_of(verifier, expecting(expected, float_tolerance=1e-6), program) is VerdictKind.wrong_answer


@pytest.mark.parametrize("levels", [333, 1000, 20_000])
def test_values_of_a_function_may_be_nested_deeply(verifier, levels):
    program = f"def f(n):\n    x = n\n    for _ in range({levels}): x = [x]\n    return x"
    nested = "[" * levels + "1" + "]" * levels
    assert kind_of(verifier, expecting(nested, FUNCTION), program) is VerdictKind.accepted
    assert kind_of(verifier, expecting(nested.replace("1", "2"), FUNCTION), program) is VerdictKind.wrong_answer
    same = expecting(nested, FUNCTION, nested)
    assert kind_of(verifier, same, "def f(x): return x") is VerdictKind.accepted
    small = "import sys\ndef f(x):\n    sys.setrecursionlimit(100)\n    return x"
    assert kind_of(verifier, same, small) is VerdictKind.accepted


@pytest.mark.parametrize("program", ["def f(x): return 7", "def f(x): return nothing", "import os\nos._exit(0)"])
@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ("1", "seven", "broken test 0 of problem f: its expected value is not JSON"),
        ("1", "[7", "broken test 0 of problem f: its expected value is not JSON"),
        ("one", "7", "broken test 0 of problem f: a line of its input is not JSON"),
    ],
)
def test_a_functional_test_that_is_no_json_is_named_and_scores_nobody(verifier, program, given, expected, words):
    before = verifier.num_retries
    verdict = verifier.submit(expecting(expected, FUNCTION, given), program).result()
    assert (verdict.kind, verdict.detail[: len(words)]) == (VerdictKind.infrastructure_error, words)
    assert verifier.num_retries == before


@pytest.mark.parametrize(
    ("choice", "statement", "kind"),
    [
        ("statement", "You can print each letter in any case.", VerdictKind.accepted),
        ("statement", "Print YES or NO.", VerdictKind.wrong_answer),
        (True, "Print YES or NO.", VerdictKind.accepted),
        (False, "You can print each letter in any case.", VerdictKind.wrong_answer),
    ],
)
def test_letters_may_have_any_case_where_the_statement_or_the_configuration_says_so(
    make_config, choice, statement, kind
):
    config = make_config(case_insensitive=choice, workers=1)
    check_verify(config)
    with open_verifier(config) as opened:
        assert kind_of(opened, expecting("YES", statement=statement), "print('yEs')") is kind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case_insensitive": "perhaps"}, "verify.case_insensitive=perhaps is not one of true, false, statement"),
        (
            {"case_insensitive": True, "comparison": "exact"},
            "verify.case_insensitive=true needs verify.comparison=tokens",
        ),
    ],
)
def test_a_wrong_choice_of_cases_is_named(make_config, change, words):
    with pytest.raises(UserError, match=words):
        check_verify(make_config(**change))


FILE = "with open('/tmp/f', 'w+b') as f:\n    f.truncate({}) if {} else f.write(bytes({}))\nprint(7)"
LINES = "\n".join(map(str, range(300_000)))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_temporary_file_may_be_larger_than_an_output(verifier, sparse):
    assert kind_of(verifier, ADD, FILE.format(20 << 20, sparse, 20 << 20)) is VerdictKind.accepted


def test_files_beyond_the_disk_limit_say_so(make_config):
    with open_verifier(make_config(disk_limit_mib=8, workers=1)) as opened:
        verdict = opened.submit(ADD, FILE.format(9 << 20, False, 9 << 20)).result()
        assert (verdict.kind, verdict.detail) == (
            VerdictKind.runtime_error,
            "OSError: [Errno 28] No space left on device",
        )
        assert kind_of(opened, ADD, FILE.format(7 << 20, False, 7 << 20)) is VerdictKind.accepted


def test_a_right_answer_has_room_however_long_it_is(verifier):
    assert len(LINES) > 1 << 20  # of test_config's limit of 1 MiB
    program = "for i in range(300_000): print(i, ' ' * 10)"
    assert kind_of(verifier, expecting(LINES), program) is VerdictKind.accepted
    values = f"[{LINES}]".replace("\n", ",")
    assert (
        kind_of(verifier, expecting(values, FUNCTION), "def f(n): return list(range(300_000))") is VerdictKind.accepted
    )


@pytest.mark.parametrize(
    ("problem", "program"),
    [
        (ADD, "print('7' * (2 << 20))"),
        (ADD, "import os\nos.ftruncate(1, 2 << 20)"),
        (ADD, "print(7)\nimport os\nos.ftruncate(3, 2 << 20)"),
        (FUNCTION, "def f(n): return '7' * (2 << 20)"),
        (FUNCTION, "import os, time\ndef f(n):\n    os.ftruncate(3, 2 << 20)\n    time.sleep(60)"),
    ],
)
def test_too_much_output_is_named_with_its_limit(verifier, problem, program):
    verdict = verifier.submit(problem, program).result()
    assert (verdict.kind, verdict.detail) == (VerdictKind.output_limit, "more than 1024 KiB of output")
