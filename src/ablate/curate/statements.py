"""Statements that no list of tests can judge."""

from __future__ import annotations

import re

# Phrases by which a statement says that several answers are right.
SEVERAL_ANSWERS = re.compile(
    r"\b(print|output|return|find) any\b"
    r"|\bany (of them|valid|correct|one of them|possible (answer|solution))\b"
    r"|\bif there (are|is) (several|multiple|many|more than one)\b"
    r"|\b(multiple|several) (possible|correct|valid) (answers|solutions)\b",
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
    """The reason, and the phrase by which a statement accepts several answers; a list of tests knows only one."""
    found = SEVERAL_ANSWERS.search(statement)
    return ("several_answers", found.group()) if found else None
