"""Statements of contest packages as text: formulas stay as they are, and what only sets type goes."""

from __future__ import annotations

import html
import re

COMMENT = re.compile(r"(?<!\\)%.*")
DROPPED = re.compile(
    r"\\(?:problemname|illustration|includegraphics|label|vspace|hspace|footnotesize|centering|noindent|medskip|bigskip"
    r"|smallskip|clearpage|newpage|maketitle|begin\{(?:center|figure|document|wrapfigure)\}|end\{(?:center|figure|document"
    r"|wrapfigure)\}|documentclass|usepackage|input|sampleinput|nextsample|remainingsamples)\*?"
    r"(?:\[[^\]]*\])?(?:\{[^{}]*\})*"
)
SECTION = re.compile(
    r"\\(?:sub)?section\*?\{([^{}]*)\}|\\begin\{(Input|Output|Interaction)\}|^#+\s*(.*?)\s*#*$", re.MULTILINE
)
END = re.compile(r"\\end\{\w+\*?\}")
LIST = re.compile(r"\\begin\{(?:itemize|enumerate|description)\}(?:\[[^\]]*\])?")
ITEM = re.compile(r"\\item\b\s*")
STYLE = re.compile(r"\\(?:textbf|textit|emph|texttt|textsc|text|mathit|underline|url|verb\*?)\{([^{}]*)\}")
SCRIPT = re.compile(r"<(script|style|head)\b.*?</\1>", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"<[^>]+>")
BLANK_LINES = re.compile(r"\n\s*\n\s*")


def plain_statement(text: str, suffix: str) -> str:
    """A statement in LaTeX, Markdown or HTML as text with headings such as ``-----Input-----``."""
    if suffix == ".html":
        text = SCRIPT.sub(" ", text)
        text = html.unescape(TAG.sub(" ", re.sub(r"<h\d[^>]*>(.*?)</h\d>", r"\n## \1\n", text, flags=re.DOTALL)))
    if suffix == ".tex":
        text = COMMENT.sub("", text)
        text = LIST.sub("", text)
    text = SECTION.sub(lambda found: f"\n\n-----{next(filter(None, found.groups()), '')}-----\n\n", text)
    if suffix == ".tex":
        text = ITEM.sub("- ", DROPPED.sub("", END.sub("", text)))
        for _ in range(3):  # styles stand in each other
            text = STYLE.sub(r"\1", text)
        text = text.replace("``", '"').replace("''", '"').replace("~", " ").replace("\\%", "%").replace("\\_", "_")
    return BLANK_LINES.sub("\n\n", text).strip()
