"""Groups that go through a real run-api server, and a run that trains on them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest
import torch
from omegaconf import OmegaConf

from ablate import objectives
from ablate.atropos.api import Api
from ablate.atropos.scored import to_group, to_scored
from ablate.cli import compose, objective_config
from ablate.config import parse
from ablate.errors import UserError
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind

pytest.importorskip("atroposlib", reason="make atropos installs it")
WORDS = ["objective=grpo", "rollout.groups_from=atropos", "seed=0"]
SHORT = [
    "context.steps=3",
    "rollout.prompts_per_step=4",
    "rollout.samples_per_prompt=4",
    "eval.at_start=false",
    "eval.at_end=false",
    "logging.wandb=disabled",
]
PROBLEM = Problem("add", "Add.", (), "easy")


@pytest.fixture
def api():
    """A server of its own for every test: it keeps the trainer and the environments that registered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "atroposlib.cli.run_api", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield answering(Api(f"http://127.0.0.1:{port}"), server)
        finally:
            server.kill()


def answering(api: Api, server: subprocess.Popen) -> Api:
    end = time.monotonic() + 600
    while time.monotonic() < end and server.poll() is None:
        try:
            api.call("GET", "/status")
        except UserError:
            time.sleep(0.1)
        else:
            return api
    raise AssertionError(f"run-api does not answer; exit code {server.poll()}")


def group(num_passed: int, num_truncated: int) -> RolloutGroup:
    completions, verdicts = [], []
    for sample in range(4):
        response, logp = tuple(range(7, 8 + sample)), tuple(-0.1 / (3 + token) for token in range(1 + sample))
        finished = sample >= num_truncated
        completions.append(Completion("add", sample, 0, (5, 6), response, logp, "text", finished))
        kind = VerdictKind.accepted if sample < num_passed else VerdictKind.wrong_answer
        verdicts.append(Verdict(kind, 0, 0, None, 0.0, 0.0, 0.0, "Atropos"))
    return RolloutGroup(PROBLEM, tuple(completions), tuple(verdicts))


def started(api: Api, batch_size: int, num_steps: int = 1) -> None:
    """Register a trainer that waits for its first batch."""
    numbers = {"max_token_len": 96, "save_checkpoint_interval": 0, "starting_step": 0, "num_steps": num_steps}
    api.call(
        "POST",
        "/register",
        {"wandb_group": "g", "wandb_project": "p", "batch_size": batch_size, "checkpoint_dir": "", **numbers},
    )
    api.call("GET", "/batch")


def test_a_group_comes_back_bit_for_bit_and_so_do_its_advantages(api):
    from ablate.trainer.batching import make_batch

    groups = [group(2, 1), group(1, 0), group(4, 2)]
    started(api, batch_size=12)
    api.call("POST", "/scored_data_list", [to_scored(each, temperature=0.8) for each in groups])
    batch = api.call("GET", "/batch")["batch"]
    back = [to_group(scored, {"add": PROBLEM}, lambda ids: "text", number, 104) for number, scored in enumerate(batch)]
    assert back == groups
    objective = objectives.build(objective_config("grpo"))
    ours, theirs = make_batch(groups, objective), make_batch(back, objective)
    for name in ("tokens_BS", "mask_BT", "rollout_logp_BT", "advantage_B", "weight_BT"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def test_an_advantage_set_to_zero_is_our_zero_advantage(api):
    """Atropos' trainers normalise the scores of all samples, and then write zeros; so does overlong=zero_advantage."""
    from ablate.trainer.batching import make_batch

    whole = group(2, 1)
    scored = to_scored(whole, temperature=1.0)
    usual = make_batch([whole], objectives.build(objective_config("grpo") | {"overlong": "train"})).advantage_B
    zeros = torch.tensor([override["set_advantage_to_zero"] for override in scored["overrides"]])
    ours = make_batch([whole], objectives.build(objective_config("grpo"))).advantage_B
    assert zeros.any()
    assert torch.equal(usual.masked_fill(zeros, 0.0), ours)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inference_logprobs": None}, "has no inference_logprobs"),
        ({"scores": [0.5, 1, 1, 1]}, r"scores \[0\.5, 1, 1, 1\]: this trainer knows"),
        ({"tokens": [[5, 6, 2**40], *[[5, 6, 7]] * 3]}, "token 1099511627776, and the model has 104"),
        ({"inference_logprobs": [[1.0, 1.0, float("nan")]] * 4}, "the log-probability nan"),
        ({"inference_logprobs": [[1.0, 1.0]] * 4}, "lists of different lengths"),
        ({"masks": [[-100, -100, 7]] * 3}, "lists of different lengths"),
        ({"masks": [[-100, -100, -100]] * 4}, "without a prompt or without a response"),
        ({"masks": [[-100, 6, -100], [-100, -100, 7], [-100, -100, 7], [-100, -100, 7]]}, "several turns"),
    ],
)
def test_a_group_that_this_trainer_cannot_use_is_refused(changes, said):
    of_three_tokens = {
        "tokens": [[5, 6, 7]] * 4,
        "masks": [[-100, -100, 7]] * 4,
        "inference_logprobs": [[1.0, 1.0, -0.5]] * 4,
    }
    with pytest.raises(UserError, match=said):
        to_group(to_scored(group(1, 0), 1.0) | of_three_tokens | changes, {}, str, 0, 104)


