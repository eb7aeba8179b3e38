"""``python -m irst_edge_training grow``: a trained network in a larger shape, so that a new schedule need not begin from nothing.

What a unit adds begins as the identity, so the larger network computes what the smaller one did (Chen et al., "Net2Net", ICLR 2016).
A unit ends in a channel shuffle, therefore it can stand only where the order of channels is free: before the first unit of a
branch that has just begun (the convolution in front of it is reordered), or behind the last unit of the last stage (the fusion
is). A unit less at 1/8 of the last stage is replaced by the linear map nearest to it, folded into the path that follows.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .data import CropSampler, load_pools
from .loss import LossConfig
from .model import AFDUnit, NetConfig, P2PLite, count_parameters
from .train import parse_depth, save, switches


def shuffled(channels: int) -> Tensor:
    """``src`` [channels]: after a unit that changes nothing, channel ``p`` holds what was channel ``src[p]``."""
    half = channels // 2
    return torch.stack((torch.arange(half), torch.arange(half, channels)), 1).flatten()


def make_identity(unit: AFDUnit) -> None:
    """Kernels that hand on what they get (attentions at their start); ``calibrate`` sets the batch norms."""
    od = unit.od
    with torch.no_grad():
        od.heads.weight.zero_()
        gate = float(od.heads.bias[0].sigmoid())
        for kernel in (od.k33, od.k13, od.k31):
            kernel.zero_()
            kernel[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2] = torch.eye(od.channels) / gate**3
        unit.mix[0].weight.copy_(torch.eye(od.channels)[:, :, None, None])


def permute(module: nn.Module, order: Tensor, axis: int) -> None:
    """Reorders the channels of a convolution (axis 0 out, 1 in; what is depthwise has only 0) or of a batch norm."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.ndim > axis:
                tensor.copy_(tensor.index_select(axis, order))


def reorder_source(model: P2PLite, branch: int) -> None:
    """The convolution in front of a branch gives its channels so that a shuffle puts them where they were."""
    layers = model.stem[:2] if branch == 0 else model.transitions[branch - 1].point
    inverse = shuffled(model.config.channels[branch]).argsort()
    for layer in layers:
        permute(layer, inverse, 0)


def reorder_fusion(model: P2PLite, branch: int) -> None:
    """The last fusion and what follows it take the branch's channels as a shuffle leaves them."""
    fusion, src = model.fusions[1], shuffled(model.config.channels[branch])
    if branch > 0:
        permute(fusion.paths[f"{branch}to0"].point[0], src, 1)
        return
    for path in fusion.paths.values():
        for layer in path.point:
            permute(layer, src, 0)
    if "0" in fusion.gates:
        permute(fusion.gates["0"], src, 1)
    for layer in model.smooth[0]:
        permute(layer, src, 0)
    permute(model.smooth[1][0], src, 1)


