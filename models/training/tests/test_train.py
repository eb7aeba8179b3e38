"""The training chain learns, resumes where it stopped, and exports."""

import argparse
import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import torch

from irst_edge_training import train as t


def arguments(out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    t.add_arguments(parser)
    return parser.parse_args(["--out", str(out), "--threads", "1", *more])


class Train(unittest.TestCase):
    def test_smoke_learns(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            t.main(arguments(Path(folder), "--smoke"))
            self.assertTrue((Path(folder) / "best.pt").exists())

    def test_resume_goes_on_where_it_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            more = ("--batch", "4", "--size", "32", "--large-share", "0")
            pools = t.smoke_pools(1)[0], []
            log = io.StringIO()
            with contextlib.redirect_stdout(log):
                t.train(arguments(out, "--steps", "6", *more), pools=pools)
                first = torch.load(out / "last.pt", weights_only=False)
                t.train(arguments(out, "--steps", "9", *more), pools=pools)
            second = torch.load(out / "last.pt", weights_only=False)
            self.assertEqual((first["step"], second["step"]), (6, 9))
            self.assertIn("at step 6", log.getvalue())
            self.assertGreater(second["spent"], first["spent"])

    def test_schedule_warms_up_and_anneals(self):
        rates = [t.learning_rate(p / 100, 1.0) for p in range(101)]
        self.assertLess(rates[0], 0.1)
        self.assertEqual(max(rates), rates[3])
        self.assertAlmostEqual(rates[-1], 0.01)
        self.assertTrue(all(a >= b for a, b in zip(rates[3:], rates[4:])))
