"""Verdicts on disk, keyed by everything that a verdict depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from ablate.files import write_atomic
from ablate.files.stored_tests import StoredTests
from ablate.types import Verdict, VerdictKind
from ablate.verify.jobs import Job

log = logging.getLogger(__name__)
VERDICT_RULES = 5  # raise this number when the rules change, so that old verdicts are not found
NOT_OF_THE_VERDICT = ("number", "fresh", "container", "checker_binary")


def verdict_key(job: Job, extract: bool = False) -> str:
    """A hash over the program, the tests, the limits, the rules and the interpreter."""
    parts = {name: value for name, value in vars(job).items() if name not in NOT_OF_THE_VERDICT}
    parts["tests"] = (
        job.tests.digest if isinstance(job.tests, StoredTests) else [[test.input, test.output] for test in job.tests]
    )
    parts["checker"] = job.checker and job.checker.to_json()
    described = [VERDICT_RULES, sys.version_info[:3], extract, parts]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


class VerdictCache:
    """One small JSON file per verdict. A cache that cannot be read or written only costs time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.is_writable = True

    def path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key}.json"

    def get(self, key: str) -> Verdict | None:
        try:
            row = json.loads(self.path(key).read_text(encoding="utf-8"))
            return Verdict(**{**row, "kind": VerdictKind(row["kind"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("verdict cache: %s is unreadable and will be written again: %s", self.path(key), error)
            return None

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; an infrastructure error is not kept."""
        if verdict.is_infrastructure_error or not self.is_writable:
            return
        try:
            write_atomic(self.path(key), json.dumps(asdict(verdict)), durable=False)
        except OSError as error:
            self.is_writable = False
            log.warning("verdict cache: nothing more is kept: %s", error)
