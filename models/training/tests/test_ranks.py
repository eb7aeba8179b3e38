"""Two processes under torchrun (gloo, CPU) end with the same network; one process is what it was without torchrun."""

import argparse
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch

from irst_edge_training import train as t

from .common import TRAINING

WORDS = ("--threads", "1", "--batch", "2", "--size", "32", "--large-share", "0")


def start(folder: Path, processes: int, *words: str) -> str:
    """Runs ddp_worker.py under torchrun; returns what it printed."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TRAINING), "CUDA_VISIBLE_DEVICES": ""}
    if sys.platform == "linux":
        # Machines whose own name resolves to nothing.
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(processes)]
    run += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "tests.ddp_worker", str(folder), *WORDS, *words]
    done = subprocess.run(run, cwd=TRAINING, env=environment, capture_output=True, text=True, timeout=280)
    if done.returncode:
        raise AssertionError(f"torchrun ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


class TwoRanks(unittest.TestCase):
    def test_both_resume_and_end_with_the_same_network_and_only_rank_0_writes(self):
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
            folder = Path(name)
            parser = argparse.ArgumentParser()
            t.add_arguments(parser)
            t.train(parser.parse_args(["--out", name, *WORDS, "--steps", "2"]), pools=(t.smoke_pools(1)[0], []))
            before = torch.load(folder / "last.pt", weights_only=False)["model"]

            text = start(folder, 2, "--steps", "5")
            a, b = (torch.load(folder / f"rank{r}.pt", weights_only=False) for r in (0, 1))
            self.assertEqual((a["steps"], b["steps"]), (3, 3))
            for key in ("model", "ema"):
                for k in a[key]:
                    self.assertTrue(torch.equal(a[key][k], b[key][k]), f"{key} {k} differs between the ranks")
            self.assertFalse(torch.equal(a["model"]["head.weight"], before["head.weight"]))
            self.assertFalse(torch.equal(a["first"], b["first"]), "ranks must draw different crops")
            self.assertIn("f1", a["result"])
            self.assertEqual(b["result"], {})
            self.assertEqual(text.count("resumed"), 1)
            log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
            self.assertEqual([r["step"] for r in log], [2, 5, 5], "a record of each training, one of the validation")
            last = torch.load(folder / "last.pt", weights_only=False)
            self.assertEqual(last["step"], 5)
            for k, v in last["model"].items():
                self.assertTrue(torch.equal(v, a["model"][k]))
