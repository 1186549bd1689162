"""Which part of an answer is the program."""

from __future__ import annotations

import itertools
import textwrap

import pytest

from ablate.verify.extract import extract_last_block, extract_lcb

LAST_BLOCK = {
    "one block": ("Text.\n```python\nprint(1)\n```\nMore.", "print(1)\n"),
    "the last of two": ("```python\nprint(1)\n```\n```python\nprint(2)\n```", "print(2)\n"),
    "any tag": ("```py3 title=x\nprint(1)\n```", "print(1)\n"),
    "no tag": ("```\nprint(1)\n```", "print(1)\n"),
    "an open block at the end": ("```python\nprint(1)\n```\n```python\nprint(2)", "print(2)\n"),
    "an empty open block at the end": ("```python\nprint(1)\n```\n```", "print(1)\n"),
    "a block left open before a closed one": ("```python\nprint(1)\nor rather\n```python\nprint(2)\n```", "print(2)\n"),
    "indented fences": ("  ```python\nprint(1)\n  ```", "print(1)\n"),
    "fences within a line are text": ("use ```print(1)``` here", None),
    "an indented fence inside a block stays": ('```python\ns = """\n  ```\n"""\n```', 's = """\n  ```\n"""\n'),
    "a longer fence holds shorter ones": ("````\n```\nprint(1)\n```\n````", "```\nprint(1)\n```\n"),
    "blanks after the closing fence": ("```python\nprint(1)\n```  ", "print(1)\n"),
    "Windows line ends": ("```python\r\nprint(1)\r\n```\r\n", "print(1)\n"),
    "an empty block": ("```\n```", ""),
    "no block": ("print(1)", None),
    "nothing": ("", None),
    "a closing fence further in": ("```python\nprint(1)\n   ```\nThat is all.", "print(1)\n"),
    "two closing fences further in": ("```python\na\n ```\nor\n ```python\nb\n  ```", "b\n"),
    "words after the closing fence": ("```python\nprint(1)\n``` This prints one.\nMore.", "print(1)\n"),
    "a sentence after the closing fence": ("```python\nprint(1)\n```Explanation: one.\nMore.", "print(1)\n"),
    "a closing fence after the last line": ("```python\nprint(1)```", "print(1)\n"),
    "a closing fence with a tag": ("```python\nprint(1)\n```python\n", "print(1)\n"),
    "fences in strings": ("```python\ns = '```'\nt = \"a```\"\n```", "s = '```'\nt = \"a```\"\n"),
    "a docstring with fences": (
        '```python\ndef f():\n    """\n    ```\n    f()\n    ```\n    """\n```',
        'def f():\n    """\n    ```\n    f()\n    ```\n    """\n',
    ),
    "a docstring with a tagged fence": (
        '```python\ndef f():\n    """\n    ```python\n    f()\n    ```\n    """\n```\n',
        'def f():\n    """\n    ```python\n    f()\n    ```\n    """\n',
    ),
    "a fence that the prose mentions": ("Put it within ```python\n```\nprint(1)\n```", "print(1)\n"),
    "another fence that the prose mentions": ("I close it with ```\n```python\nprint(1)\n```", "print(1)\n"),
    "in a list": ("1. First:\n   ```python\n   if 1:\n       print(1)\n   ```\n2. Then", "if 1:\n    print(1)\n"),
    "on a list's mark": ("- ```python\n  print(1)\n  ```", "print(1)\n"),
    "code at the margin": ("   ```python\nif 1:\n    print(1)\n   ```", "if 1:\n    print(1)\n"),
    "a string at the margin": ("  ```python\n  s = '''\na'''\n  ```", "s = '''\na'''\n"),
    "thoughts that leave a block open": ("<think>\n```\nprint(0)\n</think>\n```\nprint(1)\n```", "print(1)\n"),
    "waves": ("~~~python\nprint(1)\n```\n~~~", "print(1)\n```\n"),
}


@pytest.mark.parametrize("name", LAST_BLOCK)
def test_the_last_block_is_the_program(name):
    answer, program = LAST_BLOCK[name]
    assert extract_last_block(answer) == program


PROGRAM = "import sys\nfor line in sys.stdin:\n    print(line)\n"
EARLIER = [
    "",
    "```python\nprint(0)\n```\n",
    "<think>\n```\nprint(0)\n```\nWait, no.\n</think>\n",
    "  ```py\n  print(0)\n  ```\n\n",
    "<think>\n```python\nprint(0)\n</think>\n",
]
BEFORE = ["", "So:\n", "</think>", "</think>\n\n", "Here is the code: ", "**Solution:** ", "The code ", "1. "]
INDENTS = ["", " ", "  ", "   ", "    ", "\t"]
CLOSING = ["the same", "none", "at the margin"]
AFTER = ["", "\n", "\n\nIt reads lines, and prints `line`.", "  \n"]


def answers():
    choices = itertools.product(EARLIER, BEFORE, INDENTS, ["python", "", "py3"], CLOSING, AFTER, ["\n", "\r\n"])
    for earlier, before, indent, tag, closing, after, newline in choices:
        if closing == "none" and after.strip():
            continue  # nobody could say where the program ends
        starts_line = before in ("", "So:\n", "</think>\n\n")
        fence = f"{before}{indent if starts_line else ''}```{tag}\n"
        close = {"the same": f"{indent}```", "none": "", "at the margin": "```"}[closing]
        text = earlier + fence + textwrap.indent(PROGRAM, indent) + close + after
        yield text.replace("\n", newline)


def is_program(text: str | None) -> bool:
    return text is not None and textwrap.dedent(text).strip() == PROGRAM.strip()


def test_the_program_is_found_in_every_answer_of_a_family():
    missed = [answer for answer in answers() if not is_program(extract_last_block(answer))]
    assert missed == []


def test_what_livecodebench_finds_is_found():
    taken = [answer for answer in answers() if is_program(extract_lcb(answer.replace("\r\n", "\n")))]
    assert len(taken) > 1000
    assert all(is_program(extract_last_block(answer)) for answer in taken)


@pytest.mark.parametrize(
    "line", ["```", "a```", "```py", " ```", "    ```", "~~~", "</think>", "``` a", "```py a=b{c}{c}"]
)
def test_an_answer_of_many_fences_takes_no_quadratic_time(line):
    extract_last_block(f"{line}\n" * 30_000 + "!")
    extract_last_block(f"{line} " * 30_000 + "!")


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
