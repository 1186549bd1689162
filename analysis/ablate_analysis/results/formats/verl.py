"""verl: ``<step>.jsonl`` of ``trainer.validation_data_dir`` or ``trainer.rollout_data_dir``, or that directory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ablate_analysis.results.files import first_line, json_lines
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of

NAME = "verl"


def matches(path: Path) -> bool:
    if path.is_dir():
        files = step_files(path)
        return bool(files) and is_row(first_line(files[max(files)]))
    return path.suffix == ".jsonl" and is_row(first_line(path))


def is_row(row: dict[str, Any]) -> bool:
    return {"input", "output", "score"} <= set(row)


def step_files(path: Path) -> dict[int, Path]:
    return {int(file.stem): file for file in path.glob("*.jsonl") if file.stem.isdigit()}


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    if path.is_dir():
        files = step_files(path)
        wanted = None if options.step is None else str(options.step)
        step = int(choose(wanted or str(max(files)), [str(each) for each in sorted(files)], "step", path))
        if options.step is None and len(files) > 1:
            results.notes.append(f"step {step} was read, the last of {len(files)}")
        path = files[step]
    last_outputs: dict[tuple[str, str], tuple[int, int]] = {}
    rows = []
    for number, row in json_lines(path):
        rows.append((number, row["input"], row.get("gts"), row.get("acc", row["score"]), row.get("uid")))
        if (uid := parts_of(row.get("uid"))) is not None:
            sample, output = uid
            if output >= last_outputs.get(sample, (-1, 0))[0]:
                last_outputs[sample] = output, number
    kept = {number for _, number in last_outputs.values()}
    dropped = len(rows) - len(kept) if kept else 0
    order: Counter[str] = Counter()
    alternative: dict[str, str] = {}
    for number, prompt, answer, value, uid in rows:
        if uid is not None and kept and number not in kept:
            continue
        problem = digest(prompt, answer)
        results.samples.append(
            Sample(problem, number_of(value, f"{path}:{number}: score"), order[problem], source=f"{path.name}:{number}")
        )
        order[problem] += 1
        if problem not in alternative:  # another model's template changes the prompt, but not the answer or the order
            alternative[problem] = f"{len(alternative)}: {digest('', answer)}"
            results.about[problem] = {"alternative": alternative[problem]}
    results.note_count(dropped, "rows are earlier outputs of a session whose last output counts")
    results.notes.append("rows have no id: a problem is its prompt and its answer")
    return results


def parts_of(uid: Any) -> tuple[tuple[str, str], int] | None:
    """((problem's uuid, session), output) of ``<uuid>_<session>_<output>``."""
    words = str(uid).rsplit("_", 2) if uid is not None else []
    return ((words[0], words[1]), int(words[2])) if len(words) == 3 and words[2].isdigit() else None


def digest(prompt: Any, answer: Any) -> str:
    return hashlib.sha256(json.dumps([prompt, answer], sort_keys=True, default=str).encode()).hexdigest()[:16]
