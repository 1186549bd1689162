"""Statements that no list of tests can judge."""

from __future__ import annotations

import html
import re

SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n|\n(?=\s*[-*\u2022])")
# Sentences by which a statement says that several answers are right. Ties that it breaks ("print the smallest") do not
# say so, and nor do free choices of a person in the story. docs/data.md has their recall and precision.
SEVERAL_ANSWERS = tuple(
    re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    for pattern in (
        r"""(?<!not\ )(?<!n't\ )(?<!cannot\ )(?<!never\ )  # print any of them; find any valid colouring
        \b(?:print|output|return|find|report|write|produce|construct)(?:ed|ing|s)?(?:\ out)?,?\ (?:only\ )?
        (?:any(?:one)?|either\ (?:one|of)|whichever|an\ arbitrary)\b
        (?!\ (?:number\ of\ times|way|order|more|further|time|case)\b)""",
        r"""\b(?:print|output|return)\b  # output a line that holds any permutation
        (?:(?!maxim|minim|largest|smallest|number|sum\b|length|size|whether|longest|shortest|true\b|-1|possib|impossib
        |\bif\b|\b0\b).){0,80}\bany\ (?:suitable|valid|correct|such|possible|appropriate|permutation)\b""",
        r"""\brepresentation\ of\ any\ (?:suitable|valid|such)\b""",
        r"""\b(?:if|when|should|in\ case|there|exists?)\b.{0,60}  # if there are several answers, print any
        \b(?:multiple(?!\ of)|several|many|more\ than\ one|two\ or\ more|not\ unique|different)\b.{0,120}
        \b(?:print|output|return|report|accept\w*|you\ \w+\ (?:choose|pick))\b.{0,30}
        \b(?:any|either|whichever|arbitrary)\b(?!\ (?:case|number|way|time|order)\b)""",
        r"""\b(?:not\ unique|multiple(?!\ of)|several|many|more\ than\ one)\b.{0,80}
        \bany\ (?:\w+\ ){0,4}(?:accepted|correct|allowed|fine|ok)\b""",
        r"""\bany\ (?:one\ )?(?:of\ (?:them|these|those)|(?:\w+\ )?(?:answer|solution|output))\b
        (?:(?!error|within).){0,100}\b(?:is|are|be|considered)\ (?:accepted|ok|okay|fine|correct|allowed)\b""",
        r"""\b(?:multiple|several|many|all)\ (?:(?:possible|correct|valid|different|acceptable|such)\ )*
        (?:answers|solutions|outputs)\ (?:\w+\ ){0,3}(?:accepted|allowed)\b""",
    )
)
ANY_ORDER = re.compile(
    r"\bin (?:any|arbitrary|whatever|an arbitrary|any arbitrary) order\b|\border (?:is )?(?:\w+ ){0,7}"
    r"(?:does not|doesn't|do not|is not|isn't) (?:matter|important)|\bany order (?:is|will be) (?:accepted|fine|ok)\b",
    re.IGNORECASE,
)
OF_THE_ANSWER = re.compile(r"\b(?:return|output|print|answer|result|report)\w*\b", re.IGNORECASE)
OF_SOMETHING_ELSE = re.compile(
    r"\b(?:operations?|perform\w*|re-?arrang\w*|re-?order\w*|shuffl\w*|inputs?|given in|permut\w*|visit\w*|process\w*|"
    r"swap\w*|moves?|deliver\w*|placed?|choosing|chosen|choose|complete\w*|attack\w*|minimum|maximum|largest|"
    r"smallest|number of|whether|true|possible to|count|formed|concatenat\w*)\b",
    re.IGNORECASE,
)
INTERACTIVE = re.compile(r"\b(this is an interactive (problem|task)|interactor|flush (the )?(output|stdout))\b", re.I)
IMAGE = re.compile(r"<img\b[^>]*>|!\[[^\]]*\]\([^)]*\)|<image>", re.IGNORECASE)
MIN_LETTERS = 100  # of a statement with an image: with fewer the task is in the image (code-r1's bound)


def statement_fault(statement: str) -> tuple[str, str] | None:
    """The reason why a statement is of no use for training, and the words that show it."""
    found = INTERACTIVE.search(statement)
    if found:
        return "interactive", found.group()
    image = IMAGE.search(statement)
    if image and sum(map(str.isalnum, IMAGE.sub("", statement))) < MIN_LETTERS:
        return "image_only", image.group()[:60]
    return None


def several_answers(statement: str) -> tuple[str, str] | None:
    """The reason, and the sentence by which a statement accepts several answers; a list of tests knows only one."""
    for part in SENTENCE.split(html.unescape(statement)):
        sentence = " ".join(part.split())
        free_order = ANY_ORDER.search(sentence) and OF_THE_ANSWER.search(sentence)
        if any(pattern.search(sentence) for pattern in SEVERAL_ANSWERS) or (
            free_order and not OF_SOMETHING_ELSE.search(sentence)
        ):
            return "several_answers", sentence[:120]
    return None
