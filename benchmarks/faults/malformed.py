"""Part d: mutated inputs of every kind that a user hands over. Each one works or is refused in one sentence, code 2."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.check_run import check_run
from ablate.cli import compose, run_main
from ablate.config import parse
from ablate.data.problems import load_problems
from ablate.data.submissions import read_submissions
from ablate.records import RunDirectory
from ablate.records.rollouts import read_step
from ablate.verify.verdict_file import keep_finished
from ablate_analysis.cases import replay_file
from benchmarks.faults.kills import unbroken, unbroken_outputs
from benchmarks.faults.runs import ROOT, run_directory
from benchmarks.faults.table import Trial, TrialFile

CASES = ROOT / "tests" / "verify" / "judge_cases.jsonl"
BAD_VALUES = (
    "-1",
    "0",
    "null",
    "nan",
    "inf",
    "x",
    "[]",
    "{}",
    "[1,2]",
    "1e309",
    "true",
    "''",
    "'\\u0000'",
    "99999999999",
)
BAD_JSON = (None, -1, 0, [], {}, "x", "\0", 1e308, True, [[]], {"a": 1}, "\ud800")
BAD_BYTES = (b"\0" * 8, b"\xff\xfe", b"[" * 100_000, b"{}", b"\n\n", b'"', b"NaN")


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Damage a file as disks, editors and people do; for JSON lines, half of the time one value of one line."""
    lines = content.splitlines()
    if draw.random() < 0.5:
        with contextlib.suppress(ValueError, UnicodeDecodeError, IndexError):
            number = draw.randrange(len(lines))
            row = json.loads(lines[number])
            lines[number] = json.dumps(with_bad_value(row, draw)).encode()
            return b"\n".join(lines) + b"\n"
    at = draw.randrange(max(len(content), 1))
    damage: list[Callable[[], bytes]] = [
        lambda: content[:at],
        lambda: b"",
        lambda: content[:at] + draw.choice(BAD_BYTES) + content[at:],
        lambda: content[:at] + draw.randbytes(16) + content[at + 16 :],
        lambda: content + content,
        lambda: content[:at] + content[at + draw.randrange(1, 200) :],
    ]
    return draw.choice(damage)()


def with_bad_value(row: Any, draw: random.Random) -> Any:
    """A copy of a JSON value in which one field, at any depth, is missing or has a bad value."""
    if not isinstance(row, dict | list) or not row or draw.random() < 0.2:
        return draw.choice(BAD_JSON)
    key = draw.choice(list(row) if isinstance(row, dict) else range(len(row)))
    if isinstance(row, dict) and draw.random() < 0.2:
        return {name: value for name, value in row.items() if name != key}
    changed = row.copy()
    changed[key] = with_bad_value(row[key], draw)
    return changed


# --- one reader for each kind of input; each takes a scratch directory and returns what a command would do -----------


def configuration(scratch: Path, draw: random.Random) -> Callable[[], object]:
    keys = flat_keys(compose([]))
    words = [f"{draw.choice(keys)}={draw.choice(BAD_VALUES)}" for _ in range(draw.randrange(1, 3))]
    return lambda: check(words)


def task_list(scratch: Path, draw: random.Random) -> Callable[[], object]:
    line = b"experiment=tiny objective=gspo seed=1 optim.lr=1e-4 rollout.prompts_per_step=4"
    words = mutated(line, draw).decode("utf-8", "replace").split()
    return lambda: check(words)


def check(words: list[str]) -> None:
    sys.argv[1:] = words
    values = compose(words, with_hydra=True)
    hydra = values.hydra
    from omegaconf import open_dict

    with open_dict(values):
        del values["hydra"]
    check_run(values, hydra)


def flat_keys(values: Any, prefix: str = "") -> list[str]:
    keys = []
    for key in values:
        try:
            value = values[key]
        except Exception:  # an interpolation that only a command resolves
            continue
        keys += flat_keys(value, f"{prefix}{key}.") if hasattr(value, "items") else [f"{prefix}{key}"]
    return keys


def problem_file(scratch: Path, draw: random.Random) -> Callable[[], object]:
    source = draw.choice([CASES, *sorted((ROOT / "src/ablate/data/shipped").glob("*.jsonl"))])
    content = b"".join(source.read_bytes().splitlines(keepends=True)[:3])
    path = put(scratch / "problems.jsonl", mutated(content, draw))
    return lambda: load_problems(str(path))


def submissions(scratch: Path, draw: random.Random) -> Callable[[], object]:
    content = b"".join(CASES.read_bytes().splitlines(keepends=True)[:2])
    path = put(scratch / "cases.jsonl", mutated(content, draw))
    return lambda: list(read_submissions(path, lambda number, reason: None))


def verdict_file(scratch: Path, draw: random.Random) -> Callable[[], object]:
    row = {
        "id": "p",
        "file": "a.py",
        "verdict": "accepted",
        "passed": True,
        "num_passed": 1,
        "num_tests": 1,
        "key": "0f",
    }
    content = b"".join(json.dumps({**row, "key": str(key)}).encode() + b"\n" for key in range(4))
    path = put(scratch / "out.jsonl", mutated(content, draw))
    return lambda: keep_finished(path)


