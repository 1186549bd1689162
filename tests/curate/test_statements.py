"""Which sentences say that several answers are right. The sentences are ours, in the forms that contest sites use."""

import pytest

from ablate.curate.statements import several_answers


@pytest.mark.parametrize(
    "sentence",
    [
        "If there are several answers, print any of them.",
        "In case of multiple colourings, output any.",
        "You may return the result in any order.",
        "Note that the returned array may be in any order.",
        "Return a list that holds the indices of the peaks in the given list in any order.",
        "return the answer in any arbitrary order.",
        "The order of the pairs in the output does not matter.",
        "If the answer is not unique, any valid one will be accepted.",
        "Find any array of n numbers that is balanced.",
        "For each case, output a line containing any permutation that is good.",
        "If there exist many such trees, you can pick any of them.",
        "Any answer that reaches the same score as the best one is accepted.",
        "All valid answers will be accepted.",
    ],
)
def test_a_free_choice_of_the_answer_is_found(sentence):
    assert several_answers(f"Read n. {sentence} It holds that n < 9.")[0] == "several_answers"


@pytest.mark.parametrize(
    "sentence",
    [
        "If there are several answers, print the smallest.",
        "If there are multiple strings, return the lexicographically smallest one.",
        "You can perform the operations in any order.",
        "You can output YES and NO in any case.",
        "The tests are given in any order; print their number.",
        "If you cannot find any, print -1.",
        "The string cannot be split in any valid way.",
        "Print the largest multiple of three that uses some digits in any order.",
        "If several minima exist, Ann chooses any of them.",
        "Any answer with an error below 10^-5 is accepted.",
        "Each test contains multiple test cases.",
        "Return the largest value of any valid path.",
    ],
)
def test_ties_that_are_broken_and_choices_of_the_story_are_not(sentence):
    assert several_answers(f"Read n. {sentence} It holds that n < 9.") is None
