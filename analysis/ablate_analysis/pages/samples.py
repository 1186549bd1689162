"""samples.html: every problem x cell, and the evaluation samples behind each number, two cells side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.verify.extract import EXTRACTIONS
from ablate_analysis.load import Experiment, Run
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.pages.document import render_page
from ablate_analysis.pages.figure_data import cells_of
from ablate_analysis.pages.payload import pack, write_side_file
from ablate_analysis.pages.rollouts import chunks_of
from ablate_analysis.render import difficulty_order

SCRIPTS = ("core.js", "cells.js", "highlight.js", "samples.js")


def write_samples_page(experiment: Experiment, folder: Path, limit: int | None) -> Path | None:
    """Write the page and its side files below ``folder``; None where no finished run was evaluated.

    Args:
        limit: samples per problem whose texts get side files; None for all.
    """
    scores = experiment.scores
    if scores.empty:
        return None
    first = scores.drop_duplicates("problem_id").set_index("problem_id")["difficulty"]
    problems = sorted(first.index, key=lambda problem: (difficulty_order(first[problem]), problem))
    texts = [write_texts(run, index, problems, folder, limit) for index, run in enumerate(experiment.runs)]
    names = {**experiment.names, **({WARM_START: "Warm start"} if (scores["step"] == 0).any() else {})}
    data = {
        "cells": cells_of(names),
        "warm_start": WARM_START,
        "problems": problems,
        "difficulties": [first[problem] for problem in problems],
        "contexts": sorted(int(context) for context in scores["context"].unique()),
        "shares": shares(scores, problems),
        "runs": [
            {"cell": run.cell, "name": run.name, "seed": run.seed, "texts": kept}
            for run, kept in zip(experiment.runs, texts, strict=True)
        ],
    }
    page = folder / "samples.html"
    page.write_text(
        render_page("samples.html.jinja", SCRIPTS, experiment=experiment.name, has_texts=any(texts), data=pack(data)),
        encoding="utf-8",
    )
    return page


def shares(scores: pd.DataFrame, problems: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Context -> cell, and for each problem the samples that passed and all samples, of the last step of every run."""
    last = scores["step"] == scores.groupby("run")["step"].transform("max")
    parts = [(str(cell), part) for cell, part in scores[last & (scores["step"] > 0)].groupby("cell")]
    start = scores[scores["step"] == 0]
    if len(start):  # every run starts from one model, so one of them speaks for all
        parts.append((WARM_START, start[start["run"] == start["run"].iloc[0]]))
    found: dict[str, list[dict[str, Any]]] = {}
    for cell, part in parts:
        for context, rows in part.groupby("context"):
            counts = rows.groupby("problem_id")["passed"].agg(["sum", "size"]).reindex(problems).fillna(0)
            found.setdefault(str(int(context)), []).append(
                {"cell": cell, "passed": [int(n) for n in counts["sum"]], "samples": [int(n) for n in counts["size"]]}
            )
    return found


def write_texts(
    run: Run, number: int, problems: Sequence[str], folder: Path, limit: int | None
) -> list[dict[str, Any]]:
    """Write the texts of one run; return where they are: step, context, path, and the chunk of every problem."""
    extract = EXTRACTIONS[run.config.get("verify", {}).get("extraction", "last_block")]
    place = {problem: index for index, problem in enumerate(problems)}
    kept = []
    for step, context in run.directory.eval_texts.kept():
        rows = run.directory.eval_texts.rows(step, context)
        failed = run.directory.eval_texts.failed_tests(step, context)
        by_problem: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for index, row in enumerate(rows):
            samples = by_problem.setdefault(place.get(row["problem_id"], -1), [])
            if limit is None or len(samples) < limit:
                samples.append((index, row))
        by_problem.pop(-1, None)
        chunks = chunks_of([sum(len(row["text"]) for _, row in samples) for samples in by_problem.values()])
        chunk_of = dict(zip(by_problem, chunks, strict=True))
        path = f"samples/run_{number}/step_{step:05d}_{context}"
        for chunk in range(chunks[-1] + 1 if chunks else 0):
            members = {index: samples for index, samples in by_problem.items() if chunk_of[index] == chunk}
            write_side_file(folder, f"{path}/texts_{chunk}", {
                index: {"statement": samples[0][1]["statement"], "prompt": samples[0][1]["prompt"],
                        "samples": [sample_of(row, failed.get(position), extract) for position, row in samples]}
                for index, samples in members.items()
            })  # fmt: skip
        kept.append({"step": step, "context": context, "path": path, "chunk": chunk_of})
    return kept


def sample_of(row: Mapping[str, Any], failed: Mapping[str, Any] | None, extract: Any) -> dict[str, Any]:
    columns = ("sample", "verdict", "finished", "num_tokens", "num_passed", "num_tests")
    test = {name: failed[name] for name in ("test", "input", "expected", "got", "detail")} if failed else None
    return {
        **{name: row[name] for name in columns},
        "response": row["text"],
        "program": extract(row["text"]),
        "failed_test": test,
    }
