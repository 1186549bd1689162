"""Transformer Engine's FusedAdam as Megatron sees it, without its kernels: its groups of parameters count the steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch


class FusedAdamDouble(torch.optim.Optimizer):
    """AdamW; like the original it refuses a state ``step`` of a single parameter."""

    def __init__(self, params: Any, adam_w_mode: bool, **settings: Any) -> None:
        assert adam_w_mode
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
                mean = state["exp_avg"].lerp_(parameter.grad, 1 - beta1) / (1 - beta1 ** group["step"])
                square = state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                scale = (square / (1 - beta2 ** group["step"])).sqrt() + group["eps"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * mean / scale)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if any("step" in state for state in state_dict["state"].values()):
            raise KeyError("step")
        super().load_state_dict(state_dict)


def use_fused_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    from megatron.core import optimizer
    from megatron.core.optimizer import distrib_optimizer

    monkeypatch.setattr(optimizer, "USING_PYTORCH_OPTIMIZER", False)
    monkeypatch.setattr(optimizer, "Adam", FusedAdamDouble)
    monkeypatch.setattr(distrib_optimizer, "Adam", FusedAdamDouble)
    monkeypatch.setattr(distrib_optimizer, "HAVE_APEX_OR_TE", True)
    monkeypatch.setattr(distrib_optimizer, "USING_TE_OPTIMIZER", True)
