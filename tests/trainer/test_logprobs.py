"""Laws of the fused, chunked, vocabulary-parallel log-probability, against the naive form."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.trainer.model.logprobs import response_logp_entropy

VOCAB, HIDDEN = 37, 6


def naive_logp_entropy(hidden, weight_VD, targets, vocab_size, temperature):
    logp_all = torch.log_softmax(hidden @ weight_VD[:vocab_size].t() / temperature, dim=-1)
    logp = logp_all.gather(-1, targets[..., None])[..., 0]
    return logp, -(logp_all.exp() * logp_all).sum(-1)


def inputs(shape=(3, 5), dtype=torch.float64, rows=VOCAB, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(*shape, HIDDEN, generator=generator, dtype=torch.float64) * scale).to(dtype)
    weight_VD = torch.randn(rows, HIDDEN, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(VOCAB, shape, generator=generator)
    return hidden.requires_grad_(), weight_VD.requires_grad_(), targets


def fused(hidden, weight_VD, targets, **changes):
    usual = {"mask": None, "vocab_size": VOCAB, "temperature": 0.7, "chunk_tokens": 4, "tp_group": None}
    return response_logp_entropy(hidden, weight_VD, targets, **{**usual, **changes})


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_logp_entropy_and_gradients_equal_the_naive_form(dtype, bound):
    hidden, weight_VD, targets = inputs(dtype=dtype)
    upstream = torch.linspace(-1, 2, targets.numel(), dtype=dtype).view_as(targets)
    expected = naive_logp_entropy(hidden, weight_VD, targets, VOCAB, 0.7)
    expected_gradients = torch.autograd.grad((expected[0] * upstream).sum(), (hidden, weight_VD))
    logp, entropy = fused(hidden, weight_VD, targets)
    gradients = torch.autograd.grad((logp * upstream).sum(), (hidden, weight_VD))
    for ours, theirs in zip((logp, entropy, *gradients), (*expected, *expected_gradients), strict=True):
        assert relative(ours, theirs) < bound


@settings(max_examples=40, deadline=None)
@given(
    num_rows=st.integers(1, 3),
    num_tokens=st.integers(1, 7),
    chunk_tokens=st.integers(1, 30),
    temperature=st.floats(0.2, 3.0),
    padding_rows=st.integers(0, 5),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_result_depends_on_neither_chunks_nor_padded_words(
    num_rows, num_tokens, chunk_tokens, temperature, padding_rows, seed, scale
):
    hidden, weight_VD, targets = inputs((num_rows, num_tokens), rows=VOCAB + padding_rows, seed=seed, scale=scale)
    expected = naive_logp_entropy(hidden, weight_VD, targets, VOCAB, temperature)
    gradient = torch.autograd.grad(expected[0].sum(), (hidden, weight_VD))
    logp, entropy = fused(hidden, weight_VD, targets, temperature=temperature, chunk_tokens=chunk_tokens)
    ours = torch.autograd.grad(logp.sum(), (hidden, weight_VD))
    torch.testing.assert_close((logp, entropy, *ours), (*expected, *gradient), rtol=1e-9, atol=1e-9)
    assert not ours[1][VOCAB:].any()


def test_probabilities_of_all_words_sum_to_one_and_entropy_lies_between_its_bounds():
    hidden, weight_VD, _ = inputs((1,))
    logp, entropy = fused(hidden.expand(VOCAB, HIDDEN), weight_VD, torch.arange(VOCAB))
    assert logp.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert entropy[0].item() == pytest.approx(-(logp.exp() * logp).sum().item(), abs=1e-12)
    _, uniform = fused(torch.zeros_like(hidden), weight_VD, torch.zeros(1, dtype=torch.int64))
    assert uniform.item() == pytest.approx(torch.tensor(VOCAB).double().log().item(), abs=1e-12)


def test_adding_a_constant_to_every_logit_changes_nothing():
    hidden, weight_VD, targets = inputs(dtype=torch.float32)
    constant = torch.ones(VOCAB, 1) * 50  # one more hidden unit that is always on
    wider = torch.cat((hidden, torch.ones(*targets.shape, 1)), dim=-1)
    shifted = fused(wider, torch.cat((weight_VD, constant), dim=1), targets)
    torch.testing.assert_close(shifted, fused(hidden, weight_VD, targets), rtol=1e-5, atol=2e-5)


def test_positions_outside_the_mask_give_zero_and_leave_no_gradient():
    hidden, weight_VD, targets = inputs()
    mask = torch.arange(targets.numel()).view_as(targets) % 3 == 1
    whole, whole_entropy = fused(hidden, weight_VD, targets)
    logp, entropy = fused(hidden, weight_VD, targets, mask=mask)
    torch.testing.assert_close((logp, entropy), (whole * mask, whole_entropy * mask))
    ours = torch.autograd.grad(logp.sum(), (hidden, weight_VD))
    expected = torch.autograd.grad((whole * mask).sum(), (hidden, weight_VD))
    torch.testing.assert_close(ours, expected)
    assert not ours[0][~mask].any()


def test_an_empty_mask_still_hands_every_parameter_a_gradient_of_zero():
    hidden, weight_VD, targets = inputs()
    logp, _ = fused(hidden, weight_VD, targets, mask=torch.zeros_like(targets, dtype=torch.bool))
    logp.sum().backward()
    assert not logp.any()
    assert weight_VD.grad is not None
    assert not weight_VD.grad.any()
    assert not hidden.grad.any()


def test_entropy_is_a_metric_without_gradient():
    logp, entropy = fused(*inputs())
    assert logp.requires_grad
    assert not entropy.requires_grad


def test_bf16_inputs_lose_nothing_beyond_their_own_rounding():
    hidden, weight_VD, targets = inputs(dtype=torch.bfloat16)
    exact = naive_logp_entropy(hidden.double(), weight_VD.double(), targets, VOCAB, 0.7)
    logp, entropy = fused(hidden, weight_VD, targets)
    assert logp.dtype == torch.float32
    torch.testing.assert_close((logp.double(), entropy.double()), exact, rtol=1e-5, atol=1e-5)


def with_megatron_buffer(weight_VD, tied):
    """What Megatron's DDP puts on a parameter, and its hook (distributed_data_parallel.py)."""
    weight_VD.main_grad = torch.full_like(weight_VD, 0.5, dtype=torch.float32)  # earlier micro-batches
    weight_VD.grad_added_to_main_grad = False
    if tied:
        weight_VD.zero_out_wgrad = True

    def hook(weight):
        if not weight.grad_added_to_main_grad or getattr(weight, "zero_out_wgrad", False):
            weight.main_grad.add_(weight.grad)
        weight.grad = None

    weight_VD.register_post_accumulate_grad_hook(hook)


