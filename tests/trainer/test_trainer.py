"""One process: what a step does, repeats and leaves alone."""

from __future__ import annotations

from dataclasses import replace

import cases
import pytest
import torch

from ablate import objectives
from ablate.config import OptimConfig
from ablate.errors import UserError
from ablate.objectives.batch import select_rows
from ablate.trainer.batching import make_batch
from ablate.trainer.optimizer import build_scheduler


@pytest.fixture
def trainer(tiny_checkpoint):
    return cases.open_trainer(tiny_checkpoint, cases.SINGLE)


@pytest.fixture
def batch(trainer):
    objective = cases.objective_named("grpo")
    return cases.off_policy_batch(objective, trainer.logp(make_batch(cases.rollout_groups(), objective))[0])


def test_the_same_step_twice_is_the_same_bit_for_bit(trainer, batch, tiny_checkpoint):
    objective = cases.objective_named("gspo")
    first = [trainer.update(batch, objective) for _ in range(2)], cases.gathered(trainer)
    again = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    second = [again.update(batch, objective) for _ in range(2)], cases.gathered(again)
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_gradients_may_be_freed_between_updates(trainer, batch, tiny_checkpoint):
    objective = cases.objective_named("gspo")
    steps = [[], []]
    for found, frees in zip(steps, (False, True), strict=True):
        each = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
        for _ in range(3):
            found.append(each.update(batch, objective))
            if frees:
                each.free_gradients()
                assert {buffer.grad_data.untyped_storage().size() for buffer in each.data_parallel.buffers} == {0}
                each.logp(batch)
    assert steps[0] == steps[1]


@pytest.mark.parametrize("layout", [cases.SINGLE, cases.layout_named("bf16_distributed")])
def test_the_optimizer_keeps_no_view_of_freed_gradients(layout, tiny_checkpoint):
    """With its state on the host, loading a checkpoint makes a step, which would read them."""
    trainer, objective = cases.open_trainer(tiny_checkpoint, layout), cases.objective_named("grpo")
    batch = make_batch(cases.rollout_groups(), objective)
    trainer.update(replace(batch, old_logp_BT=trainer.logp(batch)[0]), objective)
    trainer.free_gradients()
    parameters = [each for group in trainer.optimizer.param_groups for each in group["params"]]
    assert parameters
    assert all(getattr(each, name, None) is None for each in parameters for name in ("grad", "decoupled_grad"))


def test_a_step_does_not_depend_on_padding_or_on_the_order_of_rows(trainer, batch, tiny_checkpoint):
    objective = cases.objective_named("gspo_plus")
    expected = trainer.update(batch, objective)
    gradients = cases.gathered_gradients(trainer)

    def pad(tensor):
        return torch.nn.functional.pad(tensor, (0, 7))

    per_token = ("tokens_BS", "mask_BT", "old_logp_BT", "rollout_logp_BT", "weight_BT")
    padded = replace(batch, **{name: pad(getattr(batch, name)) for name in per_token})
    shuffled = select_rows(batch, torch.randperm(batch.num_rows, generator=torch.Generator().manual_seed(2)))
    for other in (padded, shuffled):
        again = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
        found = again.update(other, objective)
        assert found["train/loss"] == pytest.approx(expected["train/loss"], abs=1e-6)
        for name, gradient in cases.gathered_gradients(again).items():
            torch.testing.assert_close(gradient, gradients[name], atol=1e-6, rtol=1e-4)


