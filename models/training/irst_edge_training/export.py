"""``python -m irst_edge_training export``: a checkpoint becomes the ONNX files and the manifest that the runtime reads."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from .model import STRIDE, NetConfig, P2PLite, count_parameters
from .normalise import MAD_TO_SIGMA, MIN_SCALE, STD_SHARE, Z_MAX, Z_MIN
from .onnx_graph import Exporter

SIZES: tuple[tuple[int, int] | None, ...] = ((120, 160), (256, 256), (256, 320), (288, 384), (512, 640), None)
"""(height, width) of the static graphs; ``None``: free height and width, for the CPU."""

TRAINING_DATA = [
    {"name": "NUDT-SIRST", "used": "training list, single points", "licence": "published with DNANet; none stated"},
    {"name": "SIRST", "used": "training list, single points", "licence": "none stated"},
    {"name": "IRSTD-1K", "used": "training list, single points", "licence": "MIT release agreement"},
    {"name": "SIRST-V2 target-free frames", "used": "four fifths of the list, no targets", "licence": "none stated"},
    {"name": "Halmstad drone detection data set (IR)", "used": "four fifths of the videos, box centres", "licence": "CC0 1.0"},
]


def load_checkpoint(path: Path) -> tuple[P2PLite, dict]:
    state = torch.load(path, map_location="cpu", weights_only=False)
    model = P2PLite(NetConfig.from_dict(state["config"])).eval()
    model.load_state_dict(state["ema"])
    return model, state


def giga_flops(model: P2PLite, height: int = 256, width: int = 256) -> float:
    """1e9 floating-point operations of a frame; one multiply-accumulate counts two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, height, width))
    return counter.get_total_flops() / 1e9


def write_atomic(path: Path, data: bytes) -> None:
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_bytes(data)
    os.replace(tmp, path)


def export(checkpoint: Path, out: Path, name: str, threshold: float | None = None) -> dict:
    """Writes ``out/<name>_<size>_<precision>.onnx`` and ``out/manifest.json``; returns the manifest."""
    model, state = load_checkpoint(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for size in SIZES:
        height, width = size if size else ("height", "width")
        for half, precision in ((False, "fp32"), (True, "fp16")):
            data = Exporter(model, half).build(height, width).SerializeToString(deterministic=True)
            file = f"{name}_{f'{width}x{height}' if size else 'any'}_{precision}.onnx"
            write_atomic(out / file, data)
            files.append(
                {
                    "file": file,
                    "precision": precision,
                    "height": size[0] if size else None,
                    "width": size[1] if size else None,
                    "bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
            )
    validation = state.get("validation", {})
    manifest = {
        "schema": "irst-edge/model/1",
        "name": name,
        "method": "point-to-point regression: asymmetric full-dimensional dynamic extraction, high-resolution cross-feature "
        "enhancement, adaptive point-regression head (doi 10.3788/gzxb20265502.0210002)",
        "input": {
            "multiple": 8,
            "normalisation": {
                "kind": "median-mad",
                "madToSigma": MAD_TO_SIGMA,
                "stdShare": STD_SHARE,
                "minScale": MIN_SCALE,
                "zMin": Z_MIN,
                "zMax": Z_MAX,
            },
        },
        "output": {"stride": STRIDE},
        "decode": {"threshold": threshold if threshold is not None else validation.get("threshold", 0.5), "low": 0.1},
        "parameters": count_parameters(model),
        "gigaFlops256": round(giga_flops(model), 4),
        "training": {"data": TRAINING_DATA, "steps": state.get("step"), "hours": round(state.get("spent", 0) / 3600, 3), "seed": state.get("seed"),
                     "config": state["config"]},
        "validation": validation,
        "files": files,
    }
    write_atomic(out / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True, help="best.pt or last.pt of a training run")
    p.add_argument("--out", type=Path, required=True, help="folder for the .onnx files and manifest.json")
    p.add_argument("--name", default="p2p-lite", help="name of the model, the stem of its files")
    p.add_argument("--threshold", type=float, help="score threshold (default: the one chosen on held-out training data)")


def main(args: argparse.Namespace) -> None:
    manifest = export(args.checkpoint, args.out, args.name, args.threshold)
    for f in manifest["files"]:
        print(f"{f['file']}  {f['bytes']} bytes  {f['sha256'][:12]}")
    print(f"{manifest['parameters']} parameters, {manifest['gigaFlops256']} GFLOPs at 256x256, threshold {manifest['decode']['threshold']}")
