"""The CodeElo rating: the published formula, published percentiles, and contestants whose rating is known."""

from __future__ import annotations

import itertools
import json
import random
import sys

import numpy as np
import pytest

from ablate import rating
from ablate.errors import UserError
from ablate.types import Problem
from ablate_analysis.codeelo import (
    Contest,
    expected_ranks,
    expected_score,
    percentile,
    rank_of,
    rate,
    rate_all,
    rating_of,
    score_in_order,
)
from ablate_analysis.contest_files import api_contest, contest_and_index, read_contests, read_percentiles, small_contest

# How many of the 89,352 people of DeepCoder's table (ratings_2024.json) are below a rating, and the percentile that its
# README prints for it; a mean of 1936 is printed as 95.3 where it is a little more.
PUBLISHED = {590: (1255, 1.4), 615: (1714, 1.9), 963: (25495, 28.5), 1658: (79067, 88.5), 1791: (82844, 92.7)}
PUBLISHED |= {1918: (84795, 94.9), 1936.5: (85119, 95.3), 1948: (85270, 95.4), 1991: (85826, 96.1)}


def contest_of(rng: random.Random, num_rows: int = 300, with_points: bool = True, name: str = "1971") -> Contest:
    points = {letter: 500.0 * (number + 1) if with_points else None for number, letter in enumerate("ABCDE")}
    rows = [
        (rng.randint(0, 30) * 50.0 if with_points else float(rng.randint(0, 5)), float(rng.randint(0, 99)))
        for _ in range(num_rows)
    ]
    rows.sort(key=lambda row: (-row[0], row[1]))
    return small_contest(name, {"problems": points, "rows": [(*row, rng.randint(0, 3500)) for row in rows]})


def outcomes(rng: random.Random, num: int = 6) -> dict[str, list[bool]]:
    return {letter: [rng.random() < 0.3 for _ in range(num)] for letter in "ABCDE"}


@pytest.mark.parametrize("with_points", [True, False])
def test_a_rating_is_the_largest_whose_expected_rank_is_not_better(with_points):
    rng = random.Random(3)
    for _ in range(20):
        contest, passed = contest_of(rng, with_points=with_points), outcomes(rng)
        found = rate(contest, passed, expected_ranks(contest), in_order=True)
        points = penalty = 0
        for letter, samples in passed.items():
            if True in samples:
                failed, worth = samples.index(True), contest.points_of[letter]
                points += 1 if worth is None else max(0, worth - 50 * failed)
                penalty += 10 * failed if worth is None else 0
        rows = zip(contest.points_R, contest.penalty_R, strict=True)
        rank = next(
            (n for n, row in enumerate(rows) if row[0] < points or (row[0] == points and row[1] > penalty)), 300
        )
        low, high = 0, int(contest.rating_R.max()) + 100
        while high - low > 1:  # as the published scripts look for it
            middle = (low + high) // 2
            seed = 1 + sum(1 / (1 + 10 ** ((middle - each) / 400)) for each in contest.rating_R)
            low, high = (low, middle) if seed < rank else (middle, high)
        assert found == low


def test_a_contestant_with_the_expected_rank_gets_its_own_rating():
    contest = contest_of(random.Random(5), num_rows=2000)
    expected = expected_ranks(contest)
    for known in (400, 1200, 1936, 2600, 3300):
        rank = round(1 + sum(1 / (1 + 10 ** ((known - each) / 400)) for each in contest.rating_R))
        assert abs(rating_of(expected, rank) - known) <= 8


def test_the_expected_score_is_the_mean_over_all_orders():
    for with_points in (True, False):
        contest, passed = (
            contest_of(random.Random(2), with_points=with_points),
            {"A": [True, False, False, True, False]},
        )
        found = [score_in_order(contest, {"A": order}) for order in itertools.permutations(passed["A"])]
        assert expected_score(contest, passed) == pytest.approx(np.mean(found, axis=0))
    assert expected_score(contest, {"A": [False] * 5, "Z": [True]}) == (0.0, 0.0)


def test_the_published_percentiles(tmp_path):
    table, below = {}, 0
    for value, (count, _) in sorted(PUBLISHED.items()):
        table[str(value - 0.25)] = count - below
        below = count
    table["4000"] = 89_352 - below
    path = tmp_path / "ratings.json"
    path.write_text(json.dumps(table))
    ratings = read_percentiles(path)
    assert len(ratings) == 89_352
    assert {value: percentile(value, ratings) for value in PUBLISHED} == {k: p for k, (_, p) in PUBLISHED.items()}
    path.write_text(json.dumps(sorted(ratings.tolist())))
    assert percentile(963, read_percentiles(path)) == 28.5


