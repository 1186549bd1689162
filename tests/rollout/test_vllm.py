"""The engine samples from the model it was given, and from nothing else."""

from __future__ import annotations

import logging
import random
import shutil
import weakref
from dataclasses import replace

import pytest
import torch
from random_models import write_random_model
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3ForCausalLM

from ablate.config.checks import CHOICES
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config, yarn_factor
from ablate.rollout.engine import Change, Request
from ablate.rollout.open import OPENERS, close_engines, open_engine
from ablate.rollout.vllm.engine import VllmEngine, start
from ablate.rollout.vllm.settings import CPU_TOKENS_PER_STEP, answer_check_of, engine_arguments, yarn_of

from .conftest import small_engine_config

CONTEXT = 160
# fp32 kernels sum in other orders: measured gaps are below 1e-5
TOLERANCE = 1e-4


def requests_for(num_requests: int, *, max_new_tokens: int = 40, temperature: float = 1.0, prompt_tokens: int = 12):
    rng = random.Random(5)
    return [
        Request(
            key=("row", index),
            prompt_ids=tuple(rng.randint(3, 100) for _ in range(prompt_tokens + index % 7)),
            seed=1000 + index,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=1.0,
        )
        for index in range(num_requests)
    ]


def sample(engine, requests):
    """Every request's result by key."""
    results = {}
    engine.sample(requests, results.__setitem__)
    assert results.keys() == {request.key for request in requests}
    return results


def largest_gap(model, requests, results) -> float:
    """max |engine's log-probability - transformers'| over all response tokens, at the sampling temperature."""
    gaps = []
    for request in requests:
        result = results[request.key]
        tokens_1S = torch.tensor([[*request.prompt_ids, *result.response_ids]])
        with torch.no_grad():
            logits_SV = model(tokens_1S).logits[0, len(request.prompt_ids) - 1 : -1]
        logp_SV = (logits_SV / request.temperature).log_softmax(dim=-1)
        expected_S = logp_SV.gather(1, torch.tensor(list(result.response_ids))[:, None])[:, 0]
        gaps.append((expected_S - torch.tensor(list(result.logp))).abs().max().item())
    return max(gaps)


