"""Which part of a model's answer is the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TAG = re.compile(r"\s*(?:[Pp]ython\S*|[a-z][\w+#.-]*)?(?:\s+\w+=\S+|\s*\{[^}]*\})*\s*")
LIST_MARK = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
END_OF_THOUGHT = "</think>"
MAX_FENCES_AHEAD = 32  # so that no answer takes quadratic time


@dataclass(frozen=True)
class Fence:
    """A line with one fence, or the end of the model's thoughts, which ends a block too.

    Example: ``Fence(3, "1. ", "```", "python", 3)`` for the line "1. ```python", the fourth of its answer.
    """

    line: int
    before: str
    marks: str
    info: str
    indent: int = -1  # columns before it, if only blanks, a list's mark or the end of the thoughts are there

    def opens(self, within_text: bool) -> bool:
        return bool(self.marks) and (self.indent >= 0 or (within_text and TAG.fullmatch(self.info) is not None))


@dataclass(frozen=True)
class Block:
    """The lines ``begin`` to ``end`` - 1, and what stands before the closing fence on its line."""

    opening: Fence
    end: int
    rest: str
    is_closed: bool


def fence_in(number: int, line: str) -> Fence | None:
    before, marks, after = line.partition("```")
    mark = "`"
    if not marks:
        before, marks, after = line.partition("~~~")
        mark = "~"
        if before.strip():
            return None
    info = after.lstrip(mark)
    if not marks or (mark == "`" and mark in info):  # several on a line are inline code such as ```print()```
        return None
    blanks = before.rpartition(END_OF_THOUGHT)[2]
    indent = len(blanks.expandtabs()) if not blanks.strip() or LIST_MARK.fullmatch(blanks) else -1
    return Fence(number, before, marks + mark * (len(after) - len(info)), info, indent)


def fences_in(lines: Sequence[str]) -> Iterator[Fence]:
    for number, line in enumerate(lines):
        if END_OF_THOUGHT in line:
            yield Fence(number, line, "", "")
        if fence := fence_in(number, line):
            yield fence


def block_from(fences: Sequence[Fence], place: int, num_lines: int) -> tuple[Block, int]:
    """The block that the fence at ``place`` opens, and the place from which to look for the next one.

    A closing fence has the opening one's character, is at least as long, is indented no further, and has no tag
    (CommonMark). A model may also write words after it, indent it, write it after the last line of code, or forget it:
    a tagged fence then opens the next block.
    """
    opening, sloppy = fences[place], None
    last = min(len(fences), place + MAX_FENCES_AHEAD)
    end, next_place = (fences[last].line, last) if last < len(fences) else (num_lines, last)
    for index in range(place + 1, last):
        fence = fences[index]
        if not fence.marks:
            end, next_place = fence.line, index
            break
        if not fence.marks.startswith(opening.marks):
            continue
        is_bare = not fence.info.strip()
        if 0 <= fence.indent <= max(opening.indent, 0):
            if not is_bare and TAG.fullmatch(fence.info):
                end, next_place = fence.line, index
                break
            return Block(opening, fence.line, "", True), index + 1
        if is_bare and sloppy is None:
            rest = "" if fence.indent >= 0 else fence.before
            sloppy = Block(opening, fence.line, rest, True), index + 1
    return sloppy or (Block(opening, end, "", False), next_place)


def blocks_in(lines: Sequence[str], within_text: bool) -> list[Block]:
    """All blocks of an answer; ``within_text``: also those whose fence stands after text on its line."""
    fences, blocks, place = list(fences_in(lines)), [], 0
    while place < len(fences):
        if fences[place].opens(within_text):
            block, place = block_from(fences, place, len(lines))
            blocks.append(block)
        else:
            place += 1
    return blocks


def text_of(block: Block, lines: Sequence[str]) -> str:
    """The code, without the indentation of its first line where the fence is indented too, as in a list."""
    code = [*lines[block.opening.line + 1 : block.end], *([block.rest] if block.rest else [])]
    first = next((line for line in code if line.strip()), "")
    margin = len(first) - len(first.lstrip()) if block.opening.indent else 0
    return "".join(f"{line[min(margin, len(line) - len(line.lstrip())) :]}\n" for line in code)


def extract_last_block(text: str) -> str | None:
    """Return the last fenced block that is not blank, whatever its tag; None if there is none.

    A block that the answer leaves open ends with the answer. Whether a fence after text on its line opens a block is
    decided by what follows: if a block would be left open at the end, it does not.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    blocks = blocks_in(lines, within_text=True)
    if blocks and not blocks[-1].is_closed:
        others = blocks_in(lines, within_text=False)
        if others and others[-1].is_closed and others[-1].end >= blocks[-1].opening.line:
            blocks = others
    program = None
    for block in reversed(blocks):
        program = text_of(block, lines)
        if program.strip():
            break
    return program


def extract_lcb(text: str) -> str | None:
    """LiveCodeBench's rule: the text between the last two lines that contain a fence (lcb_runner extraction_utils)."""
    lines = text.split("\n")
    fences = [index for index, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return None
    return "\n".join(lines[fences[-2] + 1 : fences[-1]])


EXTRACTIONS: dict[str, Callable[[str], str | None]] = {"last_block": extract_last_block, "lcb": extract_lcb}
