"""``python -m irst_edge_training lists``: writes the names that were held out of training, for ``irst-edge eval --list``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .data import hold_out, read_list


def held_out_names(root: Path, seed: int) -> dict[str, list[str]]:
    """The names that ``load_pools`` holds out, by data set."""
    names = {
        name: hold_out(read_list(root / name / "train.txt"), 0.1, seed)[1] for name in ("NUDT-SIRST", "SIRST", "IRSTD-1K")
    }
    free = read_list(root / "target-free" / "list.txt")
    names["target-free"] = free[len(free) - len(free) // 5 :]
    names["drone-ir"] = sorted(json.loads((root / "drone-ir" / "boxes.json").read_text()))[4::5]
    return names


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, required=True, help="the folder that train was given")
    p.add_argument("--out", type=Path, required=True, help="folder for NAME-held.txt")
    p.add_argument("--seed", type=int, default=1, help="the seed of the training")


def main(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    for name, names in held_out_names(args.data, args.seed).items():
        file = args.out / f"{name}-held.txt"
        file.write_text("\n".join(names) + "\n")
        print(f"{file}: {len(names)} names")