def test_a_batch_without_weight_changes_nothing_but_the_decay(tiny_checkpoint, batch):
    trainer = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    before = cases.gathered(trainer)
    metrics = trainer.update(replace(batch, weight_BT=torch.zeros_like(batch.weight_BT)), cases.objective_named("gspo"))
    assert metrics["train/grad_norm"] == 0
    decay = 1 - metrics["train/lr"] * cases.OPTIM.weight_decay
    for name, weight in cases.gathered(trainer).items():
        expected = before[name] if weight.ndim == 1 else before[name] * decay
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("checkpoint", ["tiny_checkpoint", "qwen2_checkpoint"])
def test_gradient_is_autograd_s_through_transformers(checkpoint, request):
    from transformers import AutoModelForCausalLM

    model_dir = request.getfixturevalue(checkpoint)
    objective = cases.objective_named("dapo")
    trainer = cases.open_trainer(model_dir, cases.SINGLE)
    on_policy = make_batch(cases.rollout_groups(), objective)
    batch = cases.off_policy_batch(objective, trainer.logp(on_policy)[0])
    metrics = trainer.update(batch, objective)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    logp_BTV = (model(batch.tokens_BS).logits[:, :-1] / 0.8).log_softmax(dim=-1)
    loss = objective.loss(logp_BTV.gather(2, batch.tokens_BS[:, 1:, None])[..., 0], batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), cases.OPTIM.clip_grad)
    assert metrics["train/loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert metrics["train/grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
    found = cases.gathered_gradients(trainer)
    for name, parameter in model.named_parameters():
        assert (found[name] - parameter.grad).norm() <= 1e-5 * parameter.grad.norm(), name


def test_weights_after_a_step_are_those_of_torch_s_adamw(tiny_checkpoint, batch):
    trainer = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    before = cases.gathered(trainer)
    metrics = trainer.update(batch, cases.objective_named("grpo"))
    gradients = cases.gathered_gradients(trainer)
    parameters = {name: torch.nn.Parameter(weight) for name, weight in before.items()}
    groups = [
        {"params": [p for p in parameters.values() if p.ndim > 1], "weight_decay": cases.OPTIM.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    betas = (cases.OPTIM.beta1, cases.OPTIM.beta2)
    optimizer = torch.optim.AdamW(groups, lr=metrics["train/lr"], betas=betas, eps=cases.OPTIM.eps)
    for name, parameter in parameters.items():
        parameter.grad = gradients[name]
    optimizer.step()
    for name, weight in cases.gathered(trainer).items():
        torch.testing.assert_close(weight, parameters[name].detach(), atol=1e-7, rtol=0)


def test_reference_is_the_start_whatever_was_trained_since(trainer, batch):
    start = trainer.logp(batch)[0]
    trainer.update(batch, cases.objective_named("grpo"))
    trained, weights = trainer.logp(batch)[0], cases.gathered(trainer)
    assert torch.equal(trainer.reference_logp(batch), start)
    assert torch.equal(trainer.reference_logp(batch), start)
    assert torch.equal(trainer.logp(batch)[0], trained)
    assert all(torch.equal(weights[name], tensor) for name, tensor in cases.gathered(trainer).items())


def test_a_gradient_that_is_not_finite_is_not_passed_over(trainer, batch):
    broken = replace(batch, advantage_B=torch.full_like(batch.advantage_B, torch.nan))
    with pytest.raises(FloatingPointError, match=r"norm is nan at learning rate 0\.005"):
        trainer.update(broken, cases.objective_named("grpo"))


def test_a_gather_of_the_weights_ends_whatever_its_sink_reads(trainer):
    """Every rank has to reach the end: a sink that stops early would leave the others waiting in a collective."""
    kept = []
    trainer.gather_weights(kept.append)
    assert next(kept[0], None) is None
    assert trainer.gather_weights() is None


def test_metrics_are_only_gathered_when_asked_for(trainer, batch):
    metrics = trainer.update(batch, cases.objective_named("grpo"), with_metrics=False)
    assert set(metrics) == {"train/loss", "train/grad_norm", "train/lr"}


def test_entropy_is_a_mean_over_response_tokens(trainer, batch):
    entropy_BT = trainer.logp(batch)[1]
    metrics = trainer.update(batch, cases.objective_named("grpo"))
    assert metrics["policy/entropy"] == pytest.approx(entropy_BT[batch.mask_BT].mean().item(), rel=1e-6)


def test_likelihood_of_demonstrations_rises(trainer):
    sft = objectives.build(cases.SFT)
    batch = make_batch(cases.rollout_groups(), sft)
    losses = [trainer.update(batch, sft, with_metrics=False)["train/loss"] for _ in range(8)]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("cosine", [0.25, 0.5, 0.75, 1, 0.868198, 0.55, 0.231802, 0.1]),
    ],
)
def test_learning_rate_warms_up_then_follows_the_schedule(schedule, expected):
    class Recorder:
        param_groups = [{"wd_mult": 1.0, "lr_mult": 1.0, "max_lr": 1.0, "min_lr": 0.1}]  # noqa: RUF012

    optim = replace(cases.OPTIM, lr=1.0, min_lr=0.1, schedule=schedule, warmup_steps=4)
    scheduler = build_scheduler(Recorder(), optim, total_updates=8)
    rates = []
    for _ in expected:
        scheduler.step(increment=1)
        rates.append(Recorder.param_groups[0]["lr"])
    assert rates == pytest.approx(expected, abs=1e-5)


def test_without_a_clip_the_norm_is_measured_and_nothing_is_scaled(tiny_checkpoint, batch):
    def gradients_with(optim: OptimConfig) -> tuple[float, torch.Tensor]:
        trainer = cases.open_trainer(tiny_checkpoint, cases.SINGLE, optim=optim)
        norm = trainer.update(batch, cases.objective_named("grpo"))["train/grad_norm"]
        return norm, torch.cat([g.flatten() for g in cases.gathered_gradients(trainer).values()])

    norm, free = gradients_with(replace(cases.OPTIM, clip_grad=0.0))
    clipped_norm, clipped = gradients_with(cases.OPTIM)
    assert free.norm().item() == pytest.approx(norm, rel=1e-5)
    assert clipped_norm == norm
    assert clipped.norm().item() == pytest.approx(cases.OPTIM.clip_grad, rel=1e-4)


@pytest.mark.parametrize(("recompute", "layers"), [("core_attn", None), ("full", None), ("full", 1)])
def test_recomputing_activations_changes_no_gradient(tiny_checkpoint, batch, recompute, layers):
    found = []
    for changes in ({}, {"recompute": recompute, "recompute_layers": layers}):
        trainer = cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, **changes))
        trainer.update(batch, cases.objective_named("gspo"))
        found.append(cases.gathered_gradients(trainer))
    kept, recomputed = found
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5)


