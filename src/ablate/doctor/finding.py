"""What one check found, as a line; and the checks in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ablate.errors import UserError

CHECK_WIDTH = 18  # of the longest name of a check
OK, WARNING, FAILED, NOT_NEEDED = "ok", "warning", "failed", "not needed"


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table.

    Example: ``Finding("sandbox", "failed", "bubblewrap is not installed", "sudo apt-get install bubblewrap")``
    """

    check: str
    status: str  # ok | warning | failed | not needed
    says: str  # what was measured or found
    fix: str = ""  # what to do about a warning or a failure


def run_check(name: str, check: Callable[[], Sequence[Finding]]) -> list[Finding]:
    """Run one check. Whatever it raises is a failed row, so that the other checks still run."""
    try:
        return list(check())
    except UserError as error:  # its sentence names the fix
        return [Finding(name, FAILED, str(error))]
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        fix = "fix what the sentence names, then run the doctor again"
        return [Finding(name, FAILED, f"{type(error).__name__}: {reason}", fix)]


def run_checks(checks: Mapping[str, Callable[[], Sequence[Finding]]], needs: Mapping[str, str]) -> Iterator[Finding]:
    """Run checks in their order; one that needs a check which failed is not tried, so that no cause is said twice."""
    failed: set[str] = set()
    for name, check in checks.items():
        if needs.get(name) in failed:
            yield Finding(name, NOT_NEEDED, f"not tried, because {needs[name]} failed")
            continue
        for finding in run_check(name, check):
            if finding.status == FAILED:
                failed.add(name)
            yield finding


def row(finding: Finding) -> str:
    """One finding; its fix is on a line of its own."""
    line = f"{finding.check:{CHECK_WIDTH}}  {finding.status:{len(NOT_NEEDED)}}  {finding.says}"
    return line + (f"\n{'':{CHECK_WIDTH + len(NOT_NEEDED) + 4}}fix: {finding.fix}" if finding.fix else "")


def counts(findings: Sequence[Finding]) -> str:
    return ", ".join(
        f"{sum(finding.status == status for finding in findings)} {status}"
        for status in (OK, WARNING, FAILED, NOT_NEEDED)
    )


def exit_code(findings: Sequence[Finding]) -> int:
    """1 if a check failed, else 0: warnings do not stop a run."""
    return int(any(finding.status == FAILED for finding in findings))
