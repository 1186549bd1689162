"""Our own runs: a run's directory, or a cell's with its seeds. Rows of the last evaluated step after training count."""

from __future__ import annotations

from pathlib import Path

from ablate.errors import UserError
from ablate.files.parquet import read_parquet
from ablate.types import VerdictKind
from ablate_analysis.results.samples import Options, Results, Sample, choose

NAME = "ablate"
EVAL_FILE = "eval.parquet"


def matches(path: Path) -> bool:
    return path.is_dir() and bool(run_directories(path))


def run_directories(path: Path) -> list[Path]:
    """The runs at or below a directory that have evaluation rows."""
    if (path / EVAL_FILE).is_file():
        return [path]
    return sorted(file.parent for file in path.glob(f"**/seed*/{EVAL_FILE}"))


def cells(path: Path) -> dict[str, Path]:
    """Cell -> its directory, where ``path`` is an experiment of several cells; empty elsewhere."""
    found = {run.parent.relative_to(path).as_posix(): run.parent for run in run_directories(path) if run != path}
    return found if len(found) > 1 else {}


def read(path: Path, options: Options) -> Results:
    runs = run_directories(path)
    if len({run.parent for run in runs}) > 1:
        raise UserError(
            f"{path} holds {len(cells(path))} cells: name one of them, such as {next(iter(cells(path).values()))}"
        )
    results = Results(NAME)
    for run in runs:
        rows = read_parquet(run / EVAL_FILE)
        steps = sorted({row["step"] for row in rows})
        step = int(
            choose(str(options.step if options.step is not None else steps[-1]), [str(s) for s in steps], "step", run)
        )
        contexts = sorted({row["context"] for row in rows if row["step"] == step})
        wanted = None if options.context is None else str(options.context)
        context = int(choose(wanted, [str(each) for each in contexts], "context", run))
        results.conditions["context"] = str(context)
        for row in rows:
            if row["step"] == step and row["context"] == context:
                failed = row["verdict"] == VerdictKind.infrastructure_error
                name = row["problem_id"]
                results.samples.append(
                    Sample(
                        name,
                        None if failed else float(row["passed"]),
                        row["sample"],
                        run.name,
                        row["finished"],
                        row["num_tokens"],
                        f"{run.name}/{EVAL_FILE}",
                    )
                )
                facts = {key: row.get(key) for key in ("difficulty", "platform", "month")}
                results.about.setdefault(name, {key: str(value) for key, value in facts.items() if value})
    return results