def other_weights(model_dir, seed: int) -> Qwen3ForCausalLM:
    """The same architecture with other random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(AutoConfig.from_pretrained(model_dir))


def hf_tensors(model):
    return [(name, tensor) for name, tensor in model.state_dict().items() if name != "lm_head.weight"]  # tied


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_equal_transformers_at_the_sampling_temperature(engine, tiny_checkpoint, temperature):
    requests = requests_for(8, temperature=temperature)
    model = Qwen3ForCausalLM.from_pretrained(tiny_checkpoint)
    assert largest_gap(model, requests, sample(engine, requests)) < TOLERANCE


def test_after_an_update_in_place_log_probabilities_are_the_new_weights(engine, tiny_checkpoint):
    requests = requests_for(8)
    new = other_weights(tiny_checkpoint, seed=1)
    engine.load_weights(hf_tensors(new))
    results = sample(engine, requests)
    assert largest_gap(new, requests, results) < TOLERANCE
    assert largest_gap(Qwen3ForCausalLM.from_pretrained(tiny_checkpoint), requests, results) > 0.1


def test_a_qwen2_takes_new_weights_in_place(qwen2_checkpoint, engine_config, tmp_path):
    """Biases of the query, key and value projections, which vLLM packs, and an output projection of its own."""
    engine = open_engine(qwen2_checkpoint, engine_config, CONTEXT, CONTEXT)
    requests = requests_for(8)
    model = AutoModelForCausalLM.from_pretrained(qwen2_checkpoint)
    assert largest_gap(model, requests, sample(engine, requests)) < TOLERANCE
    new = AutoModelForCausalLM.from_pretrained(write_random_model(tmp_path, "qwen2", tied=False, seed=2))
    engine.load_weights(list(new.state_dict().items()))
    results = sample(engine, requests)
    assert largest_gap(new, requests, results) < TOLERANCE
    assert largest_gap(model, requests, results) > 0.1


def test_a_directory_and_its_tensors_load_the_same_weights(engine, tiny_checkpoint, tmp_path):
    requests = requests_for(4)
    new = other_weights(tiny_checkpoint, seed=2)
    new.save_pretrained(tmp_path)
    engine.load_weights(hf_tensors(new))
    from_tensors = sample(engine, requests)
    engine.load_weights(tiny_checkpoint)
    assert sample(engine, requests) != from_tensors
    engine.load_weights(tmp_path)
    assert sample(engine, requests) == from_tensors


def test_an_engine_does_not_follow_tensors_that_change_after_loading(engine, tiny_checkpoint):
    requests = requests_for(4)
    new = other_weights(tiny_checkpoint, seed=3)
    engine.load_weights(hf_tensors(new))
    before = sample(engine, requests)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(2)
    assert sample(engine, requests) == before


def test_requests_that_come_and_go_while_others_are_sampled_change_no_other_result(engine):
    first, late = requests_for(12)[:8], requests_for(12)[8:]
    expected, results = sample(engine, first + late), {}
    aborted = {request.key for request in (*first[::4], late[0])}
    changes = iter([Change(added=late), Change(aborted=aborted), Change(aborted={"no such key", *aborted})])
    engine.sample(first, results.__setitem__, lambda: next(changes, Change()))
    assert results == {key: result for key, result in expected.items() if key not in aborted}
    assert sample(engine, first) == {request.key: expected[request.key] for request in first}


def test_a_seed_gives_the_same_response_in_any_batch(engine):
    requests = requests_for(24)
    together = sample(engine, requests)
    for part in (requests[::-1], requests[::3], requests[5:6]):
        for key, result in sample(engine, part).items():
            assert result.response_ids == together[key].response_ids
            assert list(result.logp) == pytest.approx(list(together[key].logp), abs=TOLERANCE)


def test_prompts_too_many_for_one_engine_step_are_sampled_as_if_alone(engine):
    requests = requests_for(64, prompt_tokens=140, max_new_tokens=4)
    assert sum(len(request.prompt_ids) for request in requests) > CPU_TOKENS_PER_STEP
    together = sample(engine, requests)
    for request in requests[::16]:
        assert sample(engine, [request])[request.key].response_ids == together[request.key].response_ids


def test_another_seed_gives_another_response(engine):
    (request,) = requests_for(1)
    other = replace(request, key="other", seed=request.seed + 1)
    results = sample(engine, [request, other])
    assert results[request.key].response_ids != results["other"].response_ids


def test_a_response_is_finished_exactly_if_it_ends_with_the_end_of_sequence_token(engine, tiny_checkpoint):
    (eos,) = answer_check_of(tiny_checkpoint, read_hf_config(tiny_checkpoint)).stop_ids
    results = sample(engine, requests_for(48, max_new_tokens=100)).values()
    assert {result.finished for result in results} == {True, False}
    for result in results:
        assert result.finished == (result.response_ids[-1] == eos)
        assert eos not in result.response_ids[:-1]
        assert result.finished or len(result.response_ids) == 100
        assert len(result.logp) == len(result.response_ids)


def test_a_result_is_handed_on_while_others_are_still_sampled(engine):
    requests = [replace(request, max_new_tokens=4 + 90 * (index % 2)) for index, request in enumerate(requests_for(8))]
    lengths = []
    engine.sample(requests, lambda key, result: lengths.append(len(result.response_ids)))
    assert lengths == sorted(lengths)
    assert lengths[0] <= 4 < lengths[-1]


def test_sampling_leaves_the_callers_threads_and_random_state_alone(engine):
    torch.set_num_threads(2)
    try:
        torch.manual_seed(3)
        random_state = torch.get_rng_state()
        sample(engine, requests_for(4))
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), random_state)
    finally:
        torch.set_num_threads(1)


def test_sampling_changes_no_log_level(engine, monkeypatch):
    """A Ctrl-C while a level is set leaves logging's lock held, and the process hangs at its end."""
    changed = []
    monkeypatch.setattr(logging.Logger, "setLevel", lambda *arguments: changed.append(arguments))
    sample(engine, requests_for(1))
    assert changed == []


def test_an_exception_in_the_callback_leaves_the_engine_clean(engine):
    requests = requests_for(6)
    expected = sample(engine, requests)

    def fail(key, result):
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        engine.sample(requests, fail)
    assert sample(engine, requests) == expected


@pytest.fixture(scope="module")
def long_engine(tiny_checkpoint, engine_config):
    """An engine for the model's own context and for twice as many tokens."""
    return open_engine(tiny_checkpoint, engine_config, CONTEXT, CONTEXT, longest=2 * CONTEXT)


BETAS = [{}, {"yarn_beta_fast": 0.75, "yarn_beta_slow": 0.5}]


@pytest.mark.parametrize("betas", BETAS, ids=["paper", "tiny"])
def test_positions_stretched_by_yarn_equal_transformers(betas, long_engine, tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path, dirs_exist_ok=True)
    yarn = yarn_of(read_hf_config(tmp_path) | betas, 2 * CONTEXT, CONTEXT)
    model = Qwen3ForCausalLM.from_pretrained(tmp_path, rope_parameters=yarn, max_position_embeddings=2 * CONTEXT)
    long_engine.load_weights(tmp_path)
    requests = requests_for(4, prompt_tokens=150, max_new_tokens=150)
    long_engine._llm.collective_rpc("use_positions", args=(yarn,))
    try:
        results = sample(long_engine, requests)
    finally:
        long_engine._llm.collective_rpc("use_positions", args=(None,))
    assert max(len(result.response_ids) for result in results.values()) > 50  # well beyond the original context
    assert largest_gap(model, requests, results) < TOLERANCE
    assert largest_gap(Qwen3ForCausalLM.from_pretrained(tmp_path), requests, results) > 1e-2


