"""One notation for numbers: 10^5, 10<sup>5</sup>, 10⁵, 10^{5}, 10**5, 1e5 and 100,000 are all 100000."""

from __future__ import annotations

import re

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
GROUPED = re.compile(r"(?<![\d,\[.])\d{1,3}(?:(?:,|\{,\}|\\,|\u2009|\u202f)\d{3})+(?!,?\d)")
POWER = re.compile(r"\b(\d{1,3})\s*(?:\^|\*\*)\s*(?:\{\s*(\d{1,2})\s*\}|(\d{1,2})\b)")
NEGATIVE_POWER = re.compile(r"\b(?:10\s*(?:\^|\*\*)\s*\{?\s*|1e)[-\u2212\u2013]\s*(\d{1,2})\b(?:\s*\})?", re.IGNORECASE)
SCIENTIFIC = re.compile(r"\b(\d{1,3})e(\d{1,2})\b", re.IGNORECASE)
PRODUCT = re.compile(r"\b(\d{1,4})\s*(?:\\cdot|\\times|[·×⋅∙*])\s*(10+)\b")


def with_plain_numbers(text: str) -> str:
    """The text with every power, product with a power of ten, and grouped number as plain digits."""
    text = re.sub(r"<sup>\s*(.*?)\s*</sup>", r"^\1", text, flags=re.IGNORECASE)
    text = SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(SUPERSCRIPTS), text)
    text = GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    text = NEGATIVE_POWER.sub(lambda found: "0." + "0" * (int(found[1]) - 1) + "1" if int(found[1]) else "1", text)
    text = POWER.sub(lambda found: str(int(found[1]) ** int(found[2] or found[3])), text)
    text = SCIENTIFIC.sub(lambda found: str(int(found[1]) * 10 ** int(found[2])), text)
    return PRODUCT.sub(lambda found: str(int(found[1]) * int(found[2])), text)
