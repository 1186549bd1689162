"""What is compared when two statements are compared: folded words, their n-grams, and the marks that must agree."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from ablate.sources.notation import with_plain_numbers

SHINGLE_WORDS = 5
NUM_PERMUTATIONS = 128
NUM_BANDS = 32  # of 4 permutations each
FRAMING = re.compile(  # sentences that PrimeIntellect puts around a statement
    r"solve the following coding problem using the programming language python:"
    r"|the input will be (given via |from )?stdin and you should print your solution to stdout\.?"
    r"|now solve the problem and return the code\.?",
    re.IGNORECASE,
)
LATEX_COMMAND = re.compile(r"\\[a-zA-Z]+")
OPERATOR = re.compile(r"<=|>=|==|!=|&&|\|\||[<>+%^&|=]")  # no dash, star or slash: those format text as well
LIMITS = re.compile(  # some data sets print them in the statement
    r"(?:time|memory) limit(?: per test(?:case)?)?\s*[:=-]?\s*\d+(?:\.\d+)?\s*"
    r"(?:ms|milliseconds?|seconds?|secs?|s|[kmg]i?b|(?:mega|kilo|giga)?bytes?)\b",
    re.IGNORECASE,
)
VERSION_WORDS = frozenset(("easy", "easier", "hard", "harder", "medium", "simplified", "version", "versions"))
TAG = re.compile(
    r"</?(?:p|b|i|u|em|strong|code|pre|sub|var|span|div|br|ul|ol|li|center|tt|h[1-6]|table|t[drh]|font|a)"
    r"(?:\s+[\w-]+=(?:\"[^\"]*\"|'[^']*'))*\s*/?>",
    re.IGNORECASE,
)


def plain(statement: str) -> str:
    """The statement without HTML, LaTeX commands, and what a data set puts around it, and with plain numbers."""
    text = TAG.sub(" ", with_plain_numbers(html.unescape(statement)))
    text = unicodedata.normalize("NFKC", text).lower()
    return LATEX_COMMAND.sub(" ", LIMITS.sub(" ", FRAMING.sub(" ", text)))


def words_of(statement: str) -> list[str]:
    """The words of a statement, in any script; everything else is a gap."""
    return re.findall(r"\w+", plain(statement).replace("_", " "))


def marks_of(statement: str) -> tuple[str, ...]:
    """Numbers and operators. Two versions of one problem, easy and hard, differ in these and in little else."""
    text = plain(statement)
    return (*sorted(re.findall(r"\d+", text)), *sorted(set(OPERATOR.findall(text))))


def digest_of(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def ngrams(words: Sequence[str], size: int) -> set[str]:
    """All runs of ``size`` words; a shorter text is one run of its own."""
    if len(words) < size:
        return {" ".join(words)}
    return {" ".join(words[start : start + size]) for start in range(len(words) - size + 1)}


def signature_of(words: Sequence[str]) -> np.ndarray:
    """The MinHash of the 5-word shingles, uint32, by datasketch."""
    from datasketch import MinHash

    sketch = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme="affine32")
    sketch.update_batch([gram.encode() for gram in sorted(ngrams(words, SHINGLE_WORDS))])
    return sketch.hashvalues


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / max(len(left | right), 1)
