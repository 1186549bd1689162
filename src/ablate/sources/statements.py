"""What surrounds a published statement: the framing of PrimeIntellect's prompts, stubs, fences of solutions."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable

from ablate.verify.extract import EXTRACTIONS

PREAMBLE = re.compile(r"\A\s*Solve the following coding problem using the programming language python:\s*")
TRAILERS = (
    re.compile(r"\s*Now solve the problem (?:and return|by providing) the code\.?\s*\Z"),
    re.compile(
        r"\s*The input will be (?:given via )?stdin and "
        r"(?:you should print your solution to stdout|the output should be printed to stdout by your code)\.?\s*\Z"
    ),
)
STUB = re.compile(
    r"\s*Write your solution by modifying this code:\s*```(?:python)?[ \t]*\n(?P<stub>.*?)```\s*"
    r'Your solution should (?:be )?implemented in the function(?: "\w+")?\.?'
    r"(?:\s*The inputs will be passed to it and it should return the correct solution\.?)?",
    re.DOTALL,
)
ASKS_FOR_FUNCTION = re.compile(
    r"your solution should (?:be )?implemented in the function|write your solution by modifying this code"
    r"|(?:complete|write|implement|create|define|make) (?:a|the|your) (?:\w+ ){0,2}(?:function|method)\b"
    r"|class Solution\b|you are required to complete the function",
    re.IGNORECASE,
)
TAGS = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*(?P<tag>[\w+#.-]+)", re.MULTILINE)
PYTHON_TAGS = ("python", "py", "python3", "python2", "py3", "py2")


def without_framing(prompt: str) -> tuple[str, str | None]:
    """Return the statement inside one of PrimeIntellect's prompts, and the stub that it shows for a function."""
    text = PREAMBLE.sub("", prompt)
    for trailer in TRAILERS:
        text = trailer.sub("", text)
    match = STUB.search(text)
    if match is None:
        return text.strip(), None
    return (text[: match.start()] + text[match.end() :]).strip(), match["stub"].strip("\n")


def asks_for_function(statement: str, starter_code: str | None = None) -> bool:
    """Whether the text asks for a function: then tests without a name for it have lost that name."""
    return bool(starter_code) or ASKS_FOR_FUNCTION.search(statement) is not None


def program_of(solution: str) -> str | None:
    """Return the program of a published solution, or None where it holds no Python.

    It is the last block by the verifier's own rule for answers, whatever text stands around its fence; without a fence
    it is the whole text, if that is Python.
    """
    text = solution.replace("\r\n", "\n")
    tags = [found["tag"].lower() for found in TAGS.finditer(text)]
    if tags and not any(tag in PYTHON_TAGS for tag in tags):
        return None
    code = EXTRACTIONS["last_block"](text)
    if code is not None:
        return code.removesuffix("\n")
    return text if is_program(text) else None


def is_program(text: str) -> bool:
    """Whether a text is Python that does something: a single word would parse as well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            body = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return any(not isinstance(each, ast.Expr) or isinstance(each.value, ast.Call) for each in body)


def programs_of(solutions: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the programs of published solutions, and the note of a row whose solutions hold none."""
    texts = [each for each in solutions if each.strip()]
    found = tuple(code for code in map(program_of, texts) if code is not None)
    return found, ("unreadable_reference",) if texts and not found else ()
