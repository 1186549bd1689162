"""Contest packages in the format of ICPC and Kattis: problem.yaml of the legacy and the 2023-07 version.

https://www.kattis.com/problem-package-format describes both. A directory holds any number of packages at any depth.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import RawRow, Row, make_row
from ablate.sources.latex import plain_statement
from ablate.sources.reasons import Reason, Refused
from ablate.types import Checker, TestCase
from ablate.verify.checker import is_compiled
from ablate.verify.validator import rules_of

REFUSED_KINDS = {  # words of type, validation and grading that ask for more than an answer
    **dict.fromkeys(("interactive", "multi-pass", "multipass", "submit-answer"), Reason.interactive),
    **dict.fromkeys(("score", "scoring-custom"), Reason.scored),
}
STATEMENTS = ("problem.en.tex", "problem.en.md", "problem.tex", "problem.md", "problem.en.html", "problem.html")
TEXTS = (".tex", ".md", ".html")
VALIDATOR_DIRECTORIES = ("output_validators", "output_validator")  # legacy, 2023-07
WRONG = ("wrong_answer",)  # a crash or a limit may be another one here
TIME_LIMIT = re.compile(r"^\s*timelimit\s*=\s*[\"']?(\d+(?:\.\d+)?)", re.MULTILINE)
MAX_FILE_BYTES = 1 << 20  # of a validator's or a submission's source
HEADERS = (".h", ".hh", ".hpp")


class Icpc:
    name = "icpc"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        if config != "packages":
            raise UserError("icpc has one config: packages")
        found = sorted(path.parent for path in directory.rglob("problem.yaml"))
        if not found:
            raise UserError(f"{directory} holds no problem.yaml: give a directory of contest packages")
        for package in found:
            yield {"package": str(package), "name": package.relative_to(directory).as_posix()}

    def decode(self, raw: RawRow) -> Row:
        package = Path(raw.text("package"))
        facts = read_facts(package)
        refuse_other_kinds(facts)
        samples, secrets = tests_below(package / "data" / "sample"), tests_below(package / "data" / "secret")
        cases = list(dict.fromkeys([*samples, *secrets]))
        limits = facts.get("limits") if isinstance(facts.get("limits"), dict) else {}
        source = facts.get("source")
        return make_row(
            raw,
            id=f"icpc/{raw.text('name') if raw.text('name') != '.' else package.name}",
            statement=statement_of(package, samples),
            kind="stdin",
            tests=tuple(cases),
            num_examples=len(set(samples)),
            checker=checker_of(package, facts),
            references=submissions(package, ("accepted",)),
            wrong=submissions(package, WRONG),
            time_limit_s=time_limit_of(package, limits),
            memory_limit_mib=int(number(limits.get("memory")) or 0) or None,
            title=title_of(facts),
            platform="kattis" if source is None else str(source)[:80],
            license=str(facts.get("license") or "unknown"),
        )


def read_facts(package: Path) -> dict[str, Any]:
    import yaml

    try:
        facts = yaml.safe_load((package / "problem.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(Reason.bad_shape, f"problem.yaml is no YAML ({' '.join(str(error).split())[:100]})") from error
    if facts is not None and not isinstance(facts, dict):
        raise Refused(Reason.bad_shape, "problem.yaml is no mapping")
    return facts or {}


def refuse_other_kinds(facts: dict[str, Any]) -> None:
    """Raise ``Refused`` for a package whose answers are not simply right or wrong, or that talks to the program."""
    kinds = facts.get("type") or []
    words = [*(kinds if isinstance(kinds, list) else str(kinds).split()), *str(facts.get("validation") or "").split()]
    for word in words:
        if word in REFUSED_KINDS:
            raise Refused(REFUSED_KINDS[word], f"the package is {word}")


def tests_below(directory: Path) -> list[TestCase]:
    """The tests of a directory and of its groups, in the order of their names."""
    cases = []
    for path in sorted(directory.rglob("*.in")):
        answer = path.with_suffix(".ans")
        if not answer.is_file():
            continue  # of an interactive sample, or not made yet
        texts = (each.read_bytes() for each in (path, answer))
        try:
            cases.append(TestCase(*(text.decode("utf-8").replace("\r\n", "\n") for text in texts)))
        except UnicodeDecodeError as error:
            raise Refused(Reason.lone_surrogate, f"{path.name} is not UTF-8") from error
    return cases


def flags_of(package: Path, facts: dict[str, Any]) -> tuple[str, ...]:
    """The flags of the output validator, those of problem.yaml and then a group's; all test groups must share them."""
    import yaml

    of_problem = tuple(shlex.split(str(facts.get("validator_flags") or "")))
    groups = set()
    for name in ("testdata.yaml", "test_group.yaml"):
        for path in (package / "data").rglob(name):
            try:
                group = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise Refused(Reason.bad_shape, f"{name} is no YAML") from error
            flags = group.get("output_validator_flags", group.get("output_validator_args"))
            if flags:
                groups.add(tuple(map(str, flags)) if isinstance(flags, list) else tuple(shlex.split(str(flags))))
    if len(groups) > 1:
        raise Refused(Reason.bad_checker, "test groups have different validator flags")
    return of_problem + (groups.pop() if groups else ())


