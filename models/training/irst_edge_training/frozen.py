"""Dynamic convolutions replaced by their mean: a plain network, the fastest on a CPU and the one 8-bit builds start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .model import AODConv, P2PLite


@torch.no_grad()
def mean_kernels(model: P2PLite, frames: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Mean effective kernel of every dynamic layer over normalised frames [H, W], {layer: [C, C, 3, 3]}.

    The mean of the product of the attentions, not the product of their means: attentions that move together keep doing so.
    """
    if not len(frames):
        raise ValueError("frozen: give at least one calibration frame")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, AODConv)}
    banks = {name: m.kernel_bank() for name, m in layers.items()}
    sums = {name: torch.zeros(m.channels, m.channels, 9, dtype=torch.float64) for name, m in layers.items()}

    def collect(name: str):
        def hook(module: AODConv, inputs: tuple[Tensor, ...]) -> None:
            sums[name] += module.effective_kernel(inputs[0], banks[name]).double().sum(0).cpu()

        return hook

    hooks = [m.register_forward_pre_hook(collect(name)) for name, m in layers.items()]
    try:
        for z in frames:
            model(torch.from_numpy(z)[None, None].to(model.head.weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (s / len(frames)).view(*s.shape[:2], 3, 3) for name, s in sums.items()}


@torch.no_grad()
def freeze(model: P2PLite, frames: Sequence[np.ndarray]) -> P2PLite:
    """A network with ``dynamic=False`` whose kernels are the means over normalised frames [H, W]; ``model`` is not changed.

    Frames: float32, height and width multiples of 8 (``pad_to(normalise(image))``), like those of the task at hand.
    """
    kernels = mean_kernels(model, frames)
    plain = P2PLite(replace(model.config, dynamic=False)).eval()
    state = {k: v for k, v in model.state_dict().items() if ".squeeze." not in k and ".heads." not in k}
    plain.load_state_dict(state)
    for name, m in plain.named_modules():
        if isinstance(m, AODConv):
            # A plain layer takes the mean of its three kernels.
            m.k33.copy_(3 * kernels[name])
            m.k13.zero_()
            m.k31.zero_()
    return plain
