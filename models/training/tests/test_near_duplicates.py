import argparse
import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import cv2
import numpy as np

from irst_edge_training import lists
from irst_edge_training.near_duplicates import of_video, thumbnail, without_training_scenes


def ground(seed: int) -> np.ndarray:
    """Structure of a few pixels on a slope, [192, 256]."""
    noise = np.random.default_rng(seed).normal(0, 60, (192, 256)).astype(np.float32)
    return np.clip(90 + np.arange(256) / 4 + cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)


def take(seed: int, target: tuple[int, int]) -> np.ndarray:
    """Another picture of the scene: fresh noise, another gain, and a target elsewhere."""
    rng = np.random.default_rng(seed + 999)
    image = 0.8 * ground(seed).astype(np.float32) + 20 + rng.normal(0, 2, (192, 256))
    cv2.circle(image, target, 3, 255, -1)
    return np.clip(image, 0, 255).astype(np.uint8)


class NearDuplicates(unittest.TestCase):
    def test_takes_of_one_scene_and_others(self):
        held = {name: thumbnail(image)[None] for name, image in (("same", take(1, (40, 50))), ("other", take(7, (40, 50))))}
        training = {f"t{seed}": thumbnail(take(seed, (200, 100)))[None] for seed in range(5)}
        self.assertEqual(without_training_scenes(held, training), ["other"])
        self.assertEqual(without_training_scenes(held, {}), ["same", "other"])

    def test_a_flat_image_is_no_scene(self):
        flat = {"flat": thumbnail(np.full((64, 64), 9, np.uint8))[None]}
        self.assertTrue(np.isfinite(flat["flat"]).all())
        self.assertEqual(without_training_scenes(flat, flat), ["flat"])

    def test_what_cannot_be_read_is_told(self):
        with self.assertRaisesRegex(FileNotFoundError, "nowhere.mp4: not a readable video"):
            of_video(Path("nowhere.mp4"))

    def test_lists_without_scenes_of_training(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            root, out = Path(folder) / "data", Path(folder) / "out"
            names = [f"i{k}" for k in range(20)]
            for name in lists.SETS:
                (root / name / "images").mkdir(parents=True)
                (root / name / "train.txt").write_text("\n".join(names))
            (root / "target-free").mkdir()
            (root / "target-free" / "list.txt").write_text("\n".join(names))
            (root / "drone-ir" / "videos").mkdir(parents=True)
            (root / "drone-ir" / "boxes.json").write_text(json.dumps({f"v{k}": [[[30, 30, 8, 8]]] * 3 for k in range(10)}))
            held = lists.held_out_names(root, 1)["SIRST"]
            # The first of the two that are held out is another picture of a training image's scene.
            known = next(n for n in names if n not in held)
            seeds = {n: k for k, n in enumerate(names)} | {held[0]: names.index(known)}
            for name in lists.SETS:
                for n in names:
                    cv2.imwrite(str(root / name / "images" / f"{n}.png"), take(seeds[n], (40 if n == known else 200, 50)))
            for k in range(10):
                film = cv2.VideoWriter(str(root / "drone-ir" / "videos" / f"v{k}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (256, 192))
                for _ in range(3):
                    film.write(cv2.cvtColor(ground(50 if k in (3, 4) else 60 + k), cv2.COLOR_GRAY2BGR))
                film.release()
            parser = argparse.ArgumentParser()
            lists.add_arguments(parser)
            lists.main(parser.parse_args(["--data", str(root), "--out", str(out), "--clean"]))
            self.assertEqual((out / "SIRST-held.txt").read_text().split(), held)
            self.assertEqual((out / "SIRST-held-clean.txt").read_text().split(), held[1:])
            self.assertEqual((out / "drone-ir-held.txt").read_text().split(), ["v4", "v9"])
            self.assertEqual((out / "drone-ir-held-clean.txt").read_text().split(), ["v9"])
