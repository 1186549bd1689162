"""Which part of an answer is the program."""

from __future__ import annotations

import pytest

from ablate.verify.extract import extract_last_block, extract_lcb

LAST_BLOCK = {
    "one block": ("Text.\n```python\nprint(1)\n```\nMore.", "print(1)\n"),
    "the last of two": ("```python\nprint(1)\n```\n```python\nprint(2)\n```", "print(2)\n"),
    "any tag": ("```py3 title=x\nprint(1)\n```", "print(1)\n"),
    "no tag": ("```\nprint(1)\n```", "print(1)\n"),
    "an open block at the end does not count": ("```python\nprint(1)\n```\n```python\nprint(2)", "print(1)\n"),
    "a block left open before a closed one": ("```python\nprint(1)\nor rather\n```python\nprint(2)\n```", "print(2)\n"),
    "indented fences are text": ("  ```python\nprint(1)\n  ```", None),
    "fences within a line are text": ("use ```print(1)``` here", None),
    "an indented fence inside a block stays": ('```python\ns = """\n  ```\n"""\n```', 's = """\n  ```\n"""\n'),
    "a longer fence holds shorter ones": ("````\n```\nprint(1)\n```\n````", "```\nprint(1)\n```\n"),
    "blanks after the closing fence": ("```python\nprint(1)\n```  ", "print(1)\n"),
    "Windows line ends": ("```python\r\nprint(1)\r\n```\r\n", "print(1)\n"),
    "an empty block": ("```\n```", ""),
    "no block": ("print(1)", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize("name", LAST_BLOCK)
def test_the_last_closed_block_is_the_program(name):
    answer, program = LAST_BLOCK[name]
    assert extract_last_block(answer) == program


LCB = {
    "one block": ("Text.\n```python\nprint(1)\n```\nMore.", "print(1)"),
    "between the last two fences, whatever they are": ("```\na\n```\nb\n```\nc", "b"),
    "indented fences count": ("  ```python\nprint(1)\n  ```", "print(1)"),
    "one fence only": ("```python\nprint(1)", None),
}


@pytest.mark.parametrize("name", LCB)
def test_lcb_takes_what_lies_between_the_last_two_fences(name):
    answer, program = LCB[name]
    assert extract_lcb(answer) == program
