"""Verdicts on disk, keyed by everything that a verdict depends on."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict

from ablate.verify.supervisor import Job

VERDICT_RULES = 1  # raise when the judge's rules change, so that old verdicts are not found
NOT_OF_THE_VERDICT = ("number", "fresh")


def verdict_key(job: Job, extract: bool = False) -> str:
    """A hash over the program, the tests, the limits, the rules and the interpreter."""
    parts = {name: value for name, value in asdict(job).items() if name not in NOT_OF_THE_VERDICT}
    described = [VERDICT_RULES, sys.version_info[:3], extract, parts]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]