def test_a_group_of_a_foreign_environment_has_a_problem_of_its_own():
    foreign = to_scored(group(1, 0), 1.0) | {"generation_params": None, "overrides": None, "env_id": 3}
    back = to_group(foreign, {}, lambda ids: "text", number=17, vocab_size=104)
    assert back.problem.id == "atropos/3/17"
    assert all(completion.finished for completion in back.completions)


def test_without_a_server_the_sentence_says_how_to_start_one():
    with pytest.raises(UserError, match=r"no Atropos server answers at .*run-api"):
        Api("http://127.0.0.1:9").call("GET", "/status")


def test_another_treatment_of_truncated_responses_is_refused():
    with pytest.raises(UserError, match=r"set objective\.overlong=zero_advantage"):
        parse(compose([*WORDS, "objective.overlong=mask"]))


def test_three_steps_on_the_groups_of_our_environment(api, tmp_path, tiny_model):
    import pyarrow.parquet as pq

    from ablate.atropos.environment import Environment
    from ablate.records import RunDirectory, run_path
    from ablate.rollout.open import close_engines
    from ablate.sampling import open_sampling
    from ablate.train import attempt
    from ablate.verify.shared import shared_verifier

    values = compose([*WORDS, *SHORT, f"rollout.atropos.url={api.url}", f"paths.outputs={tmp_path}"])
    config = parse(values)
    started(api, batch_size=config.rollouts_per_step, num_steps=3)
    sampling = open_sampling(config, tiny_model, shared_verifier(config.verify))
    lines: list[str] = []
    environment = Environment(config, sampling, tiny_model, lines.append)
    environment.register()
    state = None
    for number in (1, 2, 3):
        state = environment.post_batch(state, number)
    assert environment.is_far_enough_ahead()
    assert not environment.is_over()
    close_engines()

    run = RunDirectory(run_path(config))
    run.claim(OmegaConf.to_yaml(values, resolve=True), [])
    assert attempt(config, OmegaConf.to_yaml(values, resolve=True), run, True) == "done"
    assert [row["step"] for row in run.steps.metrics()] == [1, 2, 3]
    assert any(row["train/grad_norm"] > 0 for row in run.steps.metrics())
    rows = pq.read_table(run.steps.rollouts_file(1)).to_pylist()
    assert len(rows) == config.rollouts_per_step
    assert {row["problem_id"] for row in rows} <= {problem.id for problem in sampling.train_tasks.problems}
    assert "order of arrival" in json.dumps(run.manifest.read())
    assert environment.is_over()
