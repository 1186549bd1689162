"""Which training statements meet an evaluation statement, and which only share the phrases of their site."""

from __future__ import annotations

import json

import pytest

from ablate.curate.candidate import Candidate, Details, Line, Place
from ablate.curate.filters import drop_overlaps
from ablate.curate.settings import TrainConfig

SITE = (
    "The input is given from the standard input in the following format, where every value is an integer and no line "
    "has a blank at its end. Print the answer in one line and end it with a line break."
)
STORIES = [
    "A baker has {0} loaves and each of the {1} guests eats half a loaf more than the last, find who goes hungry.",
    "On a chess board of side {0} a knight and {1} bishops stand, find how many squares none of them attacks at all.",
    "A river has {0} stones in a row and a frog that jumps at most {1} of them, find the number of ways across it.",
]
OWN = "Given {0} towers and the heights of {1} of them, write the mean height with as many digits as you can."


@pytest.fixture
def make(tmp_path):
    def make(name: str, statement: str) -> Candidate:
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"details": vars(Details({"statement": statement}, None, (), (), (), {}))}))
        line, place = Line(str(path), 0, path.stat().st_size), Place(0, 0, 5, 0, "")
        return Candidate(
            name,
            "s",
            "c",
            0,
            "train",
            "stdin",
            None,
            False,
            (),
            "b",
            place,
            None,
            name,
            "",
            "",
            b"",
            (),
            0,
            False,
            None,
            (),
            line,
        )

    return make


def test_phrases_of_a_site_are_no_overlap_and_a_story_is(make):
    rules = TrainConfig(5, 1, None, None, 1, 0.8, 0.1, 3)
    evaluation = [make(f"eval{n}", f"{story.format(7, 8)} {SITE}") for n, story in enumerate(STORIES)]
    train = [
        make("own", f"{OWN.format(3, 4)} {SITE}"),
        make("site", SITE),
        make("copied", f"{STORIES[1].format(7, 8)} Write one number."),
        make("both", f"{STORIES[2].format(7, 8)} {SITE}"),
    ]
    kept, overlaps = drop_overlaps(train, evaluation, rules)
    assert [each.id for each in kept] == ["own", "site"]
    assert {each.candidate.id: each.other.id for each in overlaps} == {"copied": "eval1", "both": "eval2"}
    kept, _ = drop_overlaps(
        [make(f"variant{n}", f"{STORIES[0].format(7, 8)} Add {n}.") for n in range(40)], evaluation, rules
    )
    assert not kept  # forty variants of a story do not make it a phrase of the site
