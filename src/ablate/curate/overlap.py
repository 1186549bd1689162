"""Disjointness: no problem to train on may be a problem of the evaluation set, whatever the data sets claim."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ablate.curate.candidate import Candidate
from ablate.curate.text import ngrams, words_of

NGRAM_WORDS = 13
MAX_EVALUATION_PROBLEMS = 2  # with one 13-gram; in more of them it is a phrase of the site, such as its input format
MAX_TRAIN_PROBLEMS = 100  # likewise; training sets hold variants of a problem, but not so many
NUM_EXAMPLES = 3  # the first tests of an evaluation problem, which its statement shows
COMMON_TITLE_WORDS = 1  # a title of one word, such as "Sum", says nothing


@dataclass(frozen=True)
class Overlap:
    """A training problem that was removed, and the evaluation problem that it meets.

    Example: ``Overlap(candidate, other, ways=("13-grams 0.42", "examples 2"))``
    """

    candidate: Candidate
    other: Candidate
    ways: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationIndex:
    """What is looked up about the evaluation problems; numbers are positions in ``problems``."""

    problems: Sequence[Candidate]
    by_text: dict[str, int]
    by_title: dict[str, int]
    by_ngram: dict[int, list[int]]  # Python hash of the n-gram within this process: only ever compared here
    common: set[int]  # n-grams of many problems, which say nothing about any
    by_pair: dict[str, list[int]]


def index_of(problems: Sequence[Candidate]) -> EvaluationIndex:
    by_text: dict[str, int] = {}
    by_title: dict[str, int] = {}
    by_ngram: dict[int, list[int]] = defaultdict(list)
    by_pair: dict[str, list[int]] = defaultdict(list)
    for number, problem in enumerate(problems):
        by_text.setdefault(problem.text_key, number)
        details = problem.details()
        title = title_of(details.title)
        if title is not None:
            by_title.setdefault(title, number)
        for gram in long_ngrams(details.statement):
            by_ngram[gram].append(number)
        for key in details.pair_keys[:NUM_EXAMPLES]:
            by_pair[key].append(number)
    common = {gram for gram, numbers in by_ngram.items() if len(numbers) > MAX_EVALUATION_PROBLEMS}
    return EvaluationIndex(problems, by_text, by_title, by_ngram, common, by_pair)


def note_common(index: EvaluationIndex, train: Iterable[Candidate]) -> None:
    """Add to ``index.common`` the n-grams of an evaluation problem that stand in many training problems."""
    counts: Counter[int] = Counter()
    for each in train:
        counts.update(long_ngrams(each.details().statement) & index.by_ngram.keys())
    index.common.update(gram for gram, count in counts.items() if count > MAX_TRAIN_PROBLEMS)


def find_overlap(candidate: Candidate, index: EvaluationIndex, min_share: float, min_examples: int) -> Overlap | None:
    """The evaluation problem that a candidate meets, or None.

    Args:
        min_share: of the candidate's 13-grams that stand in one evaluation problem; those in many do not count.
        min_examples: examples of the evaluation problem that are tests of the candidate.
    """
    details = candidate.details()
    ways: dict[int, list[str]] = defaultdict(list)
    same = index.by_text.get(candidate.text_key)
    if same is not None:
        ways[same].append("same statement")
    named = index.by_title.get(title_of(details.title) or "")
    if named is not None:
        ways[named].append("same title")
    grams = long_ngrams(details.statement) - index.common
    shared = Counter(number for gram in grams for number in index.by_ngram.get(gram, ()))
    for number, count in shared.items():
        if count / len(grams) >= min_share:
            ways[number].append(f"13-grams {count / len(grams):.2f}")
    examples = Counter(number for key in details.pair_keys for number in index.by_pair.get(key, ()))
    for number, count in examples.items():
        if count >= min_examples:
            ways[number].append(f"examples {count}")
    if not ways:
        return None
    number = min(ways, key=lambda each: (-len(ways[each]), each))
    return Overlap(candidate, index.problems[number], tuple(ways[number]))


def title_of(title: str | None) -> str | None:
    words = words_of(title or "")
    return " ".join(words) if len(words) > COMMON_TITLE_WORDS else None


def long_ngrams(statement: str) -> set[int]:
    words = words_of(statement)
    return {hash(gram) for gram in ngrams(words, NGRAM_WORDS)} if len(words) >= NGRAM_WORDS else set()


def overlap_report(overlaps: Sequence[Overlap]) -> Iterator[str]:
    """The removed pairs as Markdown, side by side for a person to check."""
    yield f"# {len(overlaps)} training problems that overlap with the evaluation set\n\n"
    yield "Each was removed. Read the pairs: a wrong pair costs one training problem, a missed pair costs the result.\n"
    for each in overlaps:
        yield f"\n## {each.candidate.id} meets {each.other.id}: {', '.join(each.ways)}\n"
        for problem in (each.candidate, each.other):
            details = problem.details()
            quoted = "\n".join(f"> {line}" for line in details.statement.strip().splitlines())
            yield f"\n{problem.id}{f' ({details.title})' if details.title else ''}:\n\n{quoted}\n"
