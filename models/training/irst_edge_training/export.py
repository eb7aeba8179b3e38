"""``python -m irst_edge_training export``: a checkpoint becomes the ONNX files and the manifest that the runtime reads."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from .data import SETS, hold_out, load_images, read_list
from .evaluate import pad_to
from .frozen import freeze
from .model import STRIDE, NetConfig, P2PLite, count_parameters
from .normalise import MAD_TO_SIGMA, MIN_SCALE, STD_SHARE, Z_MAX, Z_MIN, normalise
from .onnx_blocked import BLOCKS, BlockedExporter
from .onnx_graph import VARIANTS, Exporter

SIZES: tuple[tuple[int, int] | None, ...] = ((120, 160), (256, 256), (256, 320), (288, 384), (512, 640), None)
"""(height, width) of the static graphs; ``None``: free height and width, for the CPU."""

RELATIVE_THRESHOLD = 0.7
"""Least share of an image's highest peak that a detection needs, after P2P-HDNet's adaptive suppression (TGRS 2025): chosen on the training
lists (``decoders --lists``), see the model card."""

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


def parse_size(text: str) -> tuple[int, int] | None:
    """(height, width) of ``WxH`` (multiples of 8), ``None`` of ``any``."""
    if text == "any":
        return None
    parts = text.split("x")
    if len(parts) != 2 or not all(n.isdigit() and int(n) > 0 and int(n) % 8 == 0 for n in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give WIDTHxHEIGHT in multiples of 8, or any")
    return int(parts[1]), int(parts[0])


def calibration_frames(data: Path, count: int, seed: int) -> list[np.ndarray]:
    """``count`` normalised frames from the training lists, in equal shares of the sets, none of them held out."""
    rng = np.random.default_rng(seed)
    frames = []
    for i, name in enumerate(SETS):
        names, _ = hold_out(read_list(data / name / "train.txt"), 0.1, seed)
        share = (count + i) // len(SETS)
        picked = [names[k] for k in rng.permutation(len(names))[:share]]
        frames += [pad_to(normalise(s.image)) for s in load_images(data / name, picked)]
    return frames


def write_graphs(
    model: P2PLite,
    out: Path,
    name: str,
    sizes: Sequence[tuple[int, int] | None] = SIZES,
    precisions: Sequence[str] = ("fp32", "fp16"),
    variant: str = "folded",
    frames: Sequence[np.ndarray] | None = None,
) -> list[dict]:
    """Writes ``out/<name>_<size>_<precision>[_<variant>].onnx``; returns what a manifest says of each file.

    ``folded`` is the default and goes without a suffix. ``frames``: calibration of ``frozen``.
    """
    out.mkdir(parents=True, exist_ok=True)
    if variant == "frozen" and model.config.dynamic:
        # Once, not for every size.
        model = freeze(model, frames or ())
    files = []
    for size in sizes:
        height, width = size if size else ("height", "width")
        for precision in precisions:
            data = Exporter(model, precision == "fp16", variant).build(height, width).SerializeToString(deterministic=True)
            suffix = "" if variant == "folded" else f"_{variant}"
            file = f"{name}_{f'{width}x{height}' if size else 'any'}_{precision}{suffix}.onnx"
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
    return files


def write_blocked(model: P2PLite, out: Path, name: str) -> list[dict]:
    """Writes ``out/<name>_any_fp32_block<N>.onnx`` for each block of ONNX Runtime's CPU kernels; returns what a manifest says."""
    files = []
    for block in BLOCKS:
        data = BlockedExporter(model, block).build("height", "width").SerializeToString(deterministic=True)
        file = f"{name}_any_fp32_block{block}.onnx"
        write_atomic(out / file, data)
        files.append({"file": file, "block": block, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    return files


def export(checkpoint: Path, out: Path, name: str, threshold: float | None = None) -> dict:
    """Writes ``out/<name>_<size>_<precision>.onnx`` and ``out/manifest.json``; returns the manifest."""
    model, state = load_checkpoint(checkpoint)
    files = write_graphs(model, out, name)
    blocked = write_blocked(model, out, name)
    validation = state.get("validation", {})
    earlier = state.get("earlier", {"step": 0, "spent": 0.0})
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
        "decode": {
            "threshold": threshold if threshold is not None else validation.get("threshold", 0.5),
            "relativeThreshold": RELATIVE_THRESHOLD,
        },
        "parameters": count_parameters(model),
        "gigaFlops256": round(giga_flops(model), 4),
        "training": {"data": TRAINING_DATA, "steps": state.get("step", 0) + earlier["step"],
                     "hours": round((state.get("spent", 0) + earlier["spent"]) / 3600, 3), "seed": state.get("seed"),
                     "config": state["config"]},
        "validation": validation,
        "files": files,
        "blocked": blocked,
    }
    write_atomic(out / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True, help="best.pt or last.pt of a training run")
    p.add_argument("--out", type=Path, required=True, help="folder for the .onnx files and manifest.json")
    p.add_argument("--name", default="p2p-lite", help="name of the model, the stem of its files")
    p.add_argument("--threshold", type=float, help="score threshold (default: the one chosen on held-out training data)")


    p.add_argument("--variant", choices=VARIANTS, default="folded", help="other than folded: .onnx files only, the manifest stays")
    p.add_argument("--sizes", nargs="+", type=parse_size, metavar="WxH", help="sizes of a variant (any: free; default: all)")
    p.add_argument("--precision", nargs="+", choices=("fp32", "fp16"), default=["fp32", "fp16"], help="precisions of a variant")
    p.add_argument("--data", type=Path, help="folder with NUDT-SIRST, SIRST, IRSTD-1K: frames to calibrate frozen on")
    p.add_argument("--calibration", type=int, default=48, help="number of training frames that frozen is calibrated on")


def main(args: argparse.Namespace) -> None:
    if args.variant != "folded":
        if args.variant == "frozen" and args.data is None:
            raise SystemExit("export: --variant frozen takes its mean over training frames: give --data")
        model, state = load_checkpoint(args.checkpoint)
        frames = calibration_frames(args.data, args.calibration, state.get("seed", 1)) if args.variant == "frozen" else None
        for f in write_graphs(model, args.out, args.name, args.sizes or SIZES, args.precision, args.variant, frames):
            print(f"{f['file']}  {f['bytes']} bytes  {f['sha256'][:12]}")
        return
    if args.sizes or args.precision != ["fp32", "fp16"]:
        raise SystemExit("export: --sizes and --precision go with --variant static-sum or frozen: the manifest lists every file")
    manifest = export(args.checkpoint, args.out, args.name, args.threshold)
    for f in manifest["files"] + manifest["blocked"]:
        print(f"{f['file']}  {f['bytes']} bytes  {f['sha256'][:12]}")
    print(f"{manifest['parameters']} parameters, {manifest['gigaFlops256']} GFLOPs at 256x256, threshold {manifest['decode']['threshold']}")
