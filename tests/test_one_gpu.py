"""docs/one_gpu.md: every command is typed here, with what is tested elsewhere composed in place of run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from huggingface_hub.cli.hf import app

import ablate.estimate.__main__
import ablate.report
import ablate_analysis.finished
from ablate.cli import compose
from ablate.config import parse
from ablate.curate.settings import CurateConfig
from ablate.errors import UserError
from ablate.estimate.cells import estimates_of
from ablate.estimate.decode import kv_room
from ablate.estimate.host import Machine
from ablate.estimate.machine import check_machine
from ablate.estimate.memory import rank_memory
from ablate.estimate.page import number
from ablate.estimate.settings import estimate_settings
from ablate.sweep import planned_runs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "one_gpu.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CPU_WORDS = re.search(r'^cpu="(.*)"$', PAGE, re.MULTILINE)[1]
EIGHT, ON_CPU = ([shlex.split(line.replace("$cpu", CPU_WORDS)) for line in block.splitlines()] for block in BLOCKS)
ROWS = re.findall(r"^\| `(device=\w+)`[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)


def words_of(lines, command):
    """The words of every line with this command."""
    return [words[words.index(command) + 1 :] for words in lines if command in words]


def test_there_are_eight_commands_and_each_is_typed_by_a_test():
    assert len(EIGHT) == 8
    tested = ("hf", "ablate.curate", "ablate.doctor", "ablate.estimate", "ablate.train", "ablate.report")
    assert [word for words in EIGHT for word in tested if word in words] == [*["hf"] * 3, *tested[1:]]
    assert [word for words in ON_CPU for word in tested if word in words] == list(tested[1:])


@pytest.mark.parametrize("words", words_of(EIGHT, "hf"), ids=lambda words: words[1])
def test_a_download_is_what_the_hub_s_command_understands_and_what_a_later_command_reads(words, monkeypatch):
    """The hub's own command line; only the transfer itself is left out."""
    asked = {}
    monkeypatch.setattr(
        "huggingface_hub.cli.download.snapshot_download", lambda **options: asked.update(options) or "here"
    )
    app(words, standalone_mode=False)
    assert (asked["repo_id"], str(asked["local_dir"])) == (words[1], words[words.index("--local-dir") + 1])
    read = [word.partition("=")[2] for word in EIGHT[3]] + [compose(["experiment=one_gpu"]).model.path]
    assert str(asked["local_dir"]) in read


@pytest.mark.parametrize("lines", [EIGHT, ON_CPU], ids=["gpu", "cpu"])
def test_the_curated_problems_are_those_that_the_run_reads(lines, monkeypatch):
    (words,) = words_of(lines, "ablate.curate")
    assert "out=problems" in words
    config = compose([word for word in words if not word.startswith("out=")], config_name="curate")
    assert set(CurateConfig.__dataclass_fields__) <= set(config)
    monkeypatch.delenv("ABLATE_PROBLEMS", raising=False)
    assert compose(["experiment=one_gpu"]).data.train == "problems/train"


def test_the_page_of_the_estimate_names_the_card(capsys, monkeypatch):
    (words,) = words_of(EIGHT, "ablate.estimate")
    monkeypatch.setattr(sys, "argv", ["ablate.estimate", *words])
    ablate.estimate.__main__.main()
    assert "one_gpu on rtx4090: all 4 runs take 22 device hours" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["ablate.doctor", "ablate.estimate", "ablate.train"])
@pytest.mark.parametrize("lines", [EIGHT, ON_CPU], ids=["gpu", "cpu"])
def test_every_run_that_a_line_stands_for_may_start(lines, command):
    (words,) = words_of(lines, command)
    overrides = [word for word in words if word != "-m" and not word.startswith(("device=", "assumptions."))]
    runs = planned_runs(overrides)
    assert len({run.directory for run in runs}) == len(runs) == 4
    assert {run.config.model.name for run in runs} == {"qwen3_0_6b" if lines is EIGHT else "tiny"}


def test_the_report_of_the_four_runs_opens(tmp_path, monkeypatch, capsys):
    """On recorded runs of the same two objectives, under the name of the experiment."""
    (words,) = words_of(EIGHT, "ablate.report")
    recorded = ROOT / "tests" / "analysis" / "fixture_outputs" / "tiny"
    for cell in ("grpo", "dapo"):
        shutil.copytree(recorded / cell, tmp_path / "outputs" / "one_gpu" / cell)
    monkeypatch.chdir(tmp_path)
    small = ["report.resamples=200", "report.run_pages=false"]
    monkeypatch.setattr(sys, "argv", ["ablate.report", *words, *small])
    monkeypatch.setattr(ablate_analysis.finished, "all_figures", lambda *_: [])
    ablate.report.main()
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "words", "grpo", "dapo", "memory"), ROWS, ids=[f"{a} {b}" for a, b, *_ in ROWS])
def test_the_hours_and_the_memory_of_every_card_are_estimated_and_fit(device, words, grpo, dapo, memory):
    (assumed,) = words_of(EIGHT, "ablate.estimate")
    runs = [run.config for run in planned_runs(["experiment=one_gpu", "seed=0", *words.strip(" `").split()])]
    card, assumptions = estimate_settings([device, *(word for word in assumed if word.startswith("assumptions."))])
    estimators = list(estimates_of(runs, card, assumptions).values())
    assert [number(estimator.run().hours) for estimator in estimators] == [grpo.strip(), dapo.strip()]
    config, shape = runs[0], estimators[0].shape
    rank = rank_memory(shape, config.parallel).on(card) / 1e9
    engine = config.rollout.engine.gpu_memory_utilization * card.memory_bytes / 1e9
    assert memory.strip() == f"{rank:.0f} + {engine:.0f} of {card.memory_bytes / 1e9:.0f}"
    assert rank + engine < card.memory_bytes / 1e9
    assert kv_room(shape, config.rollout.engine, card.memory_bytes, card.engine_gib * 2**30) > 4 * 4096
    check_machine(config, Machine(1, 1, gpus_per_node=1, gpu_bytes=card.memory_bytes), shape)


def test_without_the_offload_a_larger_model_does_not_fit_the_smaller_card():
    config = parse(compose(["experiment=one_gpu", "model=qwen3_1_7b"]))
    card, _ = estimate_settings(["device=rtx4090"])
    shape = next(iter(estimates_of([config], *estimate_settings(["device=rtx4090"])).values())).shape
    with pytest.raises(UserError, match=r"lower rollout\.engine\.gpu_memory_utilization"):
        check_machine(config, Machine(1, 1, gpus_per_node=1, gpu_bytes=card.memory_bytes), shape)


def test_what_the_offload_saves_and_costs_is_estimated():
    plain, moved = (
        next(iter(estimates_of([config], *estimate_settings(["device=rtx4090"])).values()))
        for config in (parse(compose(["experiment=one_gpu", *words])) for words in ([], ["parallel=gpu1_offload"]))
    )
    saved = rank_memory(plain.shape, plain.config.parallel).optimizer
    assert rank_memory(moved.shape, moved.config.parallel).optimizer == 0
    assert f"{saved / 1e9:.1f} GB on the GPU" in PAGE
    slower_s = moved.trainer.optimizer_s() - plain.trainer.optimizer_s()
    assert f"{slower_s:.1f} s more an update" in PAGE
