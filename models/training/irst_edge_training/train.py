"""``python -m irst_edge_training train``: trains the detector from single points.

The schedule runs on the time spent training (``--hours``) or on steps (``--steps``); both resume where a checkpoint stopped.
Test lists are never opened: validation and the threshold come from a held-out tenth of every training list.

Under torchrun (``torchrun --nproc-per-node 4 -m irst_edge_training train ...``) every process draws its own crops and gradients
are averaged: the batch is ``--batch`` times the processes, ``--lr`` stays as given. All processes need ``--out``, for resuming.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import ctypes
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

from .data import SHARES, CropSampler, Pool, Sample, load_pools, pixel_gaussian
from .evaluate import THRESHOLDS, find_all, score
from .focus import Origin, report
from .loss import LossConfig, total_loss
from .model import NetConfig, P2PLite, count_parameters
from .muon import Muon
from .ranks import Ranks, join


class Prefetch:
    """Makes batches on a thread while the network trains on the last one."""

    def __init__(self, sampler: CropSampler, size: tuple[int, int]) -> None:
        self.sampler = sampler
        self.ready: queue.Queue = queue.Queue(3)
        self.size = size
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

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[Origin]]:
        batch = self.ready.get()
        if isinstance(batch, Exception):
            raise RuntimeError("a batch could not be made") from batch
        z, heat, targets, origins = batch
        return torch.from_numpy(z), torch.from_numpy(heat), torch.from_numpy(targets), origins


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


def make_optimisers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the kernels that mix channels, AdamW for the rest (or for all). ``ratio``: a group's rate over ``--lr``."""
    with_decay, without = parameter_groups(model, args.decay)
    kernels: list[nn.Parameter] = []
    if args.optimiser == "muon":
        kernels = [p for p in with_decay["params"] if p.shape[1] > 1 and p.shape[0] > 2]
        with_decay["params"] = [p for p in with_decay["params"] if not any(p is k for k in kernels)]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW([with_decay, without], lr=args.lr, fused=True)]
    if kernels:
        optimisers.append(Muon(kernels, lr=args.muon_lr, decay=args.decay))
    for optimiser, ratio in zip(optimisers, (1.0, args.muon_lr / args.lr)):
        for group in optimiser.param_groups:
            group["ratio"] = ratio
    return optimisers


