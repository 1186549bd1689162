"""What every page has: one inlined script, one style, and a policy that lets the browser run nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
# Inline handlers, injected scripts and every request to a network are refused. ``file:`` is for the side files.
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}' 'self' file:; style-src 'unsafe-inline'; img-src data: 'self' "
    "file:; base-uri 'none'; form-action 'none'"
)


def render_page(template: str, scripts: Sequence[str], **values: Any) -> str:
    """Render a template of this folder; every value is escaped unless it is ``Markup``.

    Args:
        scripts: files of ``script/``, in the order in which they run.
    """
    script = "".join((HERE / "script" / name).read_text(encoding="utf-8") for name in scripts)
    assert "</script" not in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(HERE), trim_blocks=True
    )
    return environment.get_template(template).render(
        **values,
        policy=POLICY.format(digest=digest),
        script=Markup(script),  # a file of this package
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
    )
