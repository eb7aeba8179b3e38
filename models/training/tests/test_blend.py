"""Weights between two checkpoints."""

import argparse
import json
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import torch

from irst_edge_training import blend as b
from irst_edge_training.model import NetConfig, P2PLite
from irst_edge_training.train import smoke_pools


def checkpoint(path: Path, seed: int, channels=(32, 32, 32), split: int = 1) -> Path:
    torch.manual_seed(seed)
    config = NetConfig(channels=channels, depth=((1,), (1, 1), (1, 1, 1)))
    torch.save({"ema": P2PLite(config).state_dict(), "config": config.to_dict(), "step": 5, "spent": 1.0, "seed": split, "earlier": {"step": 2, "spent": 1.0}}, path)
    return path


class Blend(unittest.TestCase):
    def test_lies_between(self):
        first, second = ({"w": torch.full((2,), v), "n": torch.tensor(n)} for v, n in ((1.0, 3), (5.0, 9)))
        mixed = b.blend(first, second, 0.25)
        self.assertEqual(mixed["w"].tolist(), [2.0, 2.0])
        self.assertEqual(int(mixed["n"]), 9)
        self.assertEqual(first["w"].tolist(), [1.0, 1.0])
        with self.assertRaises(ValueError):
            b.blend({"w": torch.zeros(3)}, {"w": torch.zeros(2)}, 0.5)

    def test_command_writes_a_checkpoint_with_its_figures(self):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()) as out:
            root = Path(folder)
            parser = argparse.ArgumentParser()
            b.add_arguments(parser)
            files = [str(checkpoint(root / f"{seed}.pt", seed)) for seed in (1, 2)]
            words = ["--checkpoints", *files, "--data", folder, "--out", str(root / "out.pt"), "--threshold", "0.4", "--share"]
            pools = smoke_pools(1)
            pools[1][0].samples = pools[1][0].samples[:2]
            with mock.patch.object(b, "load_pools", return_value=pools):
                b.main(parser.parse_args([*words, "1"]))
            saved = torch.load(root / "out.pt", weights_only=False)
            self.assertEqual(json.loads(out.getvalue())["threshold"], 0.4)
            self.assertEqual(saved["validation"]["threshold"], 0.4)
            self.assertEqual((saved["step"], saved["share"]), (5, 1.0))
            second = torch.load(files[1], weights_only=False)["ema"]
            torch.testing.assert_close(saved["ema"]["head.weight"], second["head.weight"])
            with self.assertRaises(SystemExit):
                b.main(parser.parse_args([*words, "1.5"]))
            other = str(checkpoint(root / "other.pt", 1, (64, 32, 32)))
            with self.assertRaisesRegex(SystemExit, "different networks"):
                b.main(parser.parse_args(["--checkpoints", other, *words[2:], "0.5"]))
            other = str(checkpoint(root / "split.pt", 1, split=2))
            with self.assertRaisesRegex(SystemExit, "no list is held out for both"):
                b.main(parser.parse_args(["--checkpoints", other, *words[2:], "0.5"]))


if __name__ == "__main__":
    unittest.main()
