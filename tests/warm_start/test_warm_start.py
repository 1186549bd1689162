"""Two short builds, each in a process of its own as always, serve all tests of this file."""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ablate import objectives
from ablate.cli import compose
from ablate.config import parse
from ablate.data.problems import load_problems
from ablate.data.prompts import make_prompts
from ablate.data.templates import Templates
from ablate.data.tokenizer import load_tokenizer
from ablate.errors import UserError
from ablate.warm_start import ensure_model
from ablate.warm_start.build import initial_weights, lesson_batches
from ablate.warm_start.recipe import build_config, digest, make_recipe


def short_config(cache, *overrides):
    config = parse(compose([f"paths.cache={cache}", *overrides]))
    first, last = config.model.build["lessons"]
    config.model.build["lessons"] = [{**first, "steps": 6, "batch_size": 4}, {**last, "steps": 2, "batch_size": 4}]
    config.model.build["optim"]["warmup_steps"] = 1
    return config


BUILD = """
import sys
from ablate.warm_start import cache
sys.path.insert(0, {tests!r})
from test_warm_start import short_config
cache.ensure_model(short_config(sys.argv[1]))
"""


def begin_build(cache: Path) -> tuple[subprocess.Popen, int]:
    """A process that waits for a build, and a descriptor that is readable once the builder has ended."""
    command = [sys.executable, "-c", BUILD.format(tests=str(Path(__file__).parent)), str(cache)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    return process, os.pidfd_open(builder_of(process))


def builder_of(process: subprocess.Popen) -> int:
    """The process that builds, once it runs."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        for child in children.read_text().split():
            if b"ablate.warm_start.build" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.01)
    raise AssertionError("nothing builds")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A model whose build finished while the process that waited for it was stopped, and then killed."""
    cache = tmp_path_factory.mktemp("cache")
    process, builder = begin_build(cache)
    process.send_signal(signal.SIGSTOP)
    assert select.select([builder], [], [], 100)[0]
    os.close(builder)
    process.kill()
    process.wait()
    config = short_config(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", shutil.which("false"))
        return config, ensure_model(config)


@pytest.fixture(scope="module")
def contested(tmp_path_factory):
    """A cache in which a build was killed, and which two then ask at once."""
    cache = tmp_path_factory.mktemp("contested")
    config = short_config(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", shutil.which("false"))
        with pytest.raises(RuntimeError, match="exit status"):
            ensure_model(config)
    (left_over,) = cache.glob(".*.unfinished")
    (left_over / "model.safetensors").write_text("half")
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == []
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(ensure_model, [config, config]))
    return cache, paths


def test_a_build_is_the_same_to_the_bit(built, contested):
    names = sorted(path.name for path in built[1].iterdir())
    assert "model.safetensors" in names
    for name in names:
        assert (built[1] / name).read_bytes() == (contested[1][0] / name).read_bytes(), name


def test_two_that_ask_at_once_get_one_model_and_a_killed_build_leaves_none(contested):
    cache, (first, second) = contested
    assert first == second
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == [first]
    assert list(cache.glob("*.unfinished")) + list(cache.glob(".*.unfinished")) == []


def test_a_build_ends_with_the_process_that_waits_for_it_and_frees_the_cache(tmp_path):
    process, builder = begin_build(tmp_path)
    process.kill()
    process.wait()
    assert select.select([builder], [], [], 60)[0], "the build lives on"
    os.close(builder)
    with (next(tmp_path.glob(".*.lock"))).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_build_that_finished_is_used_although_the_process_that_waited_for_it_was_killed(built):
    assert (built[1] / "model.safetensors").is_file()


def test_a_model_in_the_cache_is_not_built_again(built, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert ensure_model(built[0]) == built[1]


def test_transformers_loads_what_was_built(built):
    config, path = built
    model = AutoModelForCausalLM.from_pretrained(path)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert sum(parameter.numel() for parameter in model.parameters()) == config.model.num_parameters
    assert model.config.max_position_embeddings == config.model.original_context
    assert model.config.vocab_size == len(load_tokenizer(path))
    assert model.generation_config.eos_token_id == load_tokenizer(path).eos_token_id
    assert model.generation_config.temperature == 1.0


def test_a_lesson_makes_the_demonstrations_likelier(built):
    config, path = built
    build = replace(build_config(config.model), seed=99)
    batch = next(lesson_batches(build, objectives.build(build.objective), path, config.model.original_context))
    model = AutoModelForCausalLM.from_pretrained(path)

    def nats_per_token():
        with torch.no_grad():
            logp_BTV = model(batch.tokens_BS).logits[:, :-1].log_softmax(-1)
        logp_BT = logp_BTV.gather(-1, batch.tokens_BS[:, 1:, None])[..., 0]
        return -(batch.weight_BT * logp_BT).sum().item()

    after = nats_per_token()
    with torch.no_grad():
        parameters = model.state_dict()
        for name, tensor in initial_weights(path, build_config(config.model)):
            parameters[name].copy_(tensor)
    assert after < nats_per_token() - 0.5


def test_no_evaluation_problem_is_demonstrated_and_no_row_exceeds_the_context(built):
    config, path = built
    tokenizer = load_tokenizer(path)
    prompts = make_prompts(load_problems("shipped:tiny_eval.jsonl"), tokenizer, Templates("{statement}"))
    held_out = {prompt.token_ids for prompt in prompts}
    build = build_config(config.model)
    build.lessons = [replace(build.lessons[-1], steps=10, batch_size=64)]
    shown = set()
    for batch in lesson_batches(build, objectives.build(build.objective), path, config.model.original_context):
        assert batch.tokens_BS.shape[1] <= config.model.original_context
        assert batch.weight_BT.sum().item() == pytest.approx(1)
        starts = batch.mask_BT.int().argmax(dim=1) + 1
        shown |= {tuple(row[:start].tolist()) for row, start in zip(batch.tokens_BS, starts, strict=True)}
    assert len(shown) > 100
    assert shown.isdisjoint(held_out)


def test_only_what_the_weights_depend_on_names_the_model(tmp_path):
    name = digest(make_recipe(short_config(tmp_path).model))
    same = short_config(tmp_path, "model.license=MIT", "parallel.leader_timeout_s=7", "seed=5", "optim.lr=1")
    assert digest(make_recipe(same.model)) == name
    for override in (
        "model.build.seed=2",
        "model.build.optim.lr=1e-3",
        "model.build.layout.num_threads=2",
        "model.architecture.hidden_size=64",
        "model.original_context=128",
    ):
        assert digest(make_recipe(short_config(tmp_path, override).model)) != name, override


def test_a_given_path_is_returned_and_nothing_is_built(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    config = parse(compose([f"model.path={tmp_path}", "model.build=null"]))
    assert ensure_model(config) == tmp_path


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.path=nowhere"], "model.path=nowhere"),
        (["model.build=null"], "model.build"),
        (["model.build.lessons=[]"], "model.build.lessons"),
        (["model.build.optim.lr=fast"], "model.build.optim.lr"),
        (["model.build.family=chess"], "model.build.family=chess is unknown: use arithmetic or cups"),
        (["model=cups", "model.build.lessons=[{steps:1,batch_size:1,noise:{swap:1}}]"], "model.build.lessons.0.noise"),
        (["model.architecture.vocab_size=99"], "model.architecture.vocab_size=99"),
    ],
)
def test_a_model_that_cannot_be_had_is_the_users_error(overrides, said, tmp_path):
    with pytest.raises(UserError) as caught:
        ensure_model(parse(compose([f"paths.cache={tmp_path}", *overrides])))
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []
