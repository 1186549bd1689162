"""Data for a page as base64 of compressed JSON, inside the page or in a side file that the page loads when asked."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

SAFE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


def pack(value: Any) -> str:
    """Base64 of zlib-compressed JSON: 64 letters and digits that no HTML parser can take for a tag.

    Raises:
        ValueError: for a number that JSON does not have (nan, inf).
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode()


def write_side_file(folder: Path, name: str, value: Any) -> None:
    """Write ``folder/name.js``, which hands the value to ``ablate.load(name)``.

    Args:
        name: letters, digits and underscores, with slashes; never text from a record.
    """
    assert SAFE_NAME.fullmatch(name), name
    path = folder / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'ablate.receive("{name}","{pack(value)}");\n', encoding="ascii")
