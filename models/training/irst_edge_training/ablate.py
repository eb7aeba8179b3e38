"""``python -m irst_edge_training ablate``: short trainings of equal budget, one after another, and their table.

Every run is ``train`` with one switch changed, in a folder of its own under ``--out``; started again, it goes on with the run
that was cut off and skips those whose ``result.json`` is there. Figures are those of held-out training images at the epoch
and threshold chosen on them: good for comparing runs of equal budget with each other, not with published figures.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from . import train as train_module
from .data import load_pools
from .export import giga_flops, load_checkpoint, write_atomic
from .model import count_parameters

RUNS: dict[str, tuple[str, dict]] = {
    "full": ("everything on", {}),
    "no-dynamic": ("module a: plain asymmetric convolutions", {"no_dynamic": True}),
    "no-fusion": ("module b: no cross-layer branches between stages", {"no_fusion": True}),
    "no-gate": ("module b: no gate of detail on semantics", {"no_gate": True}),
    "mse": ("module c: mean squared error, no hard negatives", {"loss": "mse"}),
    "rounded-labels": ("module c: label centres rounded to cells", {"rounded_labels": True}),
    "narrow": ("size: 32, 64, 64 channels", {"channels": [32, 64, 64]}),
    "shallow": ("size: one unit less in each branch of the last stages", {"depth": "1/1,1/2,1,2"}),
    "detail": ("size: 32, 64, 64 channels, half more units at 1/2 and 1/4", {"channels": [32, 64, 64], "depth": "2/3,3/4,3,4"}),
    "adamw": ("training: AdamW for all kernels", {"optimiser": "adamw"}),
    "no-focus": ("training: crops drawn without regard to errors", {"focus": 0.0}),
}
"""What each run is, and the switches of ``train`` that it changes."""


def run_arguments(args: argparse.Namespace, name: str, seed: int) -> argparse.Namespace:
    run = copy.copy(args)
    run.out, run.seed, run.smoke = args.out / f"{name}-{seed}", seed, False
    for key, value in RUNS[name][1].items():
        setattr(run, key, value)
    return run


def budget(args: argparse.Namespace) -> dict:
    """What a run had, and must have again to stand in a table of today's arguments: the budget, and every switch of its own."""
    had = "hours", "steps", "batch", "size", "large_share", "lr", "decay", "ema", "muon_lr", "focus", "distorted", "bf16", "whole", "video_frames", "shares"
    own = "optimiser", "channels", "depth", "no_dynamic", "no_fusion", "no_gate", "loss", "location_squared", "rounded_labels"
    return {**{k: getattr(args, k) for k in (*had, *own)}, "init": str(args.init) if args.init else None}


def ablate(args: argparse.Namespace, pools=None) -> list[dict]:
    """Trains what is not yet trained; returns a row a run. ``pools`` (training, held out) win over ``args.data``."""
    rows = []
    for seed in args.seeds:
        shared = pools
        for name in args.runs:
            run = run_arguments(args, name, seed)
            done = run.out / "result.json"
            if done.exists():
                row = json.loads(done.read_text())
                if row["budget"] != budget(run):
                    raise SystemExit(f"ablate: {done} has another budget ({row['budget']}): give that one or another --out")
            else:
                # The same images for every run of a seed, loaded once.
                shared = shared or load_pools(args.data, seed, video_frames=args.video_frames, shares=args.shares)
                print(f"--- {name}, seed {seed}: {RUNS[name][0]}", flush=True)
                train_module.train(run, pools=shared)
                row = summarise(run, name, seed)
                write_atomic(done, (json.dumps(row, indent=2) + "\n").encode())
            rows.append(row)
    return rows


def summarise(run: argparse.Namespace, name: str, seed: int) -> dict:
    model, state = load_checkpoint(run.out / "best.pt")
    return {
        "run": name,
        "what": RUNS[name][0],
        "seed": seed,
        "budget": budget(run),
        "steps": state["step"],
        "parameters": count_parameters(model),
        "gigaFlops256": giga_flops(model),
        "validation": state["validation"],
    }


def table(rows: list[dict]) -> str:
    """One line a run; several seeds give mean and standard deviation of the mean F1."""
    sets = list(rows[0]["validation"]["sets"])
    head = ["run", "what", "parameters", "GFLOPs at 256x256", *(f"F1@5 {s}" for s in sets), "mean F1@5", "rms px", "false alarms/image"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in dict.fromkeys(r["run"] for r in rows):
        group = [r for r in rows if r["run"] == name]
        v = [r["validation"] for r in group]
        f1 = [100 * x["f1"] for x in v]
        alarms = [x["falseAlarmsPerImage"] for x in v if "falseAlarmsPerImage" in x]
        cells = [
            name,
            group[0]["what"],
            str(group[0]["parameters"]),
            f"{group[0]['gigaFlops256']:.3f}",
            *(f"{mean(100 * x['sets'][s]['f1'] for x in v):.1f}" for s in sets),
            f"{mean(f1):.2f}" + (f" ± {np.std(f1, ddof=1):.2f}" if len(f1) > 1 else ""),
            f"{mean(x['sets'][s]['rms'] for x in v for s in sets):.2f}",
            f"{mean(alarms):.2f}" if alarms else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def add_arguments(p: argparse.ArgumentParser) -> None:
    train_module.add_arguments(p)
    p.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    p.add_argument("--seeds", nargs="+", type=int, default=[1], help="every run once a seed (instead of --seed)")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    if args.smoke:
        raise SystemExit("ablate: --smoke is for train")
    if args.data is None or (args.hours <= 0) == (args.steps <= 0):
        raise SystemExit("ablate: give --data and the budget of one run, --hours or --steps")
    rows = ablate(args)
    print(json.dumps(rows, indent=2) if args.json else table(rows))
