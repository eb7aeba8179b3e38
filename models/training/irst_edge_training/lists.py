"""``python -m irst_edge_training lists``: writes the names that were held out of training, for ``irst-edge eval --list``, and
with ``--clean`` those of them whose scene is in no training image."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import near_duplicates
from .data import SETS, hold_out, read_list


def held_out_names(root: Path, seed: int) -> dict[str, list[str]]:
    """The names that ``load_pools`` holds out, by data set."""
    names = {name: hold_out(read_list(root / name / "train.txt"), 0.1, seed)[1] for name in SETS}
    free = read_list(root / "target-free" / "list.txt")
    names["target-free"] = free[len(free) - len(free) // 5 :]
    names["drone-ir"] = sorted(json.loads((root / "drone-ir" / "boxes.json").read_text()))[4::5]
    return names


def clean_names(root: Path, held: dict[str, list[str]]) -> dict[str, list[str]]:
    """Of ``held``: the names of the sets and of the videos that show no scene of a training image or video."""
    clean = {}
    for name in (*SETS, "drone-ir"):
        if name == "drone-ir":
            every = sorted(json.loads((root / name / "boxes.json").read_text()))
            thumbnails = {n: near_duplicates.of_video(root / name / "videos" / f"{n}.mp4") for n in every}
        else:
            every = read_list(root / name / "train.txt")
            thumbnails = {n: near_duplicates.of_image(root / name / "images" / f"{n.removesuffix('.png')}.png") for n in every}
        out = set(held[name])
        clean[name] = near_duplicates.without_training_scenes(
            {n: thumbnails[n] for n in every if n in out}, {n: thumbnails[n] for n in every if n not in out}
        )
    return clean


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, required=True, help="the folder that train was given")
    p.add_argument("--out", type=Path, required=True, help="folder for NAME-held.txt")
    p.add_argument("--clean", action="store_true", help="also NAME-held-clean.txt, without scenes that training has too")
    p.add_argument("--seed", type=int, default=1, help="the seed of the training")


def main(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    held = held_out_names(args.data, args.seed)
    lists = {f"{name}-held.txt": names for name, names in held.items()}
    if args.clean:
        lists |= {f"{name}-held-clean.txt": names for name, names in clean_names(args.data, held).items()}
    for file, names in lists.items():
        (args.out / file).write_text("".join(f"{n}\n" for n in names))
        print(f"{args.out / file}: {len(names)} names")
