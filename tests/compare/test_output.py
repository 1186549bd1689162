"""What is written: one page with inert texts, markdown, CSV; and a start without torch, hydra or pandas."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import numpy as np
from other_files import lines


def write_two(tmp_path, name="p"):
    paths = []
    for letter, share in (("a", 3), ("b", 6)):
        rows = [
            {"problem": f"{name}{p}", "sample": n, "passed": (p + n) % 10 < share, "difficulty": name}
            for p in range(30)
            for n in range(2)
        ]
        paths.append(lines(tmp_path / f"{letter}.jsonl", rows))
    return paths


def test_the_written_files_hold_the_same_numbers(tmp_path, compare):
    first, second = write_two(tmp_path)
    out = compare(f"a={first}", f"b={second}", f"out={tmp_path / 'out'}")
    rows = list(csv.reader((tmp_path / "out" / "differences.csv").open()))
    assert rows[1][0] == "b - a"
    assert rows[1][1] in out
    page = (tmp_path / "out" / "compare.html").read_text()
    assert rows[1][1] in page
    assert "<svg" in page
    assert rows[1][1] in (tmp_path / "out" / "compare.md").read_text()


def test_texts_of_the_files_stay_inert_on_the_page(tmp_path, compare):
    hostile = "<script>alert(1)</script>\"'&|"
    first, second = write_two(tmp_path, hostile)
    compare(f"a={first}", f"<b>={second}", f"out={tmp_path / 'out'}")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_the_page_asks_for_nothing_from_a_network(tmp_path, compare):
    first, second = write_two(tmp_path)
    compare(f"a={first}", f"b={second}", f"out={tmp_path / 'out'}")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "http" not in page
    assert "src=" not in page


def test_a_comparison_imports_no_trainer_engine_or_configuration_system(tmp_path):
    first, second = write_two(tmp_path)
    script = (
        "import sys; from ablate.compare import main; "
        f"main(['a={first}', 'b={second}', 'out={tmp_path / 'out'}']); "
        "heavy = {'torch', 'vllm', 'megatron', 'hydra', 'pandas', 'matplotlib', 'transformers'}; "
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout


def test_pairs_all_compares_every_two_arms(tmp_path, compare):
    first, second = write_two(tmp_path)
    out = compare(f"a={first}", f"b={second}", f"c={first}", "pairs=all")
    assert all(f"{pair}" in out for pair in ("b - a", "c - a", "c - b"))
    assert "choose one of a, b" in compare(f"a={first}", f"b={second}", "baseline=z")


def test_effect_and_hours_say_what_a_difference_of_interest_costs(tmp_path, compare):
    rng = np.random.default_rng(0)
    rate_P = rng.random(30)
    for name in "abcdef":
        passed_PN = rng.random((30, 2)) < rate_P[:, None]
        rows = [{"problem": p, "sample": n, "passed": bool(v)} for (p, n), v in np.ndenumerate(passed_PN)]
        lines(tmp_path / f"seed{name}.jsonl", [{**row, "seed": f"s{ord(name) % 3}"} for row in rows])
    joined = [
        lines(tmp_path / f"{arm}.jsonl", [json.loads(text) for name in names
                                          for text in (tmp_path / f"seed{name}.jsonl").read_text().splitlines()])
        for arm, names in (("x", "abc"), ("y", "def"))
    ]  # fmt: skip
    paths = f"x={joined[0]}", f"y={joined[1]}"
    out = " ".join(compare(*paths, "runs_match=true", "effect=0.001", "hours_per_run=100").split())
    assert "difference of 0.1 points" in out
    assert "cover other problems, other samples and other training runs" in out
    out = " ".join(compare(*paths, "runs_match=true", "effect=0.03", "hours_per_run=100").split())
    assert re.search(r"it would take .*\d+ runs of each arm \([\d,]+ hours\)", out)
    assert "must lie between 0 and 1" in compare(*paths, "effect=5")
