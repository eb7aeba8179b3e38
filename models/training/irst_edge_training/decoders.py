"""``python -m irst_edge_training decoders``: ways to read the same heat maps, on held-out or training images.

What each part of the decoder is worth: the position within a cell, the suppression around a peak, and the relative rule of
P2P-HDNet (TGRS 2025), which drops every peak below four fifths of the brightest one of its image; ``adaptive``: milder shares. The product's own decoder is
in TypeScript (``src/decode``): it fits 5x5 cells and refines in the image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from .compare import load_lists
from .data import Sample
from .evaluate import Offset, heat_map, inside, parabola, peaks, score
from .export import load_checkpoint

def centre(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    return 0.0, 0.0


def quarter(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """A quarter of a cell towards the higher neighbour, as P2P-HDNet and many pose estimators do."""
    return 0.25 * float(np.sign(heat[y, x + 1] - heat[y, x - 1])), 0.25 * float(np.sign(heat[y + 1, x] - heat[y - 1, x]))


def centroid(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """The centre of mass of 5x5 squared cells."""
    y0, x0 = max(0, y - 2), max(0, x - 2)
    w = heat[y0 : y + 3, x0 : x + 3].astype(np.float64) ** 2
    ys, xs = np.mgrid[y0 : y0 + w.shape[0], x0 : x0 + w.shape[1]]
    return float((w * xs).sum() / w.sum() - x), float((w * ys).sum() / w.sum() - y)


ADAPTIVE = (0.6, 0.7, 0.8, 0.9)

DECODERS: dict[str, tuple[str, Offset, float, float]] = {
    "parabola": ("three cells an axis, suppression 2 cells", parabola, 2.0, 0.0),
    "centroid": ("5x5 squared cells", centroid, 2.0, 0.0),
    "quarter": ("a quarter of a cell towards the higher neighbour", quarter, 2.0, 0.0),
    "centre": ("the centre of the cell", centre, 2.0, 0.0),
    "no suppression": ("every local maximum", parabola, 0.0, 0.0),
    "wide suppression": ("5 cells", parabola, 5.0, 0.0),
    **{f"adaptive {r}": (f"parabola, and nothing below {r} of the image's highest peak", parabola, 2.0, r) for r in ADAPTIVE},
    "relative": ("P2P-HDNet: quarter of a cell, and nothing below 0.8 of the brightest", quarter, 2.0, 0.8),
}


def compare(maps: dict[str, list[np.ndarray]], pools: dict[str, list[Sample]], threshold: float) -> dict:
    """By decoder and pool: F1 within 5 and 3 px, rms position error of the hits within 5 px."""
    result: dict = {}
    for name, (_, offset, suppress, relative) in DECODERS.items():
        sets = {}
        for pool, samples in pools.items():
            found = [inside(peaks(h, threshold, suppress, offset=offset, relative=relative), s.image) for h, s in zip(maps[pool], samples)]
            five, three = (score(found, samples, threshold, radius) for radius in (5.0, 3.0))
            sets[pool] = {"f1": five.f1, "f1Near": three.f1, "rms": five.rms}
        result[name] = sets
    return result


def table(result: dict) -> str:
    pools = list(next(iter(result.values())))
    head = ["decoder", "what", *(f"{p}: F1@5 / F1@3 / rms px" for p in pools)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, sets in result.items():
        cells = [f"{100 * s['f1']:.1f} / {100 * s['f1Near']:.1f} / {s['rms']:.2f}" for s in sets.values()]
        lines.append("| " + " | ".join([name, DECODERS[name][0], *cells]) + " |")
    return "\n".join(lines)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True, help="folder with NUDT-SIRST, SIRST, IRSTD-1K")
    p.add_argument("--lists", nargs="+", default=[], metavar="SET/FILE", help="lists under --data (default: held-out tenths)")
    p.add_argument("--held-out", nargs="+", default=["NUDT-SIRST", "SIRST", "IRSTD-1K"], metavar="SET")
    p.add_argument("--threshold", type=float, help="score threshold (default: the checkpoint's)")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    model, state = load_checkpoint(args.checkpoint)
    pools = load_lists(args.data, args.lists, args.held_out, state.get("seed", 1))
    threshold = args.threshold if args.threshold is not None else state.get("validation", {}).get("threshold", 0.5)
    maps = {name: [heat_map(model, s.image) for s in samples] for name, samples in pools.items()}
    result = compare(maps, pools, threshold)
    print(json.dumps(result, indent=2) if args.json else table(result))