def test_both_formats_of_contests_are_one_contest(tmp_path):
    rng = random.Random(7)
    contest = contest_of(rng)
    handles = [f"h{number}" for number in range(300)]
    rows = [
        {"party": {"members": [{"handle": handle}]}, "points": points, "penalty": penalty}
        for handle, points, penalty in zip(handles, contest.points_R, contest.penalty_R, strict=True)
    ]
    changes = [{"handle": h, "oldRating": r} for h, r in zip(handles, contest.rating_R, strict=True)]
    rng.shuffle(changes)
    problems = [{"index": name, "points": points} for name, points in contest.points_of.items()]
    stranger = {"party": {"members": [{"handle": "unrated"}]}, "points": 9e9, "penalty": 0}
    standings = {"result": {"problems": problems, "rows": [stranger, *rows]}}
    found = api_contest("1971", {"standings": standings, "rating_changes": {"result": changes}})
    assert (found.points_R == contest.points_R).all()
    passed = outcomes(rng)
    assert rate(found, passed, expected_ranks(found), True) == rate(contest, passed, expected_ranks(contest), True)
    (tmp_path / "c.json").write_text(json.dumps({"1971": {"standings": standings, "rating_changes": changes}}))
    assert read_contests(tmp_path / "c.json")[0].points_of == contest.points_of


def test_the_interval_covers_the_orders_and_small_contests_do_not_count():
    rng = random.Random(11)
    contests = [contest_of(rng, name=str(1971 + number)) for number in range(6)]
    contests.append(contest_of(rng, num_rows=200, name="1990"))
    passed = {each.name: outcomes(rng) for each in contests}
    found = rate_all(contests, passed, in_order=False, num_resamples=200, seed=0)
    assert found.low < found.mean < found.high
    assert sorted(found.of_contest) == [str(1971 + number) for number in range(6)]
    assert rate_all(contests, passed, False, 200, 0) == found
    assert rank_of(contests[0], 1e9, 0) == 0
    assert rank_of(contests[0], -1, 0) == 300


@pytest.mark.parametrize(
    ("name", "place"),
    [("1971D1", ("1971", "D1")), ("codeforces/1971/A", ("1971", "A")), ("2046/F2", ("2046", "F2")), ("abc123", None)],
)
def test_the_contest_of_a_problem_is_in_its_name(name, place):
    assert contest_and_index(name) == place


def files(tmp_path, tests: int) -> list[str]:
    """Samples of two problems; the second program of each knows the example's answer only."""
    rows = [[1000.0 - 4 * number, 0, 3000 - 10 * number] for number in range(250)]
    (tmp_path / "contests.json").write_text(json.dumps({"1971": {"problems": {"A": 500, "B": 500}, "rows": rows}}))
    problems = [
        Problem(f"codeforces/1971/{letter}", "s", (), "easy", num_examples=1, platform="codeforces") for letter in "AB"
    ]
    lines = [
        {
            "id": each.id,
            "statement": each.statement,
            "num_examples": each.num_examples,
            "tests": [{"input": f"{n}\n", "output": f"{n + 1}\n"} for n in range(tests)],
        }
        for each in problems
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    codes = {"A": ["print(int(input()) + 1)"] * 2, "B": ["print(1)", "print(0)"]}
    samples = [{"question_id": f"codeforces/1971/{name}", "code_list": each} for name, each in codes.items()]
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    return [
        f"samples={tmp_path / 'samples.json'}",
        f"contests={tmp_path / 'contests.json'}",
        f"data.eval={tmp_path / 'problems.jsonl'}",
        *("verify.workers=1", f"paths.cache={tmp_path}", "eval.bootstrap_resamples=50"),
    ]


def called(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["rating", *words])
    rating.main()


def test_examples_alone_inflate_the_rating_and_the_command_says_by_how_much(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    (tmp_path / "people.json").write_text("[500, 1500, 2500]")
    table = f"percentiles.deepcoder={tmp_path / 'people.json'}"
    called(monkeypatch, *files(tmp_path, 3), "tests=both", f"out={out}", table)
    kept, printed = json.loads(out.read_text()), capsys.readouterr().out
    inflation = kept["sample"]["mean"] - kept["full"]["mean"]
    assert inflation > 100
    assert f"inflate the rating by {inflation:.0f}" in printed
    assert "deepcoder percentile" in printed
    with pytest.raises(UserError, match="exists already"):
        called(monkeypatch, *files(tmp_path, 3), f"out={out}")


def test_outcomes_that_are_known_need_no_problems(tmp_path, monkeypatch, capsys):
    words = files(tmp_path, 2)[:2]
    outcomes_known = [
        {"question_id": "1971A", "passed_list": [False, True]},
        {"question_id": "3A", "passed_list": [True]},
    ]
    (tmp_path / "samples.json").write_text(json.dumps(outcomes_known))
    called(monkeypatch, *words, "order=given")
    assert "| tests=full |" in capsys.readouterr().out
    with pytest.raises(UserError, match="no other tests can change"):
        called(monkeypatch, *words, "tests=sample")
    (tmp_path / "samples.json").write_text('[{"question_id": "4A", "passed_list": [true]}]')
    with pytest.raises(UserError, match="no contest of the samples"):
        called(monkeypatch, *words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"7": {"rows": [[1, 2]], "problems": {}}}', "contest 7 has another form"),
        ('{"7": {"standings": {}, "rating_changes": []}}', "contest 7 has another form"),
    ],
)
def test_a_file_of_contests_that_breaks_a_rule_is_one_sentence(tmp_path, text, said):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_contests(tmp_path / "c.json")
