"""``python -m irst_edge_training failures``: a contact sheet of the worst mistakes on the held-out videos.

Only frames of ``drone-ir`` are shown: it is the one set whose licence (CC0) lets its pictures be published.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .data import Sample, load_videos
from .evaluate import assigned, find_all
from .export import load_checkpoint

TILE = 96
"""Side of a shown square, image px."""
ZOOM = 2
TARGET, FALSE = (80, 220, 80), (60, 60, 255)
"""BGR: ring of a labelled target, ring of a detection that hits none."""


def halved(sample: Sample) -> Sample:
    """Half the size, as the training saw these videos: their targets become small ones. Coordinates keep pixel centres at integers."""
    h, w = sample.image.shape
    small = cv2.resize(sample.image[: h // 2 * 2, : w // 2 * 2], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    return Sample(sample.name, small, (sample.points + 0.5) / 2 - 0.5, sample.sigmas / 2)


def mistakes(found: np.ndarray, points: np.ndarray, threshold: float, radius: float = 5.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(false alarms [x, y, score], missed targets [x, y, best score within the radius]) of one image."""
    strong = found[found[:, 2] >= threshold]
    hits, hit, _ = assigned(strong, points, radius)
    false = [f for i, f in enumerate(strong) if i not in hits]
    missed = []
    for j, p in enumerate(points):
        if j in hit:
            continue
        near = found[np.hypot(*(found[:, :2] - p).T) <= radius, 2] if len(found) else np.zeros(0)
        missed.append(np.array([*p, near.max() if len(near) else 0.0]))
    return false, missed


def worst(rows: list[tuple[Sample, np.ndarray]], count: int, key: Callable[[np.ndarray], float]) -> list[tuple[Sample, np.ndarray]]:
    """At most ``count``, the largest ``key`` first, one a video."""
    chosen: dict[str, tuple[Sample, np.ndarray]] = {}
    for sample, m in sorted(rows, key=lambda r: -key(r[1])):
        chosen.setdefault(sample.name.split(":")[0], (sample, m))
    return list(chosen.values())[:count]


def tile(sample: Sample, mistake: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The square around a mistake, stretched to the range of what it shows, with rings. [TILE * ZOOM, TILE * ZOOM, 3]."""
    h, w = sample.image.shape
    x0 = int(np.clip(round(mistake[0]) - TILE // 2, 0, max(0, w - TILE)))
    y0 = int(np.clip(round(mistake[1]) - TILE // 2, 0, max(0, h - TILE)))
    part = sample.image[y0 : y0 + TILE, x0 : x0 + TILE].astype(np.float32)
    low, high = np.percentile(part, (1, 99.9))
    grey = np.clip((part - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    grey = cv2.copyMakeBorder(grey, 0, TILE - grey.shape[0], 0, TILE - grey.shape[1], cv2.BORDER_CONSTANT)
    picture = cv2.cvtColor(cv2.resize(grey, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)

    def ring(x: float, y: float, c: tuple[int, int, int]) -> None:
        centre = (round((x - x0 + 0.5) * ZOOM - 0.5), round((y - y0 + 0.5) * ZOOM - 0.5))
        cv2.circle(picture, centre, 6 * ZOOM, c, 1, cv2.LINE_AA)

    for x, y in sample.points:
        ring(x, y, TARGET)
    if colour != TARGET:
        ring(mistake[0], mistake[1], colour)
    cv2.putText(picture, f"{mistake[2]:.2f}", (4, TILE * ZOOM - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return picture


def sheet(false: list[np.ndarray], missed: list[np.ndarray]) -> np.ndarray:
    """First row: false alarms; second row: missed targets."""
    columns = max(len(false), len(missed), 1)
    blank = np.zeros((TILE * ZOOM, TILE * ZOOM, 3), np.uint8)
    rows = [np.hstack([*tiles, *[blank] * (columns - len(tiles))]) for tiles in (false, missed)]
    return np.vstack(rows)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, required=True, help="the folder that holds drone-ir")
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--threshold", type=float, required=True, help="the shipped one: models/manifest.json")
    p.add_argument("--out", type=Path, required=True, help="PNG file")
    p.add_argument("--columns", type=int, default=4)


def main(args: argparse.Namespace) -> None:
    model, _ = load_checkpoint(args.checkpoint)
    samples = [halved(s) for s in load_videos(args.data / "drone-ir", 12, held=True)]
    found = find_all(model.eval(), samples)
    false: list[tuple[Sample, np.ndarray]] = []
    missed: list[tuple[Sample, np.ndarray]] = []
    for sample, f in zip(samples, found, strict=True):
        a, b = mistakes(f, sample.points, args.threshold)
        false += [(sample, m) for m in a]
        missed += [(sample, m) for m in b]
    targets = sum(len(s.points) for s in samples)
    print(f"{len(samples)} frames, {targets} targets: {len(false)} false alarms, {len(missed)} missed")
    picture = sheet(
        [tile(s, m, FALSE) for s, m in worst(false, args.columns, lambda m: m[2])],
        [tile(s, m, TARGET) for s, m in worst(missed, args.columns, lambda m: -m[2])],
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), picture)
    print(args.out)