def keep_memory() -> None:
    """Makes glibc keep what is freed: fresh pages for every activation cost more than the arithmetic on virtual machines.

    See mallopt(3): no mmap for large blocks, no trimming, one arena.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20), (-8, 1)):
            libc.mallopt(option, value)


@torch.no_grad()
def update_ema(ema: P2PLite, model: P2PLite, step: int, decay: float) -> None:
    d = min(decay, (1 + step) / (10 + step))
    for a, b in zip(ema.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - d)
        else:
            a.copy_(b)


def freeze_norms(model: nn.Module) -> None:
    """Batch norms use their running statistics and keep them: one or four frames of one set are no sample of all."""
    for m in model.modules():
        # The base class: under torchrun they are SyncBatchNorm.
        if isinstance(m, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - torch has no public name for it
            m.eval()


FALSE_ALARMS_ALLOWED = 0.1
"""Most false alarms an image on held-out target-free frames that a threshold may give, where there are such frames."""


def validate(model: P2PLite, held: list[Pool], radius: float = 5.0, threshold: float | None = None) -> dict:
    """F1 of each held-out pool at one threshold for all, and false alarms on target-free frames.

    The threshold, where none is given, is the one with the best mean F1 over the pools among those that give at most
    ``FALSE_ALARMS_ALLOWED``.
    """
    found = {p.name: find_all(model, p.samples) for p in held if p.name != "drone-ir"}
    labelled = [p for p in held if p.name in found and p.name != "target-free"]

    def false_alarms(threshold: float) -> float:
        return float(np.mean([(f[:, 2] >= threshold).sum() for f in found["target-free"]])) if "target-free" in found else 0.0

    def mean_f1(threshold: float) -> float:
        return float(np.mean([score(found[p.name], p.samples, threshold, radius).f1 for p in labelled]))

    allowed = [float(t) for t in THRESHOLDS if false_alarms(float(t)) <= FALSE_ALARMS_ALLOWED] or [float(THRESHOLDS[-1])]
    mean, threshold = max((mean_f1(t), t) for t in (allowed if threshold is None else [threshold]))
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


def refuse_others(path: Path, made: dict, wanted: dict, how: str, same: str) -> None:
    """What a checkpoint was made with, and what is asked for now. `how`, `same`: words of the message."""
    differ = [f"{k} {made[k]} (now {wanted[k]})" for k in wanted if made[k] != wanted[k]]
    if differ:
        raise SystemExit(f"train: {path} was {how} with {'; '.join(differ)}: give {same} or another --out")


def refuse_other_switches(path: Path, state: dict, wanted: dict) -> None:
    """What a checkpoint does not say (it may be older than a switch) is the default."""
    net, loss = NetConfig.from_dict(state["config"]), LossConfig(**state.get("loss", {}))
    refuse_others(path, switches(net, loss, state.get("rounded_labels", False)), wanted, "trained", "the same switches")


def refuse_other_seed(path: Path, state: dict, seed: int) -> None:
    """The seed splits the lists: weights of another one were trained on what is held out now."""
    if state["seed"] != seed:
        raise SystemExit(f"train: {path} was begun with --seed {state['seed']}: give the same, or other weights and another --out")


def digest(file: Path) -> str:
    """What tells one file of weights from another."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def refuse_other_schedule(path: Path, state: dict, wanted: dict) -> None:
    """What a checkpoint does not say is as it is asked for now."""
    refuse_others(path, {**wanted, **state.get("schedule", {})}, wanted, "begun", "the same")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--smoke", action="store_true", help="a minute on synthetic scenes: does the whole chain still learn?")
    p.add_argument("--data", type=Path, help="folder with NUDT-SIRST, SIRST, IRSTD-1K, target-free, drone-ir")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log; an existing one is resumed")
    p.add_argument("--hours", type=float, default=0.0, help="length of the schedule in hours of training")
    p.add_argument("--steps", type=int, default=0, help="length of the schedule in steps (instead of --hours)")
    p.add_argument("--video-frames", type=int, default=12, help="frames of each video, evenly spread")
    p.add_argument("--shares", type=float, nargs=5, default=list(SHARES), metavar=("NUDT-SIRST", "SIRST", "IRSTD-1K", "TARGET-FREE", "DRONE-IR"), help="how often each set is drawn, to each other")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--size", type=int, default=128, help="crop size, px; the last --large-share of the schedule uses twice this")
    p.add_argument("--large-share", type=float, default=0.15)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--decay", type=float, default=1e-2)
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--optimiser", choices=("muon", "adamw"), default="muon", help="of the kernels that mix channels")
    p.add_argument("--muon-lr", type=float, default=0.02)
    p.add_argument("--focus", type=float, default=0.5, help="share of crops that go where the network was wrong")
    p.add_argument("--distorted", type=float, default=1.0, help="share of crops with the noise, blur and stripes of other cameras")
    p.add_argument("--bf16", action="store_true", help="bfloat16 activations: faster where the CPU or GPU has the instructions")
    p.add_argument("--whole", action="store_true", help="whole frames, few distortions, the statistics of the batch norms as they are: the finish of trained weights (--init)")
    p.add_argument("--init", type=Path, help="a checkpoint whose weights a new schedule starts from")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--validate-minutes", type=float, default=10.0)
    p.add_argument("--validate-steps", type=int, default=0, help="validate every N steps as well (with --steps)")
    add_switches(p)


def add_switches(p: argparse.ArgumentParser) -> None:
    p.add_argument("--no-dynamic", action="store_true", help="plain asymmetric convolutions (ablation)")
    p.add_argument("--no-fusion", action="store_true", help="no cross-layer branches but the last (ablation)")
    p.add_argument("--no-gate", action="store_true", help="low-level detail gates nothing (ablation)")
    p.add_argument("--channels", type=int, nargs=3, help="widths at 1/2, 1/4 and 1/8, multiples of 32; default 32 64 96")
    p.add_argument("--depth", help="AFD units of each branch, stage by stage; default 1/2,2/3,2,3")
    p.add_argument("--loss", choices=("quality-focal", "mse"), default=LossConfig().kind, help="of the heat map (mse: ablation)")
    p.add_argument("--location-squared", type=float, default=LossConfig().location_squared, help="weight of the squared position error beside its absolute value")
    p.add_argument("--rounded-labels", action="store_true", help="label centres rounded to cells (ablation)")


