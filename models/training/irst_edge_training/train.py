"""``python -m irst_edge_training train``: trains the detector from single points.

The schedule runs on the time spent training (``--hours``) or on steps (``--steps``); both resume where a checkpoint stopped.
Test lists are never opened: validation and the threshold come from a held-out tenth of every training list.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import queue
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from .data import CropSampler, Pool, Sample, load_pools, pixel_gaussian
from .evaluate import THRESHOLDS, find_all, score
from .loss import LossConfig, total_loss
from .model import NetConfig, P2PLite, count_parameters


class Prefetch:
    """Makes batches on a thread while the network trains on the last one."""

    def __init__(self, sampler: CropSampler) -> None:
        self.sampler = sampler
        self.request: queue.Queue = queue.Queue()
        self.ready: queue.Queue = queue.Queue(3)
        self.size = (16, 128)
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            self.ready.put(self.sampler.batch(*self.size))

    def next(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(a) for a in self.ready.get())


def learning_rate(progress: float, peak: float, warm: float = 0.03) -> float:
    """Linear warm-up, then cosine to 1 % of the peak. ``progress`` in 0..1."""
    if progress < warm:
        return peak * (0.05 + 0.95 * progress / warm)
    t = min(1.0, (progress - warm) / (1 - warm))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))


def parameter_groups(model: torch.nn.Module, decay: float) -> list[dict]:
    """Weight decay on convolution kernels only: not on biases, batch norms or attention heads."""
    with_decay, without = [], []
    for name, p in model.named_parameters():
        (with_decay if p.ndim == 4 and "squeeze" not in name and "heads" not in name else without).append(p)
    return [{"params": with_decay, "weight_decay": decay}, {"params": without, "weight_decay": 0.0}]


@torch.no_grad()
def update_ema(ema: P2PLite, model: P2PLite, step: int, decay: float) -> None:
    d = min(decay, (1 + step) / (10 + step))
    for a, b in zip(ema.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - d)
        else:
            a.copy_(b)


def validate(model: P2PLite, held: list[Pool], radius: float = 5.0) -> dict:
    """F1 of each held-out pool at the one threshold that maximises their mean, and false alarms on target-free frames."""
    found = {p.name: find_all(model, p.samples) for p in held if p.name != "drone-ir"}
    labelled = [p for p in held if p.name in found and p.name != "target-free"]
    free = next((p for p in held if p.name == "target-free"), None)
    best: tuple[float, float] = (-1.0, 0.5)
    for t in THRESHOLDS:
        mean = float(np.mean([score(found[p.name], p.samples, float(t), radius).f1 for p in labelled]))
        best = max(best, (mean, float(t)))
    mean, threshold = best
    result = {"f1": mean, "threshold": threshold, "sets": {}}
    for p in labelled:
        s = score(found[p.name], p.samples, threshold, radius)
        result["sets"][p.name] = {"f1": s.f1, "tp": s.tp, "fp": s.fp, "fn": s.fn, "rms": s.rms}
    if free is not None:
        result["falseAlarmsPerImage"] = float(np.mean([(f[:, 2] >= threshold).sum() for f in found["target-free"]]))
    return result


def save(path: Path, data: dict) -> None:
    tmp = path.with_suffix(".tmp")
    torch.save(data, tmp)
    os.replace(tmp, path)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--smoke", action="store_true", help="a minute on synthetic scenes: does the whole chain still learn?")
    p.add_argument("--data", type=Path, help="folder with NUDT-SIRST, SIRST, IRSTD-1K, target-free, drone-ir")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log; an existing one is resumed")
    p.add_argument("--hours", type=float, default=0.0, help="length of the schedule in hours of training")
    p.add_argument("--steps", type=int, default=0, help="length of the schedule in steps (instead of --hours)")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--size", type=int, default=128, help="crop size, px; the last --large-share of the schedule uses twice this")
    p.add_argument("--large-share", type=float, default=0.15)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--decay", type=float, default=1e-2)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--validate-minutes", type=float, default=10.0)
    p.add_argument("--validate-steps", type=int, default=0, help="validate every N steps as well (with --steps)")


def train(args: argparse.Namespace, config: NetConfig = NetConfig(), loss_config: LossConfig = LossConfig(), pools=None) -> dict:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    last = args.out / "last.pt"
    log = (args.out / "log.jsonl").open("a", buffering=1)

    model = P2PLite(config)
    ema = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(parameter_groups(model, args.decay), lr=args.lr, fused=True)
    step, spent, best = 0, 0.0, -1.0
    if last.exists():
        state = torch.load(last, weights_only=False)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, best = state["step"], state["spent"], state["best"]
        print(f"resumed {last} at step {step}, {spent / 60:.1f} min", flush=True)
    if step == 0:
        print(f"{count_parameters(model)} parameters", flush=True)
    train_pools, held = pools if pools is not None else load_pools(args.data, args.seed)
    print("pools:", ", ".join(f"{p.name} {len(p.samples)}" for p in train_pools), "held:", ", ".join(f"{p.name} {len(p.samples)}" for p in held), flush=True)
    # The seed moves with the step, so a resumed run does not see the same crops again.
    feed = Prefetch(CropSampler(train_pools, args.seed * 1_000_003 + step))

    def progress() -> float:
        return step / args.steps if args.steps else spent / (args.hours * 3600)

    def snapshot() -> dict:
        return {"model": model.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent,
                "best": best, "config": config.to_dict(), "seed": args.seed}

    recent: list[float] = []
    clock = time.monotonic()
    validated, printed, saved = spent, spent, spent
    result: dict = {}
    while progress() < 1.0:
        at = progress()
        lr = learning_rate(at, args.lr)
        for group in optimiser.param_groups:
            group["lr"] = lr
        # ODConv anneals its kernel softmax from 30 to 1 while attention is still random.
        model.set_temperature(max(1.0, 30.0 - 29.0 * at / 0.1))
        large = at > 1 - args.large_share
        feed.size = (max(2, args.batch // 4), args.size * 2) if large else (args.batch, args.size)
        z, heat, targets = feed.next()
        model.train()
        logit, logsig = model(z)
        loss, parts = total_loss(logit, logsig, heat, targets, loss_config)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        update_ema(ema, model, step, args.ema)
        recent.append(float(loss.detach()))
        now = time.monotonic()
        spent += now - clock
        clock = now
        done = progress() >= 1.0
        if spent - printed > 30 or done:
            left = (spent / at - spent) if at > 0 else float("nan")
            line = {"step": step, "minutes": round(spent / 60, 1), "progress": round(at, 4), "left": round(left / 60, 1),
                    "loss": round(float(np.mean(recent)), 4), "lr": round(lr, 6), **{k: round(v, 4) for k, v in parts.items()}}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            recent.clear()
            printed = spent
        if spent - saved > 120 or done:
            save(last, snapshot())
            saved = spent
        due = args.validate_steps and step % args.validate_steps == 0
        if (spent - validated > args.validate_minutes * 60 or done or due) and held:
            result = {"step": step, **validate(ema, held)}
            print(json.dumps(result), flush=True)
            log.write(json.dumps(result) + "\n")
            if result["f1"] >= best:
                best = result["f1"]
                save(args.out / "best.pt", {"ema": ema.state_dict(), "config": config.to_dict(), "step": step, "spent": spent, "validation": result, "seed": args.seed})
            validated = spent
            clock = time.monotonic()
    return result


def smoke_pools(seed: int) -> tuple[list[Pool], list[Pool]]:
    """Smooth random scenes with Gaussian targets of known centre, in memory."""
    rng = np.random.default_rng(seed)

    def sample(index: int) -> Sample:
        size = 160
        coarse = rng.standard_normal((12, 12)).astype(np.float32)
        scene = 90 + 12 * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + 2 * rng.standard_normal((size, size))
        points, sigmas = rng.uniform(20, size - 20, (2, 2)), rng.uniform(0.7, 1.5, 2)
        for (x, y), s in zip(points, sigmas):
            scene = scene + 40 * pixel_gaussian(size, x, y, s, s)
        return Sample(f"smoke-{index}", np.clip(scene, 0, 255).astype(np.uint8), points, sigmas)

    return [Pool("smoke", [sample(i) for i in range(40)], 1.0)], [Pool("smoke", [sample(100 + i) for i in range(12)], 1.0)]


def main(args: argparse.Namespace) -> None:
    if args.smoke:
        args.steps, args.hours, args.batch, args.size, args.large_share, args.threads = 120, 0.0, 8, 64, 0.0, min(args.threads, 2)
        result = train(args, pools=smoke_pools(args.seed))
        if not result["f1"] > 0.5:
            raise SystemExit(f"smoke: F1 {result['f1']:.3f} after {result['step']} steps: the training chain no longer learns")
        return
    if args.data is None or (args.hours <= 0) == (args.steps <= 0):
        raise SystemExit("train: give --data and one of --hours and --steps")
    train(args)
