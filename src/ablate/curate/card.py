"""The data card: what the training set holds, in tables and histograms that a terminal and a repository show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ablate.curate.candidate import Candidate
from ablate.curate.text import words_of

BAR_WIDTH = 40
BOUNDS = {
    "tests of a problem": (5, 10, 20, 50, 100, 200, 500),
    "bytes of all tests of a problem": (10**3, 10**4, 10**5, 10**6, 10**7, 10**8),
    "words of a statement": (50, 100, 200, 400, 800, 1600),
}


def data_card(manifest: Mapping[str, Any], train: Sequence[Candidate], evaluation: Sequence[Candidate]) -> str:
    """The card as Markdown."""
    counts = manifest["counts"]
    parts = [
        "# Data card\n",
        f"Made by `{manifest['command']}`.\n",
        f"{counts['read']:,} rows were read. {counts['train']:,} problems are for training in `train/`, and "
        f"{counts['evaluation']:,} problems are for evaluation in `eval/`. `rejected.jsonl` has a line for every "
        "other row, and `overlaps.md` shows the training problems that overlap with the evaluation set.\n",
        "## Sources\n",
        table(
            ("source", "Hub", "revision", "licence"),
            [
                (name, facts["hub"], facts["revision"], facts["license"] or "not stated")
                for name, facts in manifest["sources"].items()
            ],
        ),
        "## Why rows are not in the training set\n",
        table(("reason", "rows"), counts["reasons"].items()),
        f"{counts['large_tests_dropped']:,} tests of training problems were dropped because they are larger than "
        f"{manifest['train']['max_test_bytes']:,} bytes.\n",
        *([table(("note", "kept rows"), counts["notes"].items())] if counts["notes"] else []),
        *section("Training set", train),
        *section("Evaluation set", evaluation),
    ]
    return "\n".join(parts)


def section(title: str, problems: Sequence[Candidate]) -> Iterator[str]:
    yield f"## {title}\n"
    facts = [
        (len(words_of(details.statement)), details.problem["difficulty"])
        for details in (each.details() for each in problems)
    ]
    values = {
        "tests of a problem": [each.tests.num_tests for each in problems],
        "bytes of all tests of a problem": [each.tests.num_bytes for each in problems],
        "words of a statement": [num_words for num_words, _ in facts],
    }
    for name, numbers in values.items():
        yield histogram(name, binned(numbers, BOUNDS[name]))
    fields = {
        "source": [f"{each.source}/{each.config}" for each in problems],
        "kind": [each.kind for each in problems],
        "difficulty": [difficulty for _, difficulty in facts],
        "contest, by quarter": [quarter(each.date) for each in problems],
        "reference": ["verified" if each.references else "none" for each in problems],
    }
    for name, words in fields.items():
        yield histogram(name, dict(sorted(Counter(words).items())))


def quarter(date: str | None) -> str:
    return "unknown" if date is None else f"{date[:4]} Q{(int(date[5:7]) + 2) // 3}"


def binned(numbers: Iterable[int], bounds: Sequence[int]) -> dict[str, int]:
    """How many numbers lie below the first bound, between two bounds, and from the last bound on."""
    counts = Counter(sum(number >= bound for bound in bounds) for number in numbers)
    names = [f"< {bounds[0]:,}", *(f"{low:,} to {high - 1:,}" for low, high in pairwise(bounds))]
    return {name: counts[index] for index, name in enumerate([*names, f">= {bounds[-1]:,}"])}


def histogram(name: str, counts: Mapping[str, int]) -> str:
    longest = max(counts.values(), default=0)
    width = max(map(len, counts), default=0)
    rows = [
        f"{label:>{width}} {count:7,} {'█' * round(BAR_WIDTH * count / max(longest, 1))}".rstrip()
        for label, count in counts.items()
    ]
    return "\n".join([f"{name}:\n", "```", *rows, "```\n"])


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"
