"""The failed test as a person sees it: the beginning of texts that may be huge, and of bytes that may be anything."""

from __future__ import annotations

import os

SHOWN_CHARACTERS = 1000
LONGEST_CHARACTER = 4  # bytes of UTF-8
CUT = "…"


def cut(text: str) -> str:
    """The beginning of a text, with an ellipsis where it was cut; what UTF-8 cannot encode becomes a question mark."""
    beginning = text[:SHOWN_CHARACTERS].encode("utf-8", "replace").decode()
    return beginning + CUT if len(text) > SHOWN_CHARACTERS else beginning


def printed(output: int) -> str:
    """The beginning of the file that was a program's standard output; bytes that are no UTF-8 become U+FFFD.

    Args:
        output: its descriptor.
    """
    return cut(os.pread(output, (SHOWN_CHARACTERS + 1) * LONGEST_CHARACTER, 0).decode("utf-8", "replace"))


def returned(result: int) -> str:
    """The beginning of the JSON that a function returned; empty if it returned nothing.

    Args:
        result: the descriptor of the file that ``inside/one_test.py`` writes; a returned value begins with "R".
    """
    text = printed(result)
    return text[1:] if text.startswith("R") else ""
