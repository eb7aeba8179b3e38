"""The processes of one training: one by itself, or those that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

WAIT = timedelta(hours=1)
"""How long a rank waits for another: rank 0 validates while the others wait."""


@dataclass(frozen=True)
class Ranks:
    """Who this process is among how many, and where it computes. ``size == 1``: nothing here talks to anyone."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process validates, saves and logs."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients; ``model`` itself keeps parameters and buffers.

        On GPUs batch norms see the batches of all ranks. On CPUs (PyTorch has no synchronised batch norm there) each rank
        normalises by its own batch, and ``average_buffers`` keeps the running statistics one.
        """
        if self.size == 1:
            return model
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device.index] if on_gpu else None, broadcast_buffers=False
        )

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Replaces floating-point buffers (running means and variances) by their mean over the ranks."""
        if self.size == 1:
            return
        buffers = [b for b in model.buffers() if b.dtype.is_floating_point]
        flat = torch.cat([b.flatten() for b in buffers])
        dist.all_reduce(flat)
        flat /= self.size
        for b, mean in zip(buffers, flat.split([b.numel() for b in buffers])):
            b.copy_(mean.view_as(b))

    def from_first(self, value: float) -> float:
        """Rank 0's value: clocks differ, and all must stop at the same step."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def join() -> Ranks:
    """Reads torchrun's environment (RANK, WORLD_SIZE, LOCAL_RANK) and joins the others: NCCL with GPUs, gloo without."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if size == 1:
        return Ranks(0, 1, device)
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=WAIT)
    return Ranks(dist.get_rank(), size, device)
