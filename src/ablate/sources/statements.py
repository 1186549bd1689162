"""What surrounds a published statement: the framing of PrimeIntellect's prompts, stubs, fences of solutions."""

from __future__ import annotations

import re

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
FENCED = re.compile(r"\A\s*```(?:python|py|Python)\d?[ \t]*\n(?P<code>.*?)\n?```\s*\Z", re.DOTALL)


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


def fenced_code(solution: str) -> str | None:
    """Return the program of a solution that is one fenced Python block, or None for anything else."""
    match = FENCED.match(solution)
    return match["code"] if match else None
