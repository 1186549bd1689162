"""The report of one test, from its watcher to the code that scores it: nothing else about a test leaves the sandbox."""

from __future__ import annotations

from dataclasses import dataclass, fields

COMPILED_TOO_LONG = 24  # status of a process whose compiler met its limit; also the number of SIGXCPU
BROKEN_INPUT = "a line of its input is not JSON"  # how the complaint about such a test begins
STOPPED = (None, "cpu", "memory", "output", "wall", "starved")


@dataclass(frozen=True)
class TestReport:
    """How one test ended, as its watcher saw it. Every watcher fills in every field.

    Example:
        ``TestReport(True, "", 0, None, cpu_s=0.02, wall_s=0.03, run_wait_s=0.0, peak_kib=9300)`` ended well.
    """

    __test__ = False  # the name begins with "Test": pytest must not collect it

    is_confined: bool  # the sandbox was complete before the program's first line ran
    complaint: str  # why it was not complete; else empty
    status: int  # as of os.wait
    stopped: str | None  # the limit at which the watcher stopped the test, one of STOPPED
    cpu_s: float
    wall_s: float
    run_wait_s: float  # seconds in which the test was ready to run while other processes had the processors
    peak_kib: int

    def to_row(self) -> dict:
        return dict(vars(self))


KINDS = {"bool": bool, "str": str, "int": int, "float": (int, float), "str | None": (str, type(None))}
FIELDS = {field.name: KINDS[field.type] for field in fields(TestReport)}


def parse_report(row: object) -> TestReport:
    """Check and return a report that came from another process.

    Raises:
        ValueError: naming the field that is missing, unknown or of another type.
    """
    if not isinstance(row, dict) or row.keys() != FIELDS.keys():
        found = sorted(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"a test's report has the fields {', '.join(FIELDS)}, not {found}")
    for name, kind in FIELDS.items():
        if not isinstance(row[name], kind) or (isinstance(row[name], bool) and kind is not bool):
            raise ValueError(f"field {name} of a test's report is {row[name]!r}")
    if row["stopped"] not in STOPPED:
        raise ValueError(f"field stopped of a test's report is {row['stopped']!r}, not one of {STOPPED}")
    return TestReport(**row)


def compiler_stopped(code: int) -> str:
    """Why a program whose compilation ended its process does not compile; ``code`` as of waitstatus_to_exitcode."""
    if code == COMPILED_TOO_LONG:
        return "the compiler took longer than the time limit"
    return f"the compiler was stopped by signal {-code}"