@torch.no_grad()
def capture(model: P2PLite, unit: nn.Module, batches: list[Tensor], output: bool = False) -> Tensor:
    """[N, C] what goes into a unit (or out of it) at every so many positions of all batches."""
    rows: list[Tensor] = []

    def take(x: Tensor) -> None:
        flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        rows.append(flat[:: max(1, len(flat) // 20_000)])

    handle = unit.register_forward_hook(lambda _m, inputs, out: take(out if output else inputs[0]))
    for batch in batches:
        model(batch)
    handle.remove()
    return torch.cat(rows)


def calibrate(model: P2PLite, unit: AFDUnit, batches: list[Tensor]) -> None:
    """Batch norms that undo themselves: scale and shift are the deviation and mean of what passes."""
    work = capture(model, unit, batches)[:, unit.od.channels :]
    mean, var = work.mean(0), work.var(0)
    with torch.no_grad():
        for bn in (unit.od.bn, unit.mix[1]):
            bn.running_mean.copy_(mean)
            bn.running_var.copy_(var)
            bn.weight.copy_((var + bn.eps).sqrt())
            bn.bias.copy_(mean)


def shorten_last(model: P2PLite, batches: list[Tensor]) -> dict[str, Tensor]:
    """State of the model without the last unit at 1/8: what reads it takes the nearest linear map of what the unit had read."""
    branch = model.stages[2][2]
    x, y = capture(model, branch[-1], batches), capture(model, branch[-1], batches, output=True)
    half = x.shape[1] // 2
    inputs = torch.cat((x[:, half:], torch.ones(len(x), 1)), 1)
    fit = torch.linalg.lstsq(inputs, y[:, 1::2]).solution  # [half + 1, half]
    conv, bn = model.fusions[1].paths["2to0"].point
    state = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith(f"stages.2.2.{len(branch) - 1}.")}
    w = conv.weight[:, :, 0, 0].detach()
    keep, work = w[:, 0::2], w[:, 1::2]
    state["fusions.1.paths.2to0.point.0.weight"] = torch.cat((keep, work @ fit[:-1].T), 1)[:, :, None, None]
    state["fusions.1.paths.2to0.point.1.running_mean"] = bn.running_mean - work @ fit[-1]
    return state


def grow(model: P2PLite, config: NetConfig, batches: list[Tensor]) -> P2PLite:
    """The model in the shape ``config``: a unit more or none where the order of channels is free, or a unit less at 1/8 of the last stage.

    Raises ValueError for every other difference. ``batches`` [B, 1, H, W] are what the new batch norms are measured on.
    """
    old = model.config
    if replace(old, depth=config.depth) != config:
        raise ValueError("only the numbers of units may differ")
    if not old.dynamic:
        raise ValueError("only networks with dynamic convolutions grow")
    model.eval()
    for stage in range(3):
        for branch in range(stage + 1):
            change = config.depth[stage][branch] - old.depth[stage][branch]
            free = branch == stage or stage == 2
            if change not in ((-1, 0, 1) if (stage, branch) == (2, 2) else (0, 1) if free else (0,)):
                raise ValueError(f"stage {stage}, branch {branch}: {change:+d} units cannot be had")
    state = shorten_last(model, batches) if config.depth[2][2] < old.depth[2][2] else model.state_dict()
    grown = P2PLite(config).eval()
    added: list[AFDUnit] = []
    moved: dict[str, Tensor] = {}
    prepended = {(s, s) for s in (0, 1) if config.depth[s][s] > old.depth[s][s]}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "stages" and (int(parts[1]), int(parts[2])) in prepended:
            parts[3] = str(int(parts[3]) + 1)
        moved[".".join(parts)] = value
    missing = grown.load_state_dict(moved, strict=False)
    if missing.unexpected_keys:
        raise ValueError(f"no place for {missing.unexpected_keys[:3]}")
    for stage in range(3):
        for branch in range(stage + 1):
            if config.depth[stage][branch] <= old.depth[stage][branch]:
                continue
            first = (stage, branch) in prepended
            added.append(grown.stages[stage][branch][0 if first else -1])
            make_identity(added[-1])
            (reorder_source if first else reorder_fusion)(grown, branch)
    # In the order in which they run: each is measured behind the ones before it.
    for unit in added:
        calibrate(grown, unit, batches)
    return grown


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--depth", required=True, help="AFD units of each branch, stage by stage, such as 1/2,3/4,3,2")
    p.add_argument("--out", type=Path, required=True, help="the checkpoint to write; train --init begins from it")


def main(args: argparse.Namespace) -> None:
    begin = torch.load(args.checkpoint, map_location="cpu", weights_only=False)
    model = P2PLite(NetConfig.from_dict(begin["config"]))
    model.load_state_dict(begin["ema"])
    config = replace(model.config, depth=parse_depth(args.depth))
    pools, _ = load_pools(args.data, begin["seed"], videos=False)
    sampler = CropSampler(pools, begin["seed"])
    sampler.calm = True
    batches = [torch.from_numpy(sampler.batch(8, 256)[0]) for _ in range(6)]
    try:
        grown = grow(model, config, batches)
    except ValueError as error:
        raise SystemExit(f"grow: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        apart = [float((model(b)[0].sigmoid() - grown(b)[0].sigmoid()).abs().max()) for b in batches]
    kept = switches(config, LossConfig(**begin.get("loss", {})), begin.get("rounded_labels", False))
    save(args.out, {"ema": grown.state_dict(), "step": begin["step"], "spent": begin["spent"], "seed": begin["seed"], "earlier": begin.get("earlier", {}), **kept})
    print(f"{count_parameters(grown)} parameters; heat differs by at most {np.max(apart):.2g}")