def replay_cases(scratch: Path, draw: random.Random) -> Callable[[], object]:
    from ablate.check_run import objective_with

    case = {"objective": "grpo", "groups": [[{"reward": 1.0, "logp": [-1.0, -2.0], "old_logp": [-1.1, -2.0]}]]}
    path = put(scratch / "cases.json", mutated(json.dumps([case]).encode(), draw))
    return lambda: replay_file(path, scratch / "replayed.json", lambda name: objective_with(name, []))


def rollouts(scratch: Path, draw: random.Random, run: RunDirectory) -> Callable[[], object]:
    copy = RunDirectory(scratch / "run")
    copy.steps.rollouts_path.mkdir(parents=True)
    put(copy.steps.rollouts_file(1), mutated(run.steps.rollouts_file(1).read_bytes(), draw))
    return lambda: read_step(copy, 1)


def run_records(scratch: Path, draw: random.Random, run: RunDirectory) -> Callable[[], object]:
    """A run directory with one damaged file, as ablate.plan and ablate.report read it."""
    copy = RunDirectory(scratch / "run")
    shutil.copytree(run.path, copy.path, ignore=shutil.ignore_patterns("checkpoints", "wandb", "rollouts"))
    paths = [copy.manifest.path, copy.steps.metrics_path, copy.steps.eval_path, copy.selected_path]
    path = draw.choice(paths)
    put(path, mutated(path.read_bytes(), draw))
    return lambda: (copy.state(), copy.steps.metrics(), copy.steps.eval_rows(), copy.selected())


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# --- trials -----------------------------------------------------------------------------------------------------------


def run_malformed(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """``count`` inputs, the same number of each kind; those that are in the file already are not made again."""
    unbroken("single process", work)
    run = run_directory(unbroken_outputs("single process", work))
    done = Counter(trial.fault for trial in file.read() if trial.part == "malformed")
    kinds: dict[str, Callable[[Path, random.Random], Callable[[], object]]] = {
        "configurations": configuration,
        "task lists": task_list,
        "problem files": problem_file,
        "submissions": submissions,
        "verdict files": verdict_file,
        "cases of ablate.replay": replay_cases,
        "rollouts": lambda scratch, draw: rollouts(scratch, draw, run),
        "records of a run": lambda scratch, draw: run_records(scratch, draw, run),
    }
    share = -(-count // (len(kinds) + 1))
    for kind, make in kinds.items():
        for number in range(done[kind], share):
            with tempfile.TemporaryDirectory() as scratch:
                draw = random.Random(f"{seed}/{kind}/{number}")
                read = make(Path(scratch), draw)
                before = contents(Path(scratch))
                outcome, said = outcome_of(read)
                if outcome != "accepted" and contents(Path(scratch)) != before:
                    outcome = "refused, and a file was changed"
                file.append(Trial("malformed", kind, True, outcome, f"{number}: {said}"))
    run_checkpoints(file, range(done["checkpoints"], share), seed)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def outcome_of(read: Callable[[], object]) -> tuple[str, str]:
    """Call a reader as a command's main function would be called; return the outcome and what a person would see."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            run_main(read)
    except SystemExit as stop:
        sentence = said.getvalue().strip()
        is_one = stop.code == 2 and sentence.startswith("error: ") and "\n" not in sentence
        return ("refused in one sentence" if is_one else f"exit code {stop.code}"), sentence[:300]
    except BaseException as error:
        return f"traceback: {type(error).__name__}", str(error)[:300]
    return "accepted", ""


def run_checkpoints(file: TrialFile, numbers: range, seed: int) -> None:
    """Damage the newest of two checkpoints: the trainer must skip it in a sentence and load the other, or load it."""
    from ablate.trainer.open import open_trainer
    from ablate.warm_start import ensure_model

    config = parse(compose([]))
    trainer = open_trainer(config, ensure_model(config))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "whole")
        for step in (1, 2):
            trainer.checkpoints.save(root, step, {"step": step}, keep=2, best=None)
        trainer.checkpoints.finish_save()
        for number in numbers:
            draw = random.Random(f"{seed}/checkpoints/{number}")
            damaged = Path(directory, "damaged")
            shutil.copytree(root, damaged)
            path = draw.choice([path for path in damaged.joinpath("step_000002").rglob("*") if path.is_file()])
            before = path.read_bytes()
            path.unlink() if draw.random() < 0.2 else put(path, mutated(before, draw))
            said: list[str] = []
            try:
                extra = trainer.checkpoints.load_newest(damaged, said.append)
                skipped = "skipped in one sentence, the older one loaded"
                outcome = skipped if said and extra == {"step": 1} else "accepted" if extra == {"step": 2} else "lost"
            except Exception as error:
                outcome = f"traceback: {type(error).__name__}"
                said.append(str(error))
            file.append(
                Trial("malformed", "checkpoints", True, outcome, f"{number}: {path.name} {' '.join(said)[:200]}")
            )
            shutil.rmtree(damaged)
