"""What one check found, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        fix = "fix what the sentence names, then run the doctor again"
        return [Finding(name, FAILED, f"{type(error).__name__}: {reason}", fix)]


def table(findings: Sequence[Finding]) -> str:
    """The findings as aligned lines; the fix of a row is on a line of its own."""
    width = max(len(finding.check) for finding in findings)
    status_width = max(len(finding.status) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.check:{width}}  {finding.status:{status_width}}  {finding.says}")
        if finding.fix:
            lines.append(f"{'':{width}}  {'':{status_width}}  fix: {finding.fix}")
    counts = ", ".join(
        f"{sum(finding.status == status for finding in findings)} {status}"
        for status in (OK, WARNING, FAILED, NOT_NEEDED)
    )
    return "\n".join([*lines, counts])


def exit_code(findings: Sequence[Finding]) -> int:
    """1 if a check failed, else 0: warnings do not stop a run."""
    return int(any(finding.status == FAILED for finding in findings))
