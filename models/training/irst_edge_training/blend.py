"""``python -m irst_edge_training blend``: the weights between two checkpoints, the second trained further from the first.

A short schedule on other data gives some of what the first one learnt away; between the two lie weights that keep most of it and have
most of what was gained (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). The statistics of the batch norms must
be those of the first, as ``train --whole`` leaves them, or near.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from .data import load_pools
from .export import load_checkpoint
from .train import save, validate


def blend(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """``share`` of the second and the rest of the first; what counts something is the second's. @raises ValueError: other shapes"""
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        raise ValueError("the checkpoints are of different networks")
    return {k: torch.lerp(first[k], v, share) if v.is_floating_point() else v for k, v in second.items()}


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoints", type=Path, nargs=2, required=True, metavar=("FIRST", "SECOND"))
    p.add_argument("--share", type=float, required=True, help="of the second one, 0 to 1")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--threshold", type=float, help="score threshold of the held-out figures (default: the best one)")
    p.add_argument("--out", type=Path, required=True)


def main(args: argparse.Namespace) -> None:
    if not 0 <= args.share <= 1:
        raise SystemExit("blend: --share is 0 to 1")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    (_, first), (model, second) = (load_checkpoint(path) for path in args.checkpoints)
    if first["seed"] != second["seed"]:
        # The seed splits the lists: one of the two was trained on what is held out for the other.
        raise SystemExit(f"blend: trained with --seed {first['seed']} and {second['seed']}: no list is held out for both")
    try:
        second["ema"] = blend(first["ema"], second["ema"], args.share)
    except ValueError as error:
        raise SystemExit(f"blend: {error}") from error
    model.load_state_dict(second["ema"])
    _, held = load_pools(args.data, second["seed"], videos=False)
    second["validation"] = {"step": second["step"], **validate(model, held, threshold=args.threshold)}
    save(args.out, {**second, "share": args.share})
    print(json.dumps(second["validation"], indent=2))
