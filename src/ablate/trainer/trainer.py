"""The trainer: log-probabilities, one update, weights out. The same code on one CPU core and on many GPUs.

Shape suffixes: B rows, S tokens of a row, T = S - 1 predictions, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ablate.config import ModelConfig, OptimConfig, ParallelConfig
from ablate.errors import UserError
from ablate.models.architecture import read_architecture, yarn_for
from ablate.objectives.base import Objective
from ablate.objectives.metrics import step_metrics
from ablate.trainer import batching, cpu
from ablate.trainer.batching import MicroBatch
from ablate.trainer.checkpoint.directory import Checkpoints
from ablate.trainer.checkpoint.shards import TrainingState
from ablate.trainer.model import weights
from ablate.trainer.model.logprobs import response_logp_entropy
from ablate.trainer.model.model_input import ModelInput, model_input, share_of
from ablate.trainer.model.policy import build_model
from ablate.trainer.optimizer import build_optimizer, build_scheduler, wrap_data_parallel
from ablate.trainer.parallel import layout
from ablate.trainer.parallel.world import open_world
from ablate.types import TrainBatch

cpu.import_megatron()

from megatron.core.pipeline_parallel import get_forward_backward_func  # noqa: E402

Done = list[tuple[MicroBatch, dict[str, Tensor]]]
HfTensors = Iterator[tuple[str, Tensor]]  # (Hugging Face name, whole tensor)
Result = TypeVar("Result")
LossOf = Callable[[Tensor, TrainBatch], Tensor]  # of logp_BT and a micro-batch


class Trainer:
    """A policy under training. Every rank of the job holds one and calls its methods in the same order.

    Args:
        model_dir: a Hugging Face Qwen3 directory, where the weights start.
        context_length: tokens of a row; beyond ``model.original_context`` positions are stretched by YaRN.
        total_updates: length of the learning-rate schedule, in updates.
        temperature: of the rollouts; divides the logits of every log-probability.

    Raises:
        UserError: when the checkpoint, the layout and the processes do not fit together.
    """

    def __init__(
        self,
        model_dir: Path,
        model: ModelConfig,
        parallel: ParallelConfig,
        optim: OptimConfig,
        *,
        context_length: int,
        total_updates: int,
        temperature: float,
    ) -> None:
        self.world = open_world(parallel)
        self.model_dir, self.parallel, self.temperature = Path(model_dir), parallel, temperature
        self.architecture = read_architecture(self.model_dir)
        self.yarn = yarn_for(self.model_dir, context_length, model.original_context)
        self.model = build_model(self.architecture, parallel, self.yarn, context_length, self.world.device)
        weights.load_weights(self.model, self.model_dir, self.architecture, self.world)
        with cpu.answering_for_cuda():
            self.data_parallel = wrap_data_parallel(self.model, parallel)
            self.optimizer = build_optimizer(self.data_parallel, parallel, optim)
            self.scheduler = build_scheduler(self.optimizer, optim, total_updates)
        state = TrainingState(self.model, self.optimizer, self.scheduler, parallel.precision)
        self.checkpoints = Checkpoints(state, self.world)
        self.reference: list[Tensor] | None = None
        self._has_gradients = True  # their memory

    def logp(self, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        """Log-probability [B, T] and entropy [B, T] of each response token, nats, 0 outside the mask, on all ranks."""
        with torch.no_grad():
            return self._gather(batch, self._run(batch, lambda logp_BT, _: logp_BT.new_zeros(()), forward_only=True))

    def reference_logp(self, batch: TrainBatch) -> Tensor:
        """Log-probability [B, T] under the weights of ``model_dir``, kept in memory from the first call on."""
        current = [parameter.detach().clone() for parameter in self.model.parameters()]
        try:
            if self.reference is None:
                weights.load_weights(self.model, self.model_dir, self.architecture, self.world)
                self.reference = [parameter.detach().clone() for parameter in self.model.parameters()]
            self._copy_in(self.reference)
            return self.logp(batch)[0]
        finally:
            self._copy_in(current)

    def update(self, batch: TrainBatch, objective: Objective, *, with_metrics: bool = True) -> dict[str, float]:
        """One optimizer step on all rows of ``batch``.

        Returns:
            ``train/loss train/grad_norm train/lr``, and with metrics ``policy/entropy`` and the objective's own.
            Without metrics nothing beyond the loss is gathered (the warm start's way).

        Raises:
            FloatingPointError: when the gradient is not finite; every rank raises it.
        """
        done, metrics = self._update(batch, objective.loss)
        if with_metrics:
            logp_BT, entropy = self._logp_and_mean_entropy(batch, done)
            metrics |= {"policy/entropy": entropy, **step_metrics(objective, logp_BT, batch)}
        return metrics

    def first_update(self, batch: TrainBatch, objective: Objective) -> tuple[dict[str, float], Tensor]:
        """As ``update``, where the old policy is the present one: its own forward pass gives ``old_logp_BT``.

        A separate pass would lay rows out in other micro-batches, and in bf16 that noise is as wide as GSPO's clip.
        Returns the metrics, and ``old_logp_BT`` of the rows of ``batch``.
        """
        done, metrics = self._update(batch, objective.on_policy_loss)
        logp_BT, entropy = self._logp_and_mean_entropy(batch, done)
        found = step_metrics(objective, logp_BT, replace(batch, old_logp_BT=logp_BT))
        return {**metrics, "policy/entropy": entropy, **found}, logp_BT

    def free_gradients(self) -> None:
        """Give back the memory of the gradients until the next update, and what the allocator keeps."""
        self.optimizer.zero_grad()  # views of that memory, which Megatron's optimizer reads when it loads a checkpoint
        with cpu.answering_for_cuda():
            self.data_parallel.offload_grad_buffers()
        self._has_gradients = False

    def _update(self, batch: TrainBatch, loss_of: LossOf) -> tuple[Done, dict[str, float]]:
        self._zero_gradients()
        done = self._run(batch, loss_of, forward_only=False)
        self.scheduler.step(increment=1)  # first, so that the first update of a warm-up changes the weights
        with cpu.answering_for_cuda():
            _, grad_norm, _ = self.optimizer.step()
        if not math.isfinite(grad_norm):
            raise FloatingPointError(
                f"the gradient's norm is {grad_norm} at learning rate {self.optimizer.param_groups[0]['lr']:g}: "
                "the weights in memory are lost; the newest checkpoint is from before"
            )
        return done, {
            "train/loss": self._total_loss(done),
            "train/grad_norm": float(grad_norm),
            "train/lr": self.optimizer.param_groups[0]["lr"],
        }

    def gradient(self, batch: TrainBatch, objective: Objective, *, is_on_policy: bool = False) -> Tensor:
        """d loss / d parameters as one flat float32 vector on the CPU, computed as in ``update``. No weight changes.

        Args:
            is_on_policy: as in ``first_update``.

        Raises:
            UserError: in a job of several processes, where each holds a part of the vector.
        """
        if self.world.size > 1:
            raise UserError(f"a whole gradient needs one process, not {self.world.size}: start it without torchrun")
        self._zero_gradients()
        loss_of = objective.on_policy_loss if is_on_policy else objective.loss
        self._run(batch, loss_of, forward_only=False)
        flat = torch.cat([parameter.main_grad.float().flatten().cpu() for parameter in self.model.parameters()])
        self.data_parallel.zero_grad_buffer()
        return flat

    def _zero_gradients(self) -> None:
        if not self._has_gradients:
            with cpu.answering_for_cuda():
                self.data_parallel.restore_grad_buffers(synchronize=False)
            self._has_gradients = True
        self.data_parallel.zero_grad_buffer()
        self.optimizer.zero_grad()  # after an update ``grad`` is ``main_grad``: a backward pass would add to it twice

    def gather_weights(
        self,
        sink: Callable[[Iterator[Any]], Result] | None = None,
        as_messages: Callable[[HfTensors], Iterator[Any]] = iter,
    ) -> Result | None:
        """Hand every weight to ``sink`` and return its result; the ranks without a sink take part in the gather.

        Args:
            sink: receives (Hugging Face name, whole tensor) pairs, one tensor at a time. It may stop reading early.
            as_messages: makes of the pairs what the sink receives, on every rank.
        """
        tensors = as_messages(weights.hf_tensors(self.model, self.architecture, self.world))
        result = None if sink is None else sink(tensors)
        for _ in tensors:  # a gather: every rank has to reach its end
            pass
        return result

    def _run(self, batch: TrainBatch, loss_of: LossOf, *, forward_only: bool) -> Done:
        """Forward, and backward unless told not to, over this rank's micro-batches; results on the last stage only."""
        world = self.world
        plan = batching.plan_micro_batches(
            batching.row_lengths(batch),
            self.parallel.max_tokens_per_micro_batch,
            num_ranks=world.data_group.size(),
            row_multiple=layout.row_multiple(self.parallel),
            multiple_of=layout.sequence_multiple(self.parallel),
            packing=self.parallel.packing,
        )[world.data_group.rank()]
        with cpu.answering_for_cuda():
            results = get_forward_backward_func()(
                forward_step_func=partial(self._forward, loss_of=loss_of),
                data_iterator=(batching.cut(batch, micro_batch) for micro_batch in plan),
                model=[self.data_parallel],
                num_microbatches=len(plan),
                seq_length=max(micro_batch.num_tokens for micro_batch in plan),
                micro_batch_size=1,  # has no meaning with variable lengths
                forward_only=forward_only,
            )
        return list(zip(plan, results, strict=True)) if world.is_last_stage else []

    def _forward(self, batches: Iterator[TrainBatch], model: torch.nn.Module, loss_of: LossOf) -> tuple[Tensor, Any]:
        batch = batching.on_device(next(batches), self.world.device)
        given = share_of(model_input(batch, self.parallel), self.world.context_group)
        output = model(given.tokens, None, None, packed_seq_params=given.packed)
        return output, partial(self._loss, batch, given, loss_of)

    def _loss(
        self, batch: TrainBatch, given: ModelInput, loss_of: LossOf, hidden: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        logp, entropy = response_logp_entropy(
            hidden,
            self.model.output_weight_VD,
            given.targets,
            mask=given.mask,
            vocab_size=self.architecture.vocab_size,
            temperature=self.temperature,
            chunk_tokens=self.parallel.logp_chunk_tokens,
            tp_group=self.world.tensor_group,
        )
        logp_BT = given.to_rows(logp)
        loss = loss_of(logp_BT, batch)
        result = {"loss": loss.detach(), "logp_BT": logp_BT.detach(), "entropy_BT": given.to_rows(entropy)}
        return loss, torch.zeros((), dtype=torch.int), result

    def _gather(self, batch: TrainBatch, done: Done) -> tuple[Tensor, Tensor]:
        """Put the micro-batches' results back into the rows of ``batch``, on all ranks, on the CPU as batches are."""
        whole_2BT = torch.zeros(2, *batch.mask_BT.shape, device=self.world.device)
        if self.world.speaks_for_its_rows:
            for micro_batch, result in done:
                if not micro_batch.is_filler:
                    width = min(whole_2BT.shape[2], micro_batch.num_tokens - 1)
                    for whole_BT, name in zip(whole_2BT, ("logp_BT", "entropy_BT"), strict=True):
                        whole_BT[list(micro_batch.rows), :width] = result[name][:, :width]
        logp_BT, entropy_BT = self.world.sum_over_ranks(whole_2BT).cpu()
        return logp_BT, entropy_BT

    def _logp_and_mean_entropy(self, batch: TrainBatch, done: Done) -> tuple[Tensor, float]:
        logp_BT, entropy_BT = self._gather(batch, done)
        return logp_BT, (entropy_BT.sum() / batch.mask_BT.sum()).item()

    def _total_loss(self, done: Done) -> float:
        total = torch.zeros((), device=self.world.device)
        if self.world.speaks_for_its_rows:
            for _, result in done:
                total += result["loss"]
        return self.world.sum_over_ranks(total).item()

    @torch.no_grad()
    def _copy_in(self, tensors: list[Tensor]) -> None:
        for parameter, tensor in zip(self.model.parameters(), tensors, strict=True):
            parameter.copy_(tensor)