def test_only_the_layers_that_are_asked_for_run_again(tiny_checkpoint, batch):
    num_calls = []
    for layers in (1, 3):
        changes = {"recompute": "full", "recompute_layers": layers}
        trainer = cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, **changes))
        calls: list[int] = []
        for module in trainer.model.modules():
            if type(module).__name__ == "TransformerLayer":
                module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        trainer.update(batch, cases.objective_named("gspo"))
        num_calls.append(len(calls))
    num_layers = 4
    assert num_calls[1] * (num_layers + 1) == num_calls[0] * (num_layers + 3)


def test_bf16_trains_fp32_main_weights(tiny_checkpoint, batch):
    trainer = cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, precision="bf16"))
    reference = cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    objective = cases.objective_named("grpo")
    for _ in range(2):
        found, expected = trainer.update(batch, objective), reference.update(batch, objective)
    assert found["train/loss"] == pytest.approx(expected["train/loss"], abs=0.05)
    main = {p.dtype for group in trainer.optimizer.param_groups for p in group["params"]}
    assert main == {torch.float32}
    assert {tensor.dtype for tensor in cases.gathered(trainer).values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tensor": 2}, "the number of processes, 1, is not divisible by 2, the processes per model copy"),
        ({"world_size": 4}, "parallel.world_size=4 but 1 processes were started"),
        ({"sequence_parallel": True}, "sequence_parallel=true splits over the tensor group"),
        ({"transformer_engine": True}, "the package transformer_engine is not installed"),
        ({"attention": "flash"}, "attention=flash chooses among Transformer Engine's kernels: set parallel.transf"),
        ({"fp8": "hybrid"}, "fp8=hybrid chooses among Transformer Engine's kernels: set parallel.transformer_engine"),
        ({"max_tokens_per_micro_batch": 8}, "does not fit parallel.max_tokens_per_micro_batch=8"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_in_one_sentence(tiny_checkpoint, batch, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        cases.open_trainer(tiny_checkpoint, replace(cases.SINGLE, **changes)).logp(batch)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tensor": 4}, "2 key/value heads are not divisible by parallel.tensor=4"),
        ({"tensor": 3}, "4 attention heads are not divisible by parallel.tensor=3"),
        ({"pipeline": 3}, "4 layers are not divisible by parallel.pipeline=3"),
    ],
)
def test_a_layout_by_which_the_model_is_not_divisible_is_refused(tiny_checkpoint, changes, sentence):
    from ablate.models.architecture import read_architecture
    from ablate.trainer.parallel.layout import check_layout

    with pytest.raises(UserError, match=sentence):
        check_layout(read_architecture(tiny_checkpoint), replace(cases.SINGLE, **changes))


ENGINE = replace(cases.SINGLE, transformer_engine=True, precision="bf16", fp8="hybrid")


@pytest.mark.parametrize(
    ("parallel", "installed", "sentence"),
    [
        (replace(ENGINE, attention="flash"), {"transformer_engine"}, "the package flash_attn is not installed"),
        (replace(ENGINE, precision="fp32"), {"transformer_engine"}, "rounds products of bf16 weights, not fp32"),
        (replace(ENGINE, tensor=4), {"transformer_engine"}, "must be divisible by 16 x parallel.tensor=4"),
    ],
)
def test_what_transformer_engine_cannot_do_is_refused(tiny_checkpoint, monkeypatch, parallel, installed, sentence):
    from ablate.models.architecture import read_architecture
    from ablate.trainer.parallel import layout

    monkeypatch.setattr(layout.importlib.util, "find_spec", lambda name: name if name in installed else None)
    with pytest.raises(UserError, match=sentence):
        layout.check_kernels(read_architecture(tiny_checkpoint), parallel)


def test_fp8_and_the_attention_kernel_reach_megatron(tiny_checkpoint):
    from ablate.models.architecture import Yarn, read_architecture
    from ablate.trainer.model.policy import transformer_config

    architecture = read_architecture(tiny_checkpoint)
    yarn = Yarn(factor=2.0, original_context=48, beta_fast=32.0, beta_slow=1.0)  # without it rope is Engine's, not here
    config = transformer_config(architecture, replace(ENGINE, attention="flash", fp8_recipe="blockwise"), yarn)
    assert (config.fp8, config.fp8_recipe, config.attention_backend.name) == ("hybrid", "blockwise", "flash")
    off = transformer_config(architecture, cases.SINGLE, None)
    assert off.fp8 is None
    assert off.attention_backend.name == "auto"