def parse_depth(text: str) -> tuple[tuple[int, ...], ...]:
    """``1/2,3/4,3,2``: units of each branch, stage by stage."""
    stages = [stage.split(",") for stage in text.split("/")]
    if [len(s) for s in stages] != [1, 2, 3] or not all(n.isdigit() and int(n) > 0 for s in stages for n in s):
        raise SystemExit(f"--depth {text!r}: give the units of one, two and three branches, such as 1/2,2/3,2,3")
    return tuple(tuple(int(n) for n in stage) for stage in stages)


def net_config(args: argparse.Namespace) -> NetConfig:
    sizes = {"channels": tuple(args.channels)} if args.channels else {}
    if any(c <= 0 or c % 32 for c in args.channels or ()):
        raise SystemExit(f"--channels {args.channels}: give multiples of 32")
    if args.depth:
        sizes["depth"] = parse_depth(args.depth)
    return NetConfig(dynamic=not args.no_dynamic, fusion=not args.no_fusion, gate=not args.no_gate, **sizes)


def train(args: argparse.Namespace, config: NetConfig | None = None, loss_config: LossConfig | None = None, pools=None) -> dict:
    """Trains to the end of the schedule; returns the last validation (of rank 0; empty elsewhere).

    ``config`` and ``loss_config`` win over the switches of ``args``; ``pools`` (training, held out) over ``args.data``.
    """
    ranks = join()
    try:
        return run(args, ranks, config or net_config(args), loss_config or LossConfig(kind=args.loss, location_squared=args.location_squared), pools)
    finally:
        ranks.leave()


