"""Muon: momentum whose update of each kernel is replaced by the nearest (semi-)orthogonal matrix; AdamW for everything else.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon). All
singular directions of a kernel learn at the same pace, which small convolutional networks turn into fewer steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Quintic Newton-Schulz iteration of the source: singular values from (0, 1] to about 0.7..1.2 in five rounds."""


def orthogonalise(g: Tensor, rounds: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices of a stack [N, R, C], approximately; float32."""
    a, b, c = COEFFICIENTS
    x = g
    wide = x.shape[1] <= x.shape[2]
    if not wide:
        x = x.transpose(1, 2)
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(rounds):
        s = x @ x.transpose(1, 2)
        x = a * x + (b * s + c * (s @ s)) @ x
    return x if wide else x.transpose(1, 2)


class Muon(torch.optim.Optimizer):
    """For kernels [out, in, h, w] that see more than one input channel; each is one matrix [out, in * h * w].

    ``lr`` is the spectral size of a step. Kernels of the same shape are orthogonalised together.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # noqa: ANN001 - the signature of torch
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"]
                m.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(m, group["momentum"]).flatten(1)
                by_shape.setdefault(tuple(update.shape), []).append((p, update))
            for (rows, cols), members in by_shape.items():
                scale = group["lr"] * max(1.0, rows / cols) ** 0.5
                for (p, _), u in zip(members, orthogonalise(torch.stack([u for _, u in members]))):
                    p.mul_(1 - group["lr"] * group["decay"])
                    p.add_(u.view_as(p), alpha=-scale)