def checker_of(package: Path, facts: dict[str, Any]) -> Checker:
    """The package's own output validator, or the default one.

    Raises:
        Refused: bad_checker for a validator in another language, for several, and for unknown flags.
    """
    flags = flags_of(package, facts)
    programs = [each for name in VALIDATOR_DIRECTORIES for each in programs_in(package / name)]
    is_custom = "custom" in str(facts.get("validation") or "").split() or (
        facts.get("validation") is None and bool(programs)
    )
    if not is_custom:
        try:
            rules_of(flags)
        except ValueError as error:
            raise Refused(Reason.bad_checker, str(error)) from error
        return Checker("default", (), flags)
    if len(programs) != 1:
        raise Refused(Reason.bad_checker, f"{len(programs)} output validators")
    files = source_files(programs[0])
    if not files:
        raise Refused(
            Reason.bad_checker, f"{programs[0].name} is no Python or C++ that can be run without its own build script"
        )
    return Checker("kattis", files, flags)


def programs_in(directory: Path) -> list[Path]:
    """The programs of a directory: files, and directories of several files."""
    if not directory.is_dir():
        return []
    names = [path for path in sorted(directory.iterdir()) if not path.name.startswith((".", "__"))]
    if directory.name == "output_validator" or any(path.suffix in HEADERS for path in names):
        return [directory]  # the directory itself is one program
    return [path for path in names if path.is_dir() or path.suffix]


def source_files(program: Path) -> tuple[tuple[str, str], ...]:
    """The files of a program, the main one first; none where it is neither Python nor C++."""
    paths = [program] if program.is_file() else sorted(path for path in program.rglob("*") if path.is_file())
    root = program.parent if program.is_file() else program
    python = [path for path in paths if path.suffix in (".py", ".py3")]
    compiled = [path for path in paths if is_compiled(path.name)]
    mains = python if python and not compiled else compiled if compiled and not python else []
    mains = sorted(mains, key=lambda path: (not has_main(path), path.name))
    if not mains or any(path.name in ("build", "run") for path in paths):
        return ()
    if compiled and sum(map(has_main, compiled)) != 1:
        return ()
    others = [path for path in paths if path != mains[0] and path.suffix in (*HEADERS, ".py", mains[0].suffix)]
    return tuple((path.relative_to(root).as_posix(), text_of(path)) for path in (mains[0], *others))


def has_main(path: Path) -> bool:
    text = text_of(path)
    if is_compiled(path.name):
        return re.search(r"\bmain\s*\(", text) is not None
    return "__main__" in text or "sys.exit" in text


def text_of(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Refused(Reason.too_large, f"{path.name} has {path.stat().st_size} bytes")
    return path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")


def submissions(package: Path, verdicts: tuple[str, ...]) -> tuple[str, ...]:
    """The Python submissions of one file that jury members gave these verdicts."""
    found = []
    for verdict in verdicts:
        for path in sorted((package / "submissions" / verdict).glob("*")):
            files = [path] if path.is_file() else list(path.iterdir())  # a directory of one file is one file
            if len(files) == 1 and files[0].is_file() and files[0].suffix in (".py", ".py3"):
                found.append(text_of(files[0]))
    return tuple(found)


def time_limit_of(package: Path, limits: dict[str, Any]) -> float | None:
    """Seconds: of problem.yaml, else of the files in which older tools keep it."""
    if limit := number(limits.get("time_limit")):
        return limit
    for name in (".timelimit", "domjudge-problem.ini"):
        path = package / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found = TIME_LIMIT.search(text)
            if limit := number(found[1] if found else text.strip()):
                return limit
    return None


def number(value: Any) -> float | None:
    try:
        return float(value) if not isinstance(value, bool) and 0 < float(value) < 1e6 else None
    except (TypeError, ValueError):
        return None


def title_of(facts: dict[str, Any]) -> str | None:
    name = facts.get("name")
    if isinstance(name, dict):
        name = name.get("en") or next(iter(name.values()), None)
    return str(name) if name else None


def statement_of(package: Path, samples: list[TestCase]) -> str:
    """The statement as text, with the samples as its examples."""
    for directory in ("problem_statement", "statement"):
        others = sorted(path.name for path in (package / directory).glob("problem.*") if path.suffix in TEXTS)
        for name in (*STATEMENTS, *others):  # another language is better than none
            path = package / directory / name
            if path.is_file():
                text = plain_statement(text_of(path), path.suffix)
                shown = [f"Input\n{test.input.strip()}\n\nOutput\n{test.output.strip()}" for test in samples]
                return "\n\n".join([text, *(["-----Examples-----", *shown] if shown else [])])
    raise Refused(Reason.empty_statement, "no statement in LaTeX, Markdown or HTML")
