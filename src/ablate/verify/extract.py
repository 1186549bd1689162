"""Which part of a model's answer is the program."""

from __future__ import annotations

import re
from collections.abc import Callable

FENCE = re.compile(r"^(`{3,}|~{3,})(.*)$")


def extract_last_block(text: str) -> str | None:
    """Return the last closed fenced block, whatever its tag; None if there is none.

    A fence stands at the start of a line. The closing fence has the same character, is at least as long as the opening
    fence, and is alone on its line (CommonMark). A block that a truncated answer leaves open does not count.
    """
    last, opened, lines = None, None, []
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = FENCE.match(line)
        if opened is None:
            # A backtick in the tag is inline code such as ```print()```, which opens no block.
            if fence and "`" not in fence[2]:
                opened, lines = fence[1], []
        elif fence and fence[1].startswith(opened):
            if fence[2].strip():  # a fence with a tag opens: the model never closed the block before
                opened, lines = fence[1], []
            else:
                last, opened = "".join(f"{kept}\n" for kept in lines), None
        else:
            lines.append(line)
    return last


def extract_lcb(text: str) -> str | None:
    """LiveCodeBench's rule: the text between the last two lines that contain a fence (lcb_runner extraction_utils)."""
    lines = text.split("\n")
    fences = [index for index, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return None
    return "\n".join(lines[fences[-2] + 1 : fences[-1]])


EXTRACTIONS: dict[str, Callable[[str], str | None]] = {"last_block": extract_last_block, "lcb": extract_lcb}
