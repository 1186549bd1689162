"""Two small runs whose texts try to break out of a page: the recorded ones with rollouts written by an enemy."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from ablate.files.parquet import write_parts
from ablate.records import RunDirectory, write_parquet
from ablate.records.token_values import token_file
from ablate.types import EvalRow

ATTACKS = (
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    '"><svg onload="window.pwned = 1">',
    "' onmouseover='window.pwned = 1' x='",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "javascript:window.pwned=1",
    '<a href="javascript:window.pwned=1">click</a>',
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "<style>* { display: none }</style>",
    "{{ 7 * 7 }}{% raw %}${window.pwned = 1}`",
    "</textarea></pre></details><base href='https://example.org/'>",
    "\u2028\u2029\x00\u202e]]>",
)
PROGRAM = 'import sys  # <b onclick="window.pwned = 1">\ns = """</script>"""\nprint(len(s) + 41)\n'
NUM_ROLLOUTS, GROUP = 250, 5
OBJECTIVES = ("grpo", "gspo")


def write_hostile_runs(recorded: Path, target: Path) -> Path:
    """Copy two recorded runs to ``target`` and give the first one hostile rollouts, tokens, names and errors."""
    for name in ("grpo/seed0", "dapo/seed0"):
        shutil.copytree(recorded / "tiny" / name, target / name)
    run = RunDirectory(target / "grpo" / "seed0")
    config = run.config_path.read_text().replace("label: GRPO", f"label: {json.dumps(ATTACKS[1])}")
    run.config_path.write_text(config)
    manifest = run.manifest.read()
    manifest["attempts"][0]["host"] = ATTACKS[2]
    run.manifest.path.write_text(
        json.dumps({**manifest, "error": f"\ud800{ATTACKS[0]}", "packages": {ATTACKS[0]: ATTACKS[3]}})
    )
    for step in (39, 40):
        rows = [rollout(step, index) for index in range(NUM_ROLLOUTS)]
        run.steps.write_rollouts(step, rows)
        run.steps.write_failed_tests(step, [failed_test(index) for index, row in enumerate(rows) if row["reward"] < 0])
    for name in ("grpo/seed0", "dapo/seed0"):
        evaluated = RunDirectory(target / name)
        rows = evaluated.steps.eval_rows()
        for step, context in sorted({(row.step, row.context) for row in rows}):
            texts = [
                text_of(index, row) for index, row in enumerate(rows) if (row.step, row.context) == (step, context)
            ]
            write_parquet(evaluated.eval_texts.file(step, context), texts)
            failed = [{"row": index, **failed_test(index)} for index, row in enumerate(texts) if row["num_passed"] < 10]
            write_parquet(
                evaluated.eval_texts.failed_file(step, context),
                [{k: v for k, v in row.items() if k != "rollout"} for row in failed],
            )
    write_parts(token_file(run.path / "laboratory", 40, 40), [[tokens(index) for index in range(10)]])
    return target


def attack(index: int) -> str:
    return ATTACKS[index % len(ATTACKS)]


def rollout(step: int, index: int) -> dict[str, Any]:
    rng = random.Random(f"{step} {index}")
    passed, length = rng.random() < 0.4, rng.randrange(3, 90)
    verdict = "accepted" if passed else ("wrong_answer", "time_limit")[index % 2]
    text = f"{attack(index)}\n```python\n{PROGRAM}```\n" if index % 10 else attack(index)
    return {
        "step": step, "group": index // GROUP, "problem_id": f"p{index // GROUP} {attack(index // GROUP)}",
        "difficulty": "easy",
        "statement": f"Print 42. {attack(index // GROUP + 1)}", "prompt": f"<|im_start|>Print 42.{attack(index)}",
        "sample": index % GROUP, "seed": index, "prompt_ids": [1, 2], "response_ids": [7] * length,
        "rollout_logp": [-0.5] * length, "old_logp": [-0.5] * length, "text": text, "finished": length < 80,
        "reward": 1.0 if passed else -1.0, "verdict": verdict,
        "num_passed": 10 if passed else 3, "num_tests": 10, "advantage": rng.gauss(0.0, 1.0), "in_loss": index % 7 > 0,
        "update": 0,
    }  # fmt: skip


def text_of(index: int, row: EvalRow) -> dict[str, Any]:
    """The texts of an evaluation sample."""
    return {
        "problem_id": row.problem_id, "difficulty": row.difficulty, "statement": f"Print 42. {attack(index)}",
        "prompt": f"<|im_start|>{attack(index + 1)}", "sample": row.sample,
        "text": f"{ATTACKS[0]}{attack(index + 2)}\n```python\n{PROGRAM}```\n", "num_tokens": row.num_tokens,
        "finished": row.finished, "verdict": row.verdict, "num_passed": 10 if row.passed else 3, "num_tests": 10,
    }  # fmt: skip


def failed_test(index: int) -> dict[str, Any]:
    texts = {"input": attack(index), "expected": "42\n", "got": attack(index + 1), "detail": attack(index + 2)}
    return {"rollout": index, "test": 3, **texts}


def tokens(index: int) -> dict[str, Any]:
    """Thirteen hostile tokens and 3,000 plain ones; the second objective moves only the first three tokens."""
    texts = [*ATTACKS, *["x\n"] * 3000]
    rng = random.Random(index)
    values = {name: [rng.gauss(0.0, 0.01) for _ in texts] for name in ("logp", "old_logp", "rollout_logp")}
    row = {"rollout": index, "problem_id": f"p{index // GROUP}", "sample": index % GROUP, "tokens": texts, **values}
    for name in OBJECTIVES:
        moved = [rng.choice((-1.0, 1.0)) if name == "grpo" or place < 3 else 0.0 for place in range(len(texts))]
        row[f"{name}/share"] = [value / 10_000 for value in moved]
        row[f"{name}/clip"] = [int(value) if place < 5 else 0 for place, value in enumerate(moved)]
        row[f"{name}/log_ratio"] = [value / 10 for value in moved]
    return row
