"""Examples as files, in the layout of each public data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import codeforces, deepcoder, others
from .codecontests_plus import codecontests_plus_rows, write_codecontests_plus
from .example import Example
from .icpc import icpc_rows, write_icpc
from .livecodebench import DATES, livecodebench_rows

LARGE_TEST_BYTES = 100 * 2**20
ROWS_PER_GROUP = 4
WINDOW = ("2024-08-01", "2025-05-01")


def examples(large_test_bytes: int = LARGE_TEST_BYTES) -> dict[str, dict[str, list[Example]]]:
    """Return every generated row by source and config, in the order of the files."""
    lcb = livecodebench_rows()
    return {
        "nouscoder": {"train": others.nouscoder_rows()},
        "deepcoder": {
            "primeintellect": deepcoder.primeintellect_rows(),
            "taco": deepcoder.taco_rows(large_test_bytes),
            "lcbv5": deepcoder.lcbv5_rows(),
            "lcbv5_test": deepcoder.lcbv5_test_rows(),
            "codeforces_test": deepcoder.codeforces_test_rows(),
        },
        "codeforces": {
            "verifiable": codeforces.codeforces_rows(),
            "verifiable_test": codeforces.codeforces_test_rows(),
        },
        "codecontests_plus": {"1x": codecontests_plus_rows()},
        "icpc": {"packages": icpc_rows()},
        "taco_verified": {"train": others.taco_verified_rows()},
        "primeintellect": {"train": others.primeintellect_rows()},
        "livecodebench": {f"v{number}": lcb[file] for number, file in enumerate(DATES, start=1)},
    }


def write_all(out: Path, large_test_bytes: int = LARGE_TEST_BYTES) -> dict[str, Path]:
    """Write every data set below ``out`` and return their directories by source."""
    sets = examples(large_test_bytes)
    for name, configs in sets.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        rows = {config: [example.columns for example in each] for config, each in configs.items()}
        WRITERS[name](out / name, rows)
        facts: dict[str, Any] = {"revision": "generated", "rows": {config: len(each) for config, each in rows.items()}}
        if name == "livecodebench":
            dates = [columns["contest_date"][:10] for each in rows.values() for columns in each]
            inside = sum(WINDOW[0] <= date <= WINDOW[1] for date in dates)
            facts["window"] = {"first": WINDOW[0], "last": WINDOW[1], "rows": inside}
        (out / name / "source.json").write_text(json.dumps(facts, indent=2) + "\n")
    return {name: out / name for name in sets}


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=ROWS_PER_GROUP)


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_deepcoder(out: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """One file per config and split, but two for primeintellect: the published data set has several."""
    for config, each in rows.items():
        name, _, split = config.partition("_")
        stem = f"{split or 'train'}-"
        if config == "primeintellect":
            write_parquet(out / name / f"{stem}00000-of-00002.parquet", each[:5])
            write_parquet(out / name / f"{stem}00001-of-00002.parquet", each[5:])
        else:
            write_parquet(out / name / f"{stem}00000-of-00001.parquet", each)


def write_livecodebench(out: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    for file, each in zip(DATES, rows.values(), strict=True):
        write_jsonl(out / file, each)


def write_codeforces(out: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    write_parquet(out / "verifiable" / "train-00000-of-00001.parquet", rows["verifiable"])
    write_parquet(out / "verifiable" / "test-00000-of-00001.parquet", rows["verifiable_test"])
    write_parquet(out / "generated_tests" / "test_cases_1910.parquet", codeforces.GENERATED)


WRITERS = {
    "codeforces": write_codeforces,
    "codecontests_plus": write_codecontests_plus,
    "icpc": write_icpc,
    "nouscoder": lambda out, rows: write_jsonl(out / "rl_train.jsonl", rows["train"]),
    "deepcoder": write_deepcoder,
    "taco_verified": lambda out, rows: (out / "taco_verified.json").write_text(json.dumps(rows["train"])),
    "primeintellect": lambda out, rows: write_parquet(out / "data" / "train-00000-of-00001.parquet", rows["train"]),
    "livecodebench": write_livecodebench,
}