def run(args: argparse.Namespace, ranks: Ranks, config: NetConfig, loss_config: LossConfig, pools) -> dict:
    keep_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    last = args.out / "last.pt"
    chosen = switches(config, loss_config, args.rounded_labels)
    schedule = {"optimiser": args.optimiser, "whole": args.whole, "init": digest(args.init) if args.init else None}

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

    # What the schedules before this one spent on these weights.
    earlier = {"step": 0, "spent": 0.0}
    if args.init:
        begin = torch.load(args.init, map_location=ranks.device, weights_only=False)
        refuse_other_seed(args.init, begin, args.seed)
        try:
            model.load_state_dict(begin["ema"])
        except RuntimeError:
            raise SystemExit(f"train: {args.init} is of another shape ({begin['config']}): give its --channels, --depth and switches") from None
        ema.load_state_dict(begin["ema"])
        earlier = {k: begin[k] + begin.get("earlier", {}).get(k, 0) for k in earlier}
    optimisers = make_optimisers(model, args)
    asked = [[{k: g[k] for k in ("ratio", "weight_decay", "decay") if k in g} for g in o.param_groups] for o in optimisers]
    step, spent, best = 0, 0.0, -1.0
    state: dict = {}
    if last.exists():
        state = torch.load(last, map_location=ranks.device, weights_only=False)
        refuse_other_switches(last, state, chosen)
        refuse_other_seed(last, state, args.seed)
        begun = state.get("schedule", {})
        refuse_other_schedule(last, state, schedule if args.init else {**schedule, "init": begun.get("init")})
        schedule["init"] = begun.get("init")
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        for optimiser, saved_state in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved_state)
        # The state brings the rates it was saved with: those asked for now hold.
        for optimiser, groups in zip(optimisers, asked):
            for group, rates in zip(optimiser.param_groups, groups, strict=True):
                group.update(rates)
        step, spent, best = state["step"], state["spent"], state["best"]
        earlier = state.get("earlier", earlier)
        tell(f"resumed {last} at step {step}, {spent / 60:.1f} min")
    if step == 0:
        tell(f"{count_parameters(model)} parameters")
    # Starts together: no rank reads last.pt after rank 0 began to write it.
    replica = ranks.wrap(model)
    try:
        train_pools, held = pools if pools is not None else load_pools(args.data, args.seed, video_frames=args.video_frames, shares=args.shares)
    except (FileNotFoundError, ValueError) as error:
        # A folder, list, label, image or video that is not there or not whole.
        raise SystemExit(f"train: {error}") from error
    sizes = [", ".join(f"{p.name} {len(p.samples)}" for p in group) for group in (train_pools, held)]
    tell(f"pools: {sizes[0]} held: {sizes[1]}")
    # The seed moves with the step, so a resumed run does not see the same crops again, and with the rank.
    sampler = CropSampler(train_pools, args.seed * 1_000_003 + step + 500_009 * ranks.rank, args.rounded_labels)
    sampler.distorted, sampler.whole = args.distorted, args.whole
    if [len(d) for d, _ in state.get("focus", [])] == [len(f.difficulty) for f in sampler.focus]:
        for focus, (difficulty, clutter) in zip(sampler.focus, state["focus"]):
            focus.difficulty, focus.clutter = difficulty, clutter

    def progress() -> float:
        return step / args.steps if args.steps else spent / (args.hours * 3600)

    def crops(at: float) -> tuple[int, int]:
        """(crops a batch, their side) at a share of the schedule; tells the sampler what else changes with it."""
        large = at > 1 - args.large_share
        sampler.focused = 0.0 if large else args.focus
        sampler.calm = large or args.whole
        return (max(2, args.batch // 4), args.size * 2) if large else (args.batch, args.size)

    # The first batches are made before the first step.
    feed = Prefetch(sampler, crops(progress()))

    def snapshot() -> dict:
        return {"model": model.state_dict(), "ema": ema.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "step": step, "spent": spent,
                "best": best, "seed": args.seed, "earlier": earlier, "schedule": schedule, "focus": [(f.difficulty, f.clutter) for f in sampler.focus], **chosen}

    recent: list[float] = []
    clock = time.monotonic()
    validated, printed, saved = spent, spent, spent
    result: dict = {}
    while progress() < 1.0:
        at = progress()
        lr = learning_rate(at, args.lr)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr * group["ratio"]
        # ODConv anneals its kernel softmax from 30 to 1 while attention is still random.
        model.set_temperature(1.0 if earlier["step"] else max(1.0, 30.0 - 29.0 * at / 0.1))
        feed.size = crops(at)
        z, heat, targets, origins = feed.next()
        z, heat, targets = z.to(ranks.device), heat.to(ranks.device), targets.to(ranks.device)
        replica.train()
        if args.whole:
            freeze_norms(model)
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=args.bf16):
            logit, logsig = replica(z)
        loss, parts = total_loss(logit, logsig, heat, targets, loss_config)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        for optimiser in optimisers:
            optimiser.step()
        if args.focus:
            report(feed.sampler.focus, origins, logit.detach()[:, 0].sigmoid().float().cpu().numpy(), heat[:, 0].cpu().numpy())
        step += 1
        ranks.average_buffers(model)
        update_ema(ema, model, step, args.ema)
        recent.append(float(loss.detach()))
        now = time.monotonic()
        spent = ranks.from_first(spent + now - clock)
        clock = now
        done = progress() >= 1.0
        if spent - printed > 30 or done:
            left = round((spent / at - spent) / 60, 1) if at > 0 else None
            line = {"step": step, "minutes": round(spent / 60, 1), "progress": round(at, 4), "left": left,
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
                save(args.out / "best.pt", {"ema": ema.state_dict(), "step": step, "spent": spent, "validation": result, "seed": args.seed, "earlier": earlier, **chosen})
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
        if (args.out / "last.pt").exists():
            raise SystemExit(f"train: --smoke begins anew, and {args.out / 'last.pt'} is there: give another --out")
        args.steps, args.hours, args.batch, args.size, args.large_share, args.threads = 120, 0.0, 8, 64, 0.0, min(args.threads, 2)
        result = train(args, pools=smoke_pools(args.seed))
        if result and not result["f1"] > 0.5:
            raise SystemExit(f"smoke: F1 {result['f1']:.3f} after {result['step']} steps: the training chain no longer learns")
        return
    if args.data is None or (args.hours <= 0) == (args.steps <= 0):
        raise SystemExit("train: give --data and one of --hours and --steps")
    if args.whole and not args.init:
        raise SystemExit("train: --whole finishes trained weights: give them with --init")
    if args.init and not args.init.is_file():
        raise SystemExit(f"train: --init {args.init}: no such file")
    train(args)
