"""``python -m irst_edge_training compare``: the graph variants of one checkpoint beside each other.

F1 by ONNX Runtime on held-out images (or given lists), difference of heat maps against ``folded``, multiply-accumulates, and
CPU latency. Latency rounds go through all variants in turn, so a loaded machine slows all alike: read the ratios, which are
medians of the ratios within a round. Threads do not spin, or one session's idle workers would slow the next one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import shape_inference

from .data import Sample, hold_out, load_images, read_list
from .evaluate import THRESHOLDS, inside, pad_to, peaks, score
from .export import calibration_frames, load_checkpoint, parse_size
from .model import P2PLite
from .normalise import normalise
from .onnx_blocked import BlockedExporter, cpu_block
from .onnx_graph import VARIANTS, Exporter
from .quantise import quantise


def open_session(data: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def graph_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of a frame in convolutions and matrix products of a graph of static shapes (not of quantised ones)."""
    model = shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {i.name: list(i.dims) for i in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("MatMul", "Gemm"):
            total += int(np.prod(shapes[node.output[0]])) * shapes[node.input[0]][-1]
    return total


def load_lists(data: Path, lists: list[str], held_out: list[str], seed: int) -> dict[str, list[Sample]]:
    """Samples of lists (``SET/file.txt``) or, without any, of the held-out tenth of the training list of each named set."""
    if lists:
        return {name: load_images(data / Path(name).parent, read_list(data / name)) for name in lists}
    return {
        f"{name} held out": load_images(data / name, hold_out(read_list(data / name / "train.txt"), 0.1, seed)[1])
        for name in held_out
    }


def heat_maps(session: ort.InferenceSession, samples: list[Sample]) -> list[np.ndarray]:
    return [session.run(["heat"], {"image": pad_to(normalise(s.image))[None, None]})[0][0, 0] for s in samples]


def latencies(sessions: dict[str, ort.InferenceSession], z: np.ndarray, repeats: int, warm: int = 5) -> dict[str, np.ndarray]:
    """Milliseconds of ``repeats`` runs on a normalised frame [H, W], taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for i in range(warm + repeats):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"image": z[None, None]})
            if i >= warm:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.array(t) for name, t in times.items()}


BLOCKED = "blocked"
"""The build for ONNX Runtime's CPU kernels, beside ``VARIANTS``."""


@dataclass
class Options:
    variants: tuple[str, ...] = VARIANTS
    int8: bool = False
    size: tuple[int, int] = (256, 256)
    threads: int = 2
    repeats: int = 50
    radius: float = 5.0


def build(model: P2PLite, variant: str, frames: list[np.ndarray], size: tuple[int, int] | None) -> onnx.ModelProto:
    height, width = size if size else ("height", "width")
    if variant == "int8":
        # The calibrator wants frames of one size.
        fixed = [fit(z, size or (256, 256)) for z in frames]
        return quantise(Exporter(model, variant="frozen", frames=frames).build(height, width), fixed)
    if variant == BLOCKED:
        block = cpu_block()
        if block is None:
            raise SystemExit("compare: ONNX Runtime has no blocks on this CPU: leave blocked out of --variants")
        return BlockedExporter(model, block).build(height, width)
    return Exporter(model, variant=variant, frames=frames).build(height, width)


def compare(model: P2PLite, frames: list[np.ndarray], pools: dict[str, list[Sample]], threshold: float, options: Options) -> dict:
    """One entry a variant; ``frames``: normalised calibration frames. The first variant is what the others are compared to."""
    names = [*options.variants, *(["int8"] if options.int8 else [])]
    fixed = {n: build(model, n, frames, options.size) for n in names}
    frame = fit(normalise(next(iter(pools.values()))[0].image), options.size)
    times = latencies({n: open_session(m.SerializeToString(), options.threads) for n, m in fixed.items()}, frame, options.repeats)
    result: dict = {"threshold": threshold, "size": list(options.size), "threads": options.threads, "variants": {}}
    reference: dict[str, list[np.ndarray]] = {}
    for n in names:
        session = open_session(build(model, n, frames, None).SerializeToString(), 1)
        sets, scores = {}, {}
        worst = squared = cells = 0.0
        for pool, samples in pools.items():
            maps = heat_maps(session, samples)
            reference.setdefault(pool, maps)
            for a, b in zip(maps, reference[pool]):
                worst = max(worst, float(np.abs(a - b).max()))
                squared += float(((a - b) ** 2).sum())
                cells += a.size
            found = [inside(peaks(h), s.image) for h, s in zip(maps, samples)]
            scores[pool] = [score(found, samples, float(t), options.radius).f1 for t in THRESHOLDS]
            s = score(found, samples, threshold, options.radius)
            sets[pool] = {"f1": s.f1, "precision": s.precision, "recall": s.recall, "tp": s.tp, "fp": s.fp, "fn": s.fn, "rms": s.rms}
        mean = np.mean(list(scores.values()), 0)
        result["variants"][n] = {
            "f1": float(np.mean([s["f1"] for s in sets.values()])),
            "f1Own": float(mean.max()),
            "thresholdOwn": float(THRESHOLDS[int(mean.argmax())]),
            "heatMax": worst,
            "heatRms": float(np.sqrt(squared / max(1.0, cells))),
            "macs": None if n in ("int8", BLOCKED) else graph_macs(fixed[n]),
            "nodes": len(fixed[n].graph.node),
            "bytes": fixed[n].ByteSize(),
            "ms": float(np.median(times[n])),
            "ratio": float(np.median(times[n] / times[names[0]])),
            "sets": sets,
        }
    return result


def fit(z: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame [H, W] mirrored or cut, right and bottom, to ``size`` (height, width)."""
    z = np.pad(z, [(0, max(0, n - m)) for n, m in zip(size, z.shape)], mode="symmetric")
    return np.ascontiguousarray(z[: size[0], : size[1]])


def table(result: dict) -> str:
    pools = list(next(iter(result["variants"].values()))["sets"])
    head = ["variant", "MMAC", *(f"F1@5 {p}" for p in pools), "mean", "own threshold", "heat max |d|", "rms", "ms", "ratio", "bytes"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, v in result["variants"].items():
        cells = [
            name,
            "-" if v["macs"] is None else f"{v['macs'] / 1e6:.0f}",
            *(f"{100 * v['sets'][p]['f1']:.2f}" for p in pools),
            f"{100 * v['f1']:.2f}",
            f"{100 * v['f1Own']:.2f} at {v['thresholdOwn']:.2f}",
            f"{v['heatMax']:.2g}",
            f"{v['heatRms']:.2g}",
            f"{v['ms']:.2f}",
            f"{v['ratio']:.3f}",
            str(v["bytes"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse_static_size(text: str) -> tuple[int, int]:
    size = parse_size(text)
    if size is None:
        raise argparse.ArgumentTypeError("any: latency is measured at one size, WIDTHxHEIGHT")
    return size


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True, help="folder with NUDT-SIRST, SIRST, IRSTD-1K")
    p.add_argument("--lists", nargs="+", default=[], metavar="SET/FILE", help="lists under --data (default: held-out tenths)")
    p.add_argument("--held-out", nargs="+", default=["NUDT-SIRST", "SIRST", "IRSTD-1K"], metavar="SET", help="sets, without --lists")
    p.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=(*VARIANTS, BLOCKED))
    p.add_argument("--int8", action="store_true", help="the frozen graph in 8-bit (QDQ) as well, an experiment")
    p.add_argument("--calibration", type=int, default=48, help="training frames that frozen and 8-bit builds are calibrated on")
    p.add_argument("--threshold", type=float, help="score threshold (default: the checkpoint's)")
    p.add_argument("--size", type=parse_static_size, default=(256, 256), metavar="WxH", help="of the latency measurement")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=50)
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    model, state = load_checkpoint(args.checkpoint)
    seed = state.get("seed", 1)
    threshold = args.threshold if args.threshold is not None else state.get("validation", {}).get("threshold", 0.5)
    frames = calibration_frames(args.data, args.calibration, seed)
    pools = load_lists(args.data, args.lists, args.held_out, seed)
    options = Options(tuple(args.variants), args.int8, args.size, args.threads, args.repeats)
    result = {"checkpoint": args.checkpoint.name, "step": state.get("step"), **compare(model, frames, pools, threshold, options)}
    print(json.dumps(result, indent=2) if args.json else table(result))
