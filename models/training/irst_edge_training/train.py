"""``python -m irst_edge_training train``: trains the detector from single points.

The schedule runs on the time spent training (``--hours``) or on steps (``--steps``); both resume where a checkpoint stopped.
Test lists are never opened: validation and the threshold come from a held-out tenth of every training list.

Under torchrun (``torchrun --nproc-per-node 4 -m irst_edge_training train ...``) every process draws its own crops and gradients
are averaged: the batch is ``--batch`` times the processes, ``--lr`` stays as given. All processes need ``--out``, for resuming.
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
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from .data import CropSampler, Pool, Sample, load_pools, pixel_gaussian
from .evaluate import THRESHOLDS, find_all, score
from .loss import LossConfig, total_loss
from .model import NetConfig, P2PLite, count_parameters
from .ranks import Ranks, join


class Prefetch:
    """Makes batches on a thread while the network trains on the last one."""

    def __init__(self, sampler: CropSampler) -> None:
        self.sampler = sampler
        self.ready: queue.Queue = queue.Queue(3)
        self.size = (16, 128)
        self.closed = False
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        try:
            while not self.closed:
                self.ready.put(self.sampler.batch(*self.size))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for a batch, who would wait for ever
            self.ready.put(error)

    def close(self) -> None:
        """Ends the thread: it may be waiting for room, or making the last batch."""
        self.closed = True
        while not self.ready.empty():
            self.ready.get_nowait()

    def next(self) -> tuple[torch.Tensor, ...]:
        batch = self.ready.get()
        if isinstance(batch, Exception):
            raise RuntimeError("a batch could not be made") from batch
        return tuple(torch.from_numpy(a) for a in batch)


def learning_rate(progress: float, peak: float, warm: float = 0.03) -> float:
    """Linear warm-up, then cosine to 1 % of the peak. ``progress`` in 0..1."""
    if progress < warm:
        return peak * (0.05 + 0.95 * progress / warm)
    t = min(1.0, (progress - warm) / (1 - warm))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t)))


def parameter_groups(model: nn.Module, decay: float) -> list[dict]:
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


FALSE_ALARMS_ALLOWED = 0.1
"""Most false alarms an image on held-out target-free frames that a threshold may give, where there are such frames."""


def validate(model: P2PLite, held: list[Pool], radius: float = 5.0) -> dict:
    """F1 of each held-out pool at one threshold for all, and false alarms on target-free frames.

    The threshold is the one with the best mean F1 over the pools among those that give at most ``FALSE_ALARMS_ALLOWED``.
    """
    found = {p.name: find_all(model, p.samples) for p in held if p.name != "drone-ir"}
    labelled = [p for p in held if p.name in found and p.name != "target-free"]

    def false_alarms(threshold: float) -> float:
        return float(np.mean([(f[:, 2] >= threshold).sum() for f in found["target-free"]])) if "target-free" in found else 0.0

    def mean_f1(threshold: float) -> float:
        return float(np.mean([score(found[p.name], p.samples, threshold, radius).f1 for p in labelled]))

    allowed = [float(t) for t in THRESHOLDS if false_alarms(float(t)) <= FALSE_ALARMS_ALLOWED] or [float(THRESHOLDS[-1])]
    mean, threshold = max((mean_f1(t), t) for t in allowed)
    result = {"f1": mean, "threshold": threshold, "sets": {}}
    for p in labelled:
        s = score(found[p.name], p.samples, threshold, radius)
        result["sets"][p.name] = {"f1": s.f1, "tp": s.tp, "fp": s.fp, "fn": s.fn, "rms": s.rms}
    if "target-free" in found:
        result["falseAlarmsPerImage"] = false_alarms(threshold)
    return result


def save(path: Path, data: dict) -> None:
    tmp = path.with_suffix(".tmp")
    torch.save(data, tmp)
    os.replace(tmp, path)


def switches(net: NetConfig, loss: LossConfig, rounded_labels: bool) -> dict:
    """What a checkpoint records, and a resumed run must share, as ``torch.load`` gives it back."""
    return {"config": net.to_dict(), "loss": asdict(loss), "rounded_labels": rounded_labels}


def refuse_other_switches(path: Path, state: dict, wanted: dict) -> None:
    """What a checkpoint does not say (it may be older than a switch) is the default."""
    net, loss = NetConfig.from_dict(state["config"]), LossConfig(**state.get("loss", {}))
    made = switches(net, loss, state.get("rounded_labels", False))
    differ = [f"{k} {made[k]} (now {wanted[k]})" for k in wanted if made[k] != wanted[k]]
    if differ:
        raise SystemExit(f"train: {path} was trained with {'; '.join(differ)}: give the same switches or another --out")


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
    add_switches(p)


def add_switches(p: argparse.ArgumentParser) -> None:
    p.add_argument("--no-dynamic", action="store_true", help="plain asymmetric convolutions (ablation)")
    p.add_argument("--no-fusion", action="store_true", help="no cross-layer branches but the last (ablation)")
    p.add_argument("--no-gate", action="store_true", help="low-level detail gates nothing (ablation)")
    p.add_argument("--loss", choices=("quality-focal", "mse"), default=LossConfig().kind, help="of the heat map (mse: ablation)")
    p.add_argument("--rounded-labels", action="store_true", help="label centres rounded to cells (ablation)")


def net_config(args: argparse.Namespace) -> NetConfig:
    return NetConfig(dynamic=not args.no_dynamic, fusion=not args.no_fusion, gate=not args.no_gate)


def train(args: argparse.Namespace, config: NetConfig | None = None, loss_config: LossConfig | None = None, pools=None) -> dict:
    """Trains to the end of the schedule; returns the last validation (of rank 0; empty elsewhere).

    ``config`` and ``loss_config`` win over the switches of ``args``; ``pools`` (training, held out) over ``args.data``.
    """
    ranks = join()
    try:
        return run(args, ranks, config or net_config(args), loss_config or LossConfig(kind=args.loss), pools)
    finally:
        ranks.leave()


def run(args: argparse.Namespace, ranks: Ranks, config: NetConfig, loss_config: LossConfig, pools) -> dict:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    last = args.out / "last.pt"
    chosen = switches(config, loss_config, args.rounded_labels)

    model = P2PLite(config).to(ranks.device)
    ema = copy.deepcopy(model).eval()

    def tell(line: str | dict) -> None:
        """On rank 0: prints, and what is a record goes to the log as well."""
        if not ranks.first:
            return
        text = line if isinstance(line, str) else json.dumps(line)
        print(text, flush=True)
        if not isinstance(line, str):
            with (args.out / "log.jsonl").open("a") as log:
                log.write(text + "\n")

    optimiser = torch.optim.AdamW(parameter_groups(model, args.decay), lr=args.lr, fused=True)
    step, spent, best = 0, 0.0, -1.0
    if last.exists():
        state = torch.load(last, map_location=ranks.device, weights_only=False)
        refuse_other_switches(last, state, chosen)
        if state["seed"] != args.seed:
            # The seed splits the lists: another one would train on what was held out.
            raise SystemExit(f"{last} was begun with --seed {state['seed']}: give the same, or another --out")
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, best = state["step"], state["spent"], state["best"]
        tell(f"resumed {last} at step {step}, {spent / 60:.1f} min")
    if step == 0:
        tell(f"{count_parameters(model)} parameters")
    # Starts together: no rank reads last.pt after rank 0 began to write it.
    replica = ranks.wrap(model)
    train_pools, held = pools if pools is not None else load_pools(args.data, args.seed)
    sizes = [", ".join(f"{p.name} {len(p.samples)}" for p in group) for group in (train_pools, held)]
    tell(f"pools: {sizes[0]} held: {sizes[1]}")
    # The seed moves with the step, so a resumed run does not see the same crops again, and with the rank.
    feed = Prefetch(CropSampler(train_pools, args.seed * 1_000_003 + step + 500_009 * ranks.rank, args.rounded_labels))

    def progress() -> float:
        return step / args.steps if args.steps else spent / (args.hours * 3600)

    def snapshot() -> dict:
        return {"model": model.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent,
                "best": best, "seed": args.seed, **chosen}

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
        z, heat, targets = (t.to(ranks.device) for t in feed.next())
        replica.train()
        logit, logsig = replica(z)
        loss, parts = total_loss(logit, logsig, heat, targets, loss_config)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        ranks.average_buffers(model)
        update_ema(ema, model, step, args.ema)
        recent.append(float(loss.detach()))
        now = time.monotonic()
        spent = ranks.from_first(spent + now - clock)
        clock = now
        done = progress() >= 1.0
        if spent - printed > 30 or done:
            left = (spent / at - spent) if at > 0 else float("nan")
            line = {"step": step, "minutes": round(spent / 60, 1), "progress": round(at, 4), "left": round(left / 60, 1),
                    "loss": round(float(np.mean(recent)), 4), "lr": round(lr, 6), **{k: round(v, 4) for k, v in parts.items()}}
            tell(line)
            recent.clear()
            printed = spent
        due = args.validate_steps and step % args.validate_steps == 0
        if ranks.first and (spent - validated > args.validate_minutes * 60 or done or due) and held:
            result = {"step": step, **validate(ema, held)}
            tell(result)
            if result["f1"] >= best:
                best = result["f1"]
                save(args.out / "best.pt", {"ema": ema.state_dict(), "step": step, "spent": spent, "validation": result, "seed": args.seed, **chosen})
            validated = spent
            saved = float("-inf")
            clock = time.monotonic()
        # After the validation, so that what it found best is not forgotten by a run that is cut off.
        if ranks.first and (spent - saved > 120 or done):
            save(last, snapshot())
            saved = spent
    feed.close()
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
        if result and not result["f1"] > 0.5:
            raise SystemExit(f"smoke: F1 {result['f1']:.3f} after {result['step']} steps: the training chain no longer learns")
        return
    if args.data is None or (args.hours <= 0) == (args.steps <= 0):
        raise SystemExit("train: give --data and one of --hours and --steps")
    train(args)