@pytest.mark.parametrize("tied", [False, True])
def test_megatrons_gradient_buffer_gets_the_whole_gradient_once(tied):
    hidden, weight_VD, targets = inputs(dtype=torch.float32)

    def total(logp):
        return logp.sum() + (weight_VD[targets].square().sum() if tied else 0)

    (expected,) = torch.autograd.grad(total(naive_logp_entropy(hidden, weight_VD, targets, VOCAB, 0.7)[0]), weight_VD)
    with_megatron_buffer(weight_VD, tied)
    for _ in range(2):  # two micro-batches
        total(fused(hidden, weight_VD, targets)[0]).backward()
    torch.testing.assert_close(weight_VD.main_grad, 0.5 + 2 * expected, rtol=1e-5, atol=1e-5)


def shard_and_compare(rank, world_size, init_file):
    """Runs on every rank: the sharded result and its gradients against the naive form on the whole weight."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world_size)
    for padded_rows in (40, 80):  # the last shard ends in padding; is nothing but padding
        hidden, weight_VD, targets = inputs(rows=padded_rows)
        expected = naive_logp_entropy(hidden, weight_VD, targets, VOCAB, 0.7)
        gradient_hidden, gradient_VD = torch.autograd.grad(expected[0].sum(), (hidden, weight_VD))
        shard_VD = weight_VD.detach().chunk(world_size)[rank].clone().requires_grad_()
        logp, entropy = fused(hidden, shard_VD, targets, tp_group=torch.distributed.group.WORLD)
        ours = torch.autograd.grad(logp.sum(), (hidden, shard_VD))
        expected = (*expected, gradient_hidden, gradient_VD.chunk(world_size)[rank])
        torch.testing.assert_close((logp, entropy, *ours), expected, rtol=1e-10, atol=1e-10)
    torch.distributed.destroy_process_group()


def test_two_shards_of_the_vocabulary_equal_the_whole_also_when_one_is_all_padding(tmp_path: Path):
    context = torch.multiprocessing.spawn(
        shard_and_compare, args=(2, str(tmp_path / "rendezvous")), nprocs=2, join=False
    )
    deadline = time.monotonic() + 800
    try:
        while not context.join(timeout=5):  # raises what a rank raised
            assert time.monotonic() < deadline, "a rank did not end"
    finally:
        for process in context.processes:
            process.kill()
