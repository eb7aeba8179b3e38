"""The training loss: quality-focal heat map, hard negatives, soft-argmax position, log sigma."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossConfig:
    kind: str = "quality-focal"
    """``quality-focal``, or ``mse`` (ablation): mean squared error over all cells, times 200 to weigh as much beside the other terms;
    without hard negatives, as P2P-HDNet has it."""
    hard_negatives: int = 24
    """Hardest background cells of a sample (far from any target) that count double."""
    location: float = 0.5
    location_squared: float = 0.0
    """Weight of the squared position error (cells) beside its absolute value: what counts for an rms error is large targets, whose
    error a robust loss leaves alone."""
    sigma: float = 0.1


def heat_loss(logit: Tensor, heat: Tensor, config: LossConfig) -> Tensor:
    """``|H - p|^2 BCE(p, H)`` a cell, [B, 1, h, w]: needs no cell that is exactly one, so labels may lie between cells."""
    if config.kind == "mse":
        return 2 * (logit.sigmoid() - heat) ** 2
    return (logit.sigmoid() - heat).abs() ** 2 * F.binary_cross_entropy_with_logits(logit, heat, reduction="none")


def total_loss(logit: Tensor, logsig: Tensor, heat: Tensor, targets: Tensor, config: LossConfig) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch. ``logit``, ``logsig``, ``heat`` [B, 1, h, w]; ``targets`` [B, N, 4] = x, y, sigma (cells), valid."""
    b, _, h, w = logit.shape
    per_cell = heat_loss(logit, heat, config)
    count = targets[..., 3].sum().clamp(min=1)
    if config.kind == "mse":
        heat_term = per_cell.mean() * 100
    else:
        heat_term = per_cell.sum() / count
        if config.hard_negatives:
            background = (per_cell * (heat < 0.01)).flatten(1)
            heat_term = heat_term + background.topk(config.hard_negatives, 1).values.sum() / count

    inside = (targets[..., 3] > 0) & (targets[..., 0] >= 2) & (targets[..., 1] >= 2) & (targets[..., 0] <= w - 3) & (targets[..., 1] <= h - 3)
    sample, slot = inside.nonzero(as_tuple=True)
    loc_term = sig_term = logit.new_zeros(())
    if len(sample):
        x, y, s = targets[sample, slot, 0], targets[sample, slot, 1], targets[sample, slot, 2]
        cx, cy = x.round().long(), y.round().long()
        d = torch.arange(-2, 3, device=logit.device)
        rows, cols = (cy[:, None, None] + d[None, :, None]), (cx[:, None, None] + d[None, None, :])
        p = logit[sample[:, None, None], 0, rows, cols].sigmoid()
        weight = p**2 + 1e-8
        total = weight.sum((1, 2))
        px, py = (weight * cols).sum((1, 2)) / total, (weight * rows).sum((1, 2)) / total
        # The window is centred on the rounded label: compare with what the ideal map gives in the same window, so that
        # neither truncation nor the flank of a near neighbour is a bias.
        ideal = heat[sample[:, None, None], 0, rows, cols] ** 2 + 1e-8
        norm = ideal.sum((1, 2))
        tx, ty = (ideal * cols).sum((1, 2)) / norm, (ideal * rows).sum((1, 2)) / norm
        alive = (p.amax((1, 2)) > 0.1).float()
        error = F.smooth_l1_loss(px, tx, beta=0.1, reduction="none") + F.smooth_l1_loss(py, ty, beta=0.1, reduction="none")
        if config.location_squared:
            error = error + config.location_squared * ((px - tx) ** 2 + (py - ty) ** 2)
        loc_term = (error * alive).sum() / count
        near = logsig[sample[:, None, None], 0, rows[:, 1:4], cols[:, :, 1:4]]
        sig_term = F.smooth_l1_loss(near, s.log()[:, None, None].expand_as(near), beta=0.1, reduction="none").mean((1, 2)).sum() / count
    loss = heat_term + config.location * loc_term + config.sigma * sig_term
    return loss, {"heat": float(heat_term.detach()), "loc": float(loc_term.detach()), "sig": float(sig_term.detach())}