def test_an_engine_of_all_contexts_samples_as_one_started_for_the_context(long_engine, engine, tiny_checkpoint):
    """Bit for bit: back at its own context, with new weights while stretched, and against vLLM's own YaRN."""
    requests = requests_for(8)
    expected = sample(engine, requests)
    long_engine.load_weights(tiny_checkpoint)
    long_engine.use_context(CONTEXT)
    assert sample(long_engine, requests) == expected
    long_engine.use_context(2 * CONTEXT)
    stretched = sample(long_engine, requests)
    assert stretched != expected
    assert stretched == sample_with_vllms_own_yarn(tiny_checkpoint, requests)
    long_engine.load_weights(tiny_checkpoint)
    assert sample(long_engine, requests) == stretched
    long_engine.use_context(CONTEXT)
    assert sample(long_engine, requests) == expected


def test_positions_change_although_an_update_of_the_weights_was_interrupted(long_engine, tiny_checkpoint):
    from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

    requests = requests_for(8)
    long_engine.load_weights(tiny_checkpoint)
    long_engine.use_context(2 * CONTEXT)
    stretched = sample(long_engine, requests)
    long_engine.use_context(CONTEXT)
    runner = long_engine._llm.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    initialize_layerwise_reload(runner.get_model())  # nothing follows
    long_engine.use_context(2 * CONTEXT)
    assert sample(long_engine, requests) == stretched


def sample_with_vllms_own_yarn(model_dir, requests):
    """Sample with an engine whose positions vLLM stretches when it starts."""
    config = small_engine_config(placement="inline")
    hf_config = read_hf_config(model_dir)
    arguments = engine_arguments(config, 2 * CONTEXT, hf_config, on_cpu=True)
    arguments["hf_overrides"]["rope_parameters"] = yarn_of(hf_config, 2 * CONTEXT, CONTEXT)
    own = VllmEngine(start(model_dir, config, arguments), config, lambda _: None, answer_check_of(model_dir, hf_config))
    results = sample(own, requests)
    own.close()
    return results


def test_a_context_beyond_the_longest_of_the_engine_is_refused(long_engine):
    with pytest.raises(UserError, match="321 tokens is beyond the 320 that the engine serves"):
        long_engine.use_context(2 * CONTEXT + 1)


def test_a_context_within_the_original_one_is_not_stretched(tiny_checkpoint):
    assert yarn_factor(96, CONTEXT) == 1
    assert yarn_of(read_hf_config(tiny_checkpoint), 96, CONTEXT) is None


def test_opening_the_same_settings_again_gives_the_open_engine_and_its_weights(engine, engine_config, tiny_checkpoint):
    requests = requests_for(4)
    engine.load_weights(hf_tensors(other_weights(tiny_checkpoint, seed=4)))
    expected = sample(engine, requests)
    again = open_engine(tiny_checkpoint, engine_config, CONTEXT, CONTEXT)
    assert again is engine
    assert sample(again, requests) == expected


def test_a_closed_engine_lets_go_of_its_memory_and_of_nothing_else(engine, engine_config, tiny_checkpoint):
    config = replace(engine_config, placement="inline")
    expected = sample(engine, requests_for(4))
    hf_config = read_hf_config(tiny_checkpoint)
    arguments = engine_arguments(config, 64, hf_config, on_cpu=True)
    other = VllmEngine(
        start(tiny_checkpoint, config, arguments), config, lambda _: None, answer_check_of(tiny_checkpoint, hf_config)
    )
    runner = other._llm.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    held = [weakref.ref(runner.get_model()), *map(weakref.ref, runner.kv_caches)]
    del runner
    other.close()
    assert [reference() for reference in held] == [None] * len(held)
    assert torch.distributed.is_initialized()
    assert sample(engine, requests_for(4)) == expected


def test_a_directory_without_a_model_is_the_users_mistake(tmp_path, engine_config):
    with pytest.raises(UserError, match=r"config\.json"):
        open_engine(tmp_path, engine_config, CONTEXT, CONTEXT)


def test_a_context_beyond_the_models_positions_needs_yarn(tiny_checkpoint, engine_config):
    with pytest.raises(UserError, match=r"161 tokens is beyond the 160 positions.*original_context=160"):
        open_engine(tiny_checkpoint, engine_config, CONTEXT + 1, 2 * CONTEXT)


def test_the_configuration_accepts_exactly_the_kinds_that_can_be_opened():
    assert set(CHOICES["rollout.engine.kind"]) == set(OPENERS)


def test_an_engine_here_that_samples_from_damaged_weights_ends_the_run_with_a_sentence(engine, tiny_checkpoint):
    damaged = [
        (name, torch.full_like(tensor, float("nan")) if name.endswith("norm.weight") else tensor)
        for name, tensor in hf_tensors(other_weights(tiny_checkpoint, seed=4))
    ]
    engine.load_weights(damaged)
    with pytest.raises(UserError, match=r"the engine gave the log-probability nan for the request .* may be damaged"):
        sample(engine, requests_for(4))
    close_engines()  # what is no number stays in the blocks of its cache, and would be read by later requests
