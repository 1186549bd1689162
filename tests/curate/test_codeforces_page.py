"""docs/data.md: a Codeforces training set with checkers, by the commands of the page on generated sets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ablate.cli import compose
from ablate.config import parse
from ablate.data.problems import load_problems
from ablate.verify.verifier import open_verifier

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def block_after(sentence: str) -> list[str]:
    return re.search(rf"{re.escape(sentence)}\n\n```sh\n(.*?)```", PAGE, re.DOTALL)[1].strip().splitlines()


def test_the_commands_of_the_page_make_a_training_set_with_checkers(tmp_path):
    published = block_after("A Codeforces training set with checkers, in five commands:")
    generated = block_after("On generated sets, with contest packages next to them:")
    assert len(published) == 5
    for line in generated:
        words = shlex.split(line, comments=True)
        if words[0] == "less":
            assert all((tmp_path / name).stat().st_size > 100 for name in words[1:])
            continue
        more = ["workers=2", f"verify.cache_dir={tmp_path / 'verdicts'}"] if "ablate.curate" in words else []
        command = [sys.executable, *words[1:], *more]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
    config = parse(compose([word for word in shlex.split(published[4])[3:] if word != "data.train=codeforces/train"]))
    assert config.verify.checker_time_limit_s > 0
    problems = load_problems(str(tmp_path / "codeforces" / "train"))
    kinds = Counter(each.checker.kind for each in problems if each.checker)
    assert kinds["python"] == 3
    assert kinds["kattis"] >= 2
    assert kinds["default"] == 1
    codeforces = next(each for each in problems if each.id == "codeforces/1901/A")
    assert (codeforces.rating, codeforces.tags, codeforces.num_examples) == (1100, "greedy, math", 2)
    verify = parse(compose(["verify.workers=1", "verify.cache=false"])).verify
    with open_verifier(verify) as verifier:
        assert verifier.submit(codeforces, "n = int(input())\nprint(1, 1, n + 1)").result().passed
        assert not verifier.submit(codeforces, "n = int(input())\nprint(n + 1, 1, 1)").result().passed
