"""Examples of a statement that contradict its tests, and what does not."""

import pytest

from ablate.curate.examples import contradicting_example, examples_of
from ablate.types import TestCase

TESTS = (TestCase("3 4\n", "7\n"), TestCase("1 1\n", "2\n"), TestCase("5\n", "0.333333333\nYES\n"))
LAYOUTS = {
    "codeforces": "Add.\n\n-----Input-----\n\nTwo numbers.\n\n-----Output-----\n\nTheir sum.\n\n"
    "-----Examples-----\nInput\n{}\n\nOutput\n{}\n\n-----Note-----\n\nNone.",
    "atcoder": "Add.\n\n### Sample Input 1\n\n```\n{}\n```\n\n### Sample Output 1\n\n```\n{}\n```\n\nIt is so.",
    "colons": "Add.\nInput: {}\nOutput: {}\nExplanation: none.",
    "last": "Add.\r\n\r\nExample\r\n\r\nInput\r\n\r\n{}\r\n\r\n\r\nOutput\r\n\r\n{}\r\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("given", "shown", "contradicts"),
    [
        ("3 4", "7", False),
        ("3  4", "8", True),
        ("3 4", "", False),  # nothing is shown
        ("9 9", "1", False),  # no test has this input
        ("5", "0.33333 yes", False),
        ("5", "0.34 yes", True),
    ],
)
def test_an_example_contradicts_only_the_test_of_its_own_input(layout, given, shown, contradicts):
    found = contradicting_example(LAYOUTS[layout].format(given, shown), "stdin", TESTS)
    assert (found and found[0]) == ("examples_contradict_tests" if contradicts else None)


def test_text_after_an_example_is_no_part_of_its_output():
    statement = "Input\n3 4\nOutput\n7\nThe sum of both numbers is seven."
    assert examples_of(statement) == [("\n3 4", "\n7\nThe sum of both numbers is seven.")]
    assert contradicting_example(statement, "stdin", TESTS) is None


def test_arguments_of_functions_are_not_compared():
    assert contradicting_example("Input\n3 4\nOutput\n8", "functional", TESTS) is None
