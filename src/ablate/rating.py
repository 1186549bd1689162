"""``python -m ablate.rating samples=FILE contests=FILE``: the CodeElo rating of samples, with an interval.

    python -m ablate.rating samples=samples.json contests=all_contest_data.json data.eval=problems/eval tests=both
    python -m ablate.rating samples=passed.json contests=contests.json percentiles.deepcoder=ratings_2024.json

samples=FILE holds programs, [{"question_id": "codeforces/1971/A", "code_list": [CODE, ...]}, ...], which are verified
against data.eval; or outcomes that are known, with "passed_list": [true, false, ...] in place of code_list.
contests=FILE is all_contest_data.json of a public data set, or {"1971": {"problems": {"A": 500.0}, "rows": [[points,
penalty, old_rating], ...]}, ...}.

tests=full verifies by every test, tests=sample by the examples of the statement only, tests=both by both and prints by
how much the examples inflate the rating. order=random (the default) takes the expected score over all orders of the
samples, order=given the order of the file, as the published scripts do. percentiles.deepcoder=FILE and
percentiles.codeelo=FILE name a table of people's ratings: two are in use, and the same rating of 590 is 17.9 % in
CodeElo's and 1.4 % in DeepCoder's. out=FILE keeps everything as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import compose, read_words, run_main
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.config import RunConfig

OWN_KEYS = ("samples", "contests", "tests", "order", "out", "percentiles.deepcoder", "percentiles.codeelo")
TESTS = {"full": ("full",), "sample": ("sample",), "both": ("sample", "full")}
ORDERS = ("random", "given")


def outcomes_of(config: RunConfig, samples: Path, which: str) -> dict[str, list[bool]]:
    """Verify the programs of a samples file by all tests, or by the examples of each statement alone.

    Raises:
        UserError: for a problem that does not say which of its tests are examples.
    """
    from ablate.data.problems import load_problems
    from ablate.evals.samples_file import read_samples_file
    from ablate.verify.shared import shared_verifier
    from ablate_analysis.contest_files import contest_and_index

    problems = [each for each in load_problems(config.data.eval) if contest_and_index(each.id)]
    if not problems:
        raise UserError(
            f"data.eval={config.data.eval} holds no problem of a Codeforces contest, such as codeforces/1971/A"
        )
    programs = read_samples_file(samples, problems)
    if which == "sample":
        for each in problems:
            if not each.num_examples:
                raise UserError(f"problem {each.id} does not say which tests are its examples: use tests=full")
        problems = [
            replace(each, tests=tuple(each.tests[number] for number in range(each.num_examples))) for each in problems
        ]
    verifier = shared_verifier(config.verify)
    futures = {each.id: [verifier.submit(each, program) for program in programs[each.id]] for each in problems}
    verdicts = {name: [future.result() for future in each] for name, each in futures.items()}
    broken = [verdict for each in verdicts.values() for verdict in each if verdict.is_infrastructure_error]
    if broken:
        raise UserError(f"{len(broken)} programs have no verdict ({broken[0].detail}): run the command again")
    return {name: [verdict.passed for verdict in each] for name, each in verdicts.items()}


def main() -> None:
    own, overrides = (words := read_words(__doc__, OWN_KEYS, required=("samples", "contests"))).own, words.overrides
    tests, order = own.get("tests", "full"), own.get("order", "random")
    for key, value, known in (("tests", tests, TESTS), ("order", order, ORDERS)):
        if value not in known:
            raise UserError(f"{key}={value} is not one of {', '.join(known)}")
    if "out" in own and Path(own["out"]).exists():
        raise UserError(f"out={own['out']} exists already: name a new file, or remove it")
    from ablate.config import parse
    from ablate_analysis.codeelo import rate_all, table
    from ablate_analysis.contest_files import by_contest, read_contests, read_outcomes, read_percentiles

    config = parse(compose(overrides))
    contests = read_contests(Path(own["contests"]))
    tables = {
        key.removeprefix("percentiles."): read_percentiles(Path(path))
        for key, path in own.items()
        if key.startswith("percentiles.")
    }
    known = read_outcomes(Path(own["samples"]))
    if known is not None and tests != "full":
        raise UserError(f"samples={own['samples']} holds outcomes, which no other tests can change: leave tests out")
    ratings = {}
    for which in TESTS[tests]:
        passed = by_contest(known if known is not None else outcomes_of(config, Path(own["samples"]), which))
        rating = rate_all(contests, passed, order == "given", config.eval.bootstrap_resamples, config.eval.seed)
        if not rating.of_contest:
            raise UserError("no contest of the samples is in the file of contests with more than 200 rated rows")
        ratings[which] = rating
    print(*table(ratings, tables), sep="\n")
    if "out" in own:
        values = {which: asdict(rating) for which, rating in ratings.items()}
        Path(own["out"]).write_text(json.dumps({"order": order, **values}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_main(main)
