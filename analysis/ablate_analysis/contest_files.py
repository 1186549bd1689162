"""Files of contests, of percentiles and of samples that a CodeElo rating is computed from.

``contests``: the public ``all_contest_data.json`` (``{contest: {"standings": ..., "rating_changes": ...}}``, both as
the site's API answers), or our small format, which holds the same in a hundredth of the bytes::

    {"1971": {"problems": {"A": 500.0, "B": 1000.0}, "rows": [[points, penalty, old_rating], ...]}}

Rows stand in the order of the standings, rated people only.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablate.errors import UserError
from ablate_analysis.codeelo import Contest, Passed

PROBLEM = re.compile(r"(?:codeforces/)?(\d+)[/ _-]?([A-Z]\w*)")


def contest_and_index(problem_id: str) -> tuple[str, str] | None:
    """``("1971", "D1")`` of ``codeforces/1971/D1`` or ``1971D1``; None for the problem of another site."""
    found = PROBLEM.fullmatch(problem_id)
    return (found[1], found[2]) if found else None


def by_contest(outcomes: Mapping[str, Sequence[bool]]) -> dict[str, Passed]:
    """Outcomes by contest and index; problems of other sites are left out."""
    found: dict[str, dict[str, Sequence[bool]]] = defaultdict(dict)
    for name, passed in outcomes.items():
        place = contest_and_index(name)
        if place is not None:
            found[place[0]][place[1]] = passed
    return dict(found)


def read_json_file(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{key}={path} does not exist: name a file that does") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{key}={path} is not JSON ({error}): download it again") from None


def read_contests(path: Path) -> list[Contest]:
    """Read a file of contests in either format.

    Raises:
        UserError: naming the contest that breaks a rule.
    """
    values = read_json_file(path, "contests")
    if not isinstance(values, dict) or not values:
        raise UserError(f"contests={path} must be a JSON object by contest: see ablate.rating --help")
    contests = []
    for name, each in values.items():
        try:
            contests.append(small_contest(name, each) if "rows" in each else api_contest(name, each))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"contests={path}: contest {name} has another form ({reason}): see --help") from error
    return contests


def small_contest(name: str, values: dict[str, Any]) -> Contest:
    rows = np.asarray(values["rows"], dtype=float).reshape(-1, 3)
    points = {index: None if each is None else float(each) for index, each in values["problems"].items()}
    return Contest(name, points, rows[:, 0], rows[:, 1], rows[:, 2])


def api_contest(name: str, values: dict[str, Any]) -> Contest:
    """A contest as the site's API answers: rows and rating changes of people who are in both."""
    standings, changes = (unwrapped(values[key]) for key in ("standings", "rating_changes"))
    rating_of = {change["handle"]: float(change["oldRating"]) for change in changes}
    handles = [(row["party"]["members"][0]["handle"], row) for row in standings["rows"]]
    rows = [(row["points"], row["penalty"], rating_of[handle]) for handle, row in handles if handle in rating_of]
    points = {problem["index"]: problem.get("points") for problem in standings["problems"]}
    return small_contest(name, {"problems": points, "rows": rows})


def unwrapped(answer: Any) -> Any:
    return answer["result"] if isinstance(answer, dict) and "result" in answer else answer


def read_percentiles(path: Path) -> np.ndarray:
    """Ratings of people, sorted: of a JSON list, or of ``{rating: number of people}``.

    Raises:
        UserError: for a file of another form.
    """
    values = read_json_file(path, "percentiles")
    try:
        if isinstance(values, dict):
            ratings = np.repeat([float(each) for each in values], [int(count) for count in values.values()])
        else:
            ratings = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"percentiles: {path} is no list of ratings and no object of counts: {error}") from error
    if ratings.ndim != 1 or not len(ratings):
        raise UserError(f"percentiles: {path} holds no ratings: give the published table")
    return np.sort(ratings)


def read_outcomes(path: Path) -> dict[str, list[bool]] | None:
    """Outcomes of samples that somebody else verified: ``[{"question_id": ID, "passed_list": [true, ...]}]``.

    Returns:
        None for a file of programs.
    """
    rows = read_json_file(path, "samples")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "passed_list" in row for row in rows):
        return None
    found: dict[str, list[bool]] = {}
    for row in rows:
        passed = row["passed_list"]
        if not isinstance(passed, list) or not passed or not all(isinstance(each, bool) for each in passed):
            raise UserError(f"samples={path}: passed_list of {row.get('question_id')} must be a list of true and false")
        found[str(row["question_id"])] = passed
    return found
