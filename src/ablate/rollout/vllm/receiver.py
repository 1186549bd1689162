"""The servers' end of a broadcast of weights: a weight-transfer backend of vLLM, which ``worker.py`` registers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from ablate.rollout.vllm.worker import repack_tied_head
from ablate.rollout.weights.buckets import Group, MessageLayout, open_group, unpacked
from ablate.rollout.weights.shared import SharedReader


@dataclass
class Meeting(WeightTransferInitInfo):
    """Where a group meets, and this server's place in it."""

    host: str
    port: int
    name: str  # of the group: the store's host may have served an earlier group
    first_rank: int  # of this server's workers
    size: int
    timeout_s: float


@dataclass
class Message(WeightTransferUpdateInfo):
    """The layout of the message that comes next."""

    names: list[str]
    dtypes: list[str]
    shapes: list[list[int]]
    path: str | None = None  # of this machine's memory that holds it; None: it comes by broadcast
    num_mapped: int = 0  # bytes there


class Receiver(WeightTransferEngine[Meeting, Message]):
    """Receives whole tensors under their Hugging Face names; vLLM splits and packs them as when it loads a model."""

    init_info_cls = Meeting
    update_info_cls = Message
    supports_draft_weight_update = False

    _group: Group | None = None
    _reader: SharedReader | None = None
    _is_loading = False

    def init_transfer_engine(self, init_info: Meeting) -> None:
        """Join a new group in place of the present one."""
        self._group = None
        timeout = timedelta(seconds=init_info.timeout_s)
        store = dist.TCPStore(init_info.host, init_info.port, init_info.size, False, timeout)
        rank = init_info.first_rank + self.parallel_config.rank
        self._group = open_group(
            dist.PrefixStore(init_info.name, store), rank, init_info.size, self.device, init_info.timeout_s
        )

    def start_weight_update(self) -> None:
        """Prepare for weights that come in parts."""
        if self._is_loading:  # the update before this one was interrupted, and left layers that wait for their rest
            finalize_layerwise_reload(self.model, self.model_config)
        initialize_layerwise_reload(self.model)
        self._is_loading = True

    def receive_weights(self, update_info: Message) -> None:
        """Receive one message and hand its tensors to the model."""
        layout = MessageLayout(
            tuple(update_info.names), tuple(update_info.dtypes), tuple(tuple(shape) for shape in update_info.shapes)
        )
        # A new buffer for every message: a layer keeps its tensors until the last of them has come.
        if update_info.path is not None:
            self._reader = self._reader or SharedReader()
            buffer = self._reader.take(update_info.path, update_info.num_mapped, layout.num_bytes, self.device)
        else:
            buffer = torch.empty(layout.num_bytes, dtype=torch.uint8, device=self.device)
            self._group.broadcast(buffer)
        self.model.load_weights(unpacked(layout, buffer))

    def finish_weight_update(self) -> None:
        """Put the last layers in place."""
        finalize_layerwise_reload(self.model, self.model_config)
        self._is_loading = False
        repack_tied_head(self.model)

    def shutdown(self) -> None:
        """Leave the group."""
        self._group = None
