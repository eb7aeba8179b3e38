"""The training chain learns, resumes where it stopped, and exports."""

import argparse
import contextlib
import io
import json
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from irst_edge_training import ablate as ab
from irst_edge_training import train as t
from irst_edge_training.data import CropSampler, Pool, Sample, render_heat
from irst_edge_training.export import load_checkpoint
from irst_edge_training.loss import LossConfig, total_loss
from irst_edge_training.model import P2PLite, Up


def arguments(out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    t.add_arguments(parser)
    return parser.parse_args(["--out", str(out), "--threads", "1", *more])


def two_held() -> tuple[list[Pool], list[Pool]]:
    """The pools of ``--smoke`` with two images held out: quick to validate."""
    training, held = t.smoke_pools(1)
    return training, [Pool("smoke", held[0].samples[:2], 1.0)]


class UpSampling(unittest.TestCase):
    def test_training_and_inference_compute_the_same(self):
        for factor, size in ((2, (12, 20)), (4, (8, 6))):
            up = Up(6, 4, {2: 1, 4: 2}[factor]).train()
            up.point.eval()
            x = torch.randn(2, 6, *size)
            torch.testing.assert_close(up(x), up.eval()(x), atol=1e-5, rtol=1e-5)


class Loss(unittest.TestCase):
    def test_the_position_of_a_target_with_a_near_neighbour_is_right_where_the_map_is(self):
        for apart in (40.0, 9.0, 7.0, 5.0):
            points, sigmas = np.array([[29.3, 30.1], [29.3 + apart, 30.1]]), np.array([1.0, 1.0])
            heat = torch.from_numpy(render_heat(points, sigmas, 96))[None, None]
            targets = torch.tensor([[[(x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5, 1.0, 1.0] for x, y in points]])
            logit = heat.clamp(1e-4, 1 - 1e-4).logit()
            parts = total_loss(logit, torch.zeros_like(logit), heat, targets, LossConfig())[1]
            self.assertLess(parts["loc"], 1e-3, apart)
            parts = total_loss(logit.roll(1, 3), torch.zeros_like(logit), heat, targets, LossConfig())[1]
            self.assertGreater(parts["loc"], 0.1, apart)

    def test_the_squared_position_error_weighs_large_errors_more(self):
        heat = torch.from_numpy(render_heat(np.array([[29.0, 30.0]]), np.array([2.0]), 64))[None, None]
        targets = torch.tensor([[[14.25, 14.75, 2.0, 1.0]]])
        logit = heat.clamp(1e-4, 1 - 1e-4).logit()

        def location(shift: int, squared: float) -> float:
            moved = logit.roll(shift, 3)
            return total_loss(moved, torch.zeros_like(logit), heat, targets, LossConfig(location_squared=squared))[1]["loc"]

        self.assertAlmostEqual(location(0, 1.0), location(0, 0.0), places=4)
        more = [location(shift, 1.0) / location(shift, 0.0) for shift in (1, 2)]
        self.assertGreater(more[0], 1.1)
        self.assertGreater(more[1], more[0])


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

    def test_a_new_schedule_starts_from_the_weights_of_another(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = two_held()
            first, second = Path(folder) / "first", Path(folder) / "second"
            t.train(arguments(first, *SHORT), pools=pools)
            more = ("--init", str(first / "best.pt"), "--lr", "1e-12", "--muon-lr", "1e-12", "--optimiser", "adamw")
            t.train(arguments(second, *SHORT, "--steps", "3", *more), pools=pools)
            a, b = (torch.load(run / "best.pt", weights_only=False) for run in (first, second))
            self.assertEqual(b["earlier"]["step"], 2)
            self.assertGreater(b["earlier"]["spent"], 0)
            torch.testing.assert_close(b["ema"]["head.weight"], a["ema"]["head.weight"], atol=1e-6, rtol=0)

    def test_the_finish_on_whole_frames_keeps_the_batch_norms(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = t.smoke_pools(1)
            pools = [Pool("smoke", pools[0][0].samples[:4], 1.0)], [Pool("smoke", pools[1][0].samples[:2], 1.0)]
            first, second = Path(folder) / "first", Path(folder) / "second"
            t.train(arguments(first, *SHORT), pools=pools)
            t.train(arguments(second, *SHORT, "--steps", "3", "--init", str(first / "best.pt"), "--whole", "--ema", "0"), pools=pools)
            a, b = (torch.load(run / "best.pt", weights_only=False)["ema"] for run in (first, second))
            for name in a:
                if name.endswith(("running_mean", "running_var")):
                    torch.testing.assert_close(b[name], a[name], atol=0, rtol=0)
            self.assertGreater(float((b["head.weight"] - a["head.weight"]).abs().max()), 0)

    def test_a_resumed_run_goes_on_with_its_schedule_and_what_it_got_wrong(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            out, pools = Path(folder), (t.smoke_pools(1)[0], [])
            t.train(arguments(out, *SHORT), pools=pools)
            state = torch.load(out / "last.pt", weights_only=False)
            [(difficulty, _)] = state["focus"]
            self.assertFalse(np.all(difficulty == 0.5))
            state["focus"] = [(np.full_like(difficulty, 0.01), [(0, 50.0, 50.0, 0.9)])]
            torch.save(state, out / "last.pt")
            t.train(arguments(out, *SHORT, "--steps", "3"), pools=pools)
            [(difficulty, _)] = torch.load(out / "last.pt", weights_only=False)["focus"]
            self.assertGreater((difficulty == 0.01).mean(), 0.5)
            with self.assertRaisesRegex(SystemExit, "begun with optimiser muon"):
                t.train(arguments(out, *SHORT, "--steps", "4", "--optimiser", "adamw"), pools=pools)

    def test_a_resumed_run_takes_no_other_weights_to_begin_with(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = t.smoke_pools(1)[0], []
            first, other, out = (Path(folder) / name for name in ("first", "other", "out"))
            t.train(arguments(first, *SHORT), pools=pools)
            t.train(arguments(other, *SHORT, "--steps", "3"), pools=pools)
            t.train(arguments(out, *SHORT, "--init", str(first / "last.pt")), pools=pools)
            # Which they were need not be said again, not even the second time.
            for steps in ("3", "4"):
                t.train(arguments(out, *SHORT, "--steps", steps), pools=pools)
            t.train(arguments(out, *SHORT, "--steps", "5", "--init", str(first / "last.pt")), pools=pools)
            self.assertEqual(torch.load(out / "last.pt", weights_only=False)["step"], 5)
            for begun, init in ((out, other), (other, first)):
                with self.assertRaisesRegex(SystemExit, "begun with init"):
                    t.train(arguments(begun, *SHORT, "--steps", "6", "--init", str(init / "last.pt")), pools=pools)

    def test_the_first_batches_are_as_asked_for(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            sizes: list[tuple[int, int]] = []
            made = CropSampler.batch

            def batch(sampler: CropSampler, count: int, size: int):
                sizes.append((count, size))
                return made(sampler, count, size)

            with mock.patch.object(CropSampler, "batch", batch):
                t.train(arguments(Path(folder), *SHORT), pools=(t.smoke_pools(1)[0], []))
            self.assertEqual(set(sizes), {(2, 32)})

    def test_what_cannot_be_used_is_one_line(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            out = Path(folder)
            for more, said in (
                (("--data", folder, "--depth", "1/2,3"), "units of one, two and three branches"),
                (("--data", folder, "--channels", "30", "60", "90"), "multiples of 32"),
                (("--data", folder, "--init", str(out / "none.pt")), "no such file"),
                (("--data", str(out / "none")), "No such file"),
            ):
                with self.subTest(more), self.assertRaisesRegex(SystemExit, said):
                    t.main(arguments(out / "run", "--steps", "1", *more))
            t.train(arguments(out / "first", *SHORT), pools=two_held())
            with self.assertRaisesRegex(SystemExit, "another shape"):
                t.train(arguments(out / "second", *SHORT, "--init", str(out / "first" / "best.pt"), "--depth", "1/1,1/2,1,2"), pools=two_held())

    def test_norms_stay_frozen_where_torchrun_converted_them(self):
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(P2PLite()).train()
        t.freeze_norms(model)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
        self.assertGreater(len(norms), 10)
        self.assertFalse(any(m.training for m in norms))

    def test_bfloat16_ends_before_the_head(self):
        model, z = P2PLite().eval(), torch.randn(1, 1, 32, 32)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logit, logsig = model(z)
        self.assertEqual((logit.dtype, logsig.dtype), (torch.float32, torch.float32))

    def test_a_smoke_run_does_not_pass_on_an_old_one(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "last.pt").touch()
            with self.assertRaisesRegex(SystemExit, "begins anew"):
                t.main(arguments(Path(folder), "--smoke"))

    def test_weights_of_another_split_are_refused(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = two_held()
            first, second = Path(folder) / "first", Path(folder) / "second"
            t.train(arguments(first, *SHORT), pools=pools)
            with self.assertRaisesRegex(SystemExit, "begun with --seed 1"):
                t.train(arguments(second, *SHORT, "--init", str(first / "best.pt"), "--seed", "2"), pools=pools)

    def test_a_resumed_run_takes_the_rates_of_now_and_no_new_temperature(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = t.smoke_pools(1)[0], []
            first, second = Path(folder) / "first", Path(folder) / "second"
            t.train(arguments(first, *SHORT), pools=pools)
            t.train(arguments(second, *SHORT, "--init", str(first / "last.pt")), pools=pools)
            seen: list[float] = []
            with mock.patch.object(P2PLite, "set_temperature", lambda _, value: seen.append(value)):
                t.train(arguments(second, *SHORT, "--steps", "40", "--muon-lr", "0.3", "--decay", "0.5"), pools=pools)
            self.assertEqual(set(seen), {1.0})
            adamw, muon = torch.load(second / "last.pt", weights_only=False)["optimisers"]
            self.assertAlmostEqual(muon["param_groups"][0]["ratio"], 0.3 / 3e-3)
            self.assertEqual((muon["param_groups"][0]["decay"], adamw["param_groups"][0]["weight_decay"]), (0.5, 0.5))

    def test_schedule_warms_up_and_anneals(self):
        rates = [t.learning_rate(p / 100, 1.0) for p in range(101)]
        self.assertLess(rates[0], 0.1)
        self.assertEqual(max(rates), rates[3])
        self.assertAlmostEqual(rates[-1], 0.01)
        self.assertTrue(all(a >= b for a, b in zip(rates[3:], rates[4:])))


SHORT = ("--batch", "2", "--size", "32", "--large-share", "0", "--steps", "2")


class Switches(unittest.TestCase):
    def test_each_is_recorded_and_read_back(self):
        pools = two_held()
        cases = {
            "--no-dynamic": lambda s: s["config"]["dynamic"],
            "--no-fusion": lambda s: s["config"]["fusion"],
            "--no-gate": lambda s: s["config"]["gate"],
            "--depth=1/1,1/2,1,2": lambda s: s["config"]["depth"] == ((1,), (2, 2), (3, 2, 3)),
            "--loss=mse": lambda s: s["loss"]["kind"] != "mse",
            "--rounded-labels": lambda s: not s["rounded_labels"],
        }
        for switch, still_default in cases.items():
            with self.subTest(switch), tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                t.train(arguments(Path(folder), *SHORT, switch), pools=pools)
                for name in ("best.pt", "last.pt"):
                    self.assertFalse(still_default(torch.load(Path(folder) / name, weights_only=False)))
                model, _ = load_checkpoint(Path(folder) / "best.pt")
                self.assertEqual(model.config, t.net_config(arguments(Path(folder), switch)))
                # The same switch resumes, without it the run is refused.
                t.train(arguments(Path(folder), *SHORT, "--steps", "3", switch), pools=pools)
                with self.assertRaisesRegex(SystemExit, "same switches"):
                    t.train(arguments(Path(folder), *SHORT, "--steps", "4"), pools=pools)

    def test_defaults_resume_a_checkpoint_from_before_the_switches(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            pools = t.smoke_pools(1)[0], []
            t.train(arguments(Path(folder), *SHORT), pools=pools)
            last = Path(folder) / "last.pt"
            state = torch.load(last, weights_only=False)
            torch.save({k: v for k, v in state.items() if k not in ("loss", "rounded_labels")}, last)
            t.train(arguments(Path(folder), *SHORT, "--steps", "3"), pools=pools)
            self.assertEqual(torch.load(last, weights_only=False)["step"], 3)

    def test_rounded_labels_lie_on_cell_centres(self):
        scene = Sample("one", np.full((96, 96), 90, np.uint8), np.array([[40.3, 51.2]]), np.ones(1))
        sampler = CropSampler([Pool("one", [scene], 1.0)], 1, rounded_labels=True)
        points = np.concatenate([sampler.crop(64)[2] for _ in range(20)])
        cells = (points + 0.5) / 2 - 0.5
        self.assertGreater(len(points), 0)
        np.testing.assert_allclose(cells, np.round(cells), atol=1e-9)

    def test_feed_ends_its_thread(self):
        feed = t.Prefetch(CropSampler(t.smoke_pools(1)[0], 1), (1, 32))
        feed.next()
        before = threading.active_count()
        feed.close()
        for _ in range(200):
            if threading.active_count() < before:
                return
            time.sleep(0.05)
        self.fail("the thread that makes batches goes on")


class Ablate(unittest.TestCase):
    def arguments(self, out: Path, *more: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        ab.add_arguments(parser)
        return parser.parse_args(["--out", str(out), "--threads", "1", *SHORT, *more])

    def test_runs_resume_and_make_a_table(self):
        pools = two_held()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            out = Path(folder)
            first = ab.ablate(self.arguments(out, "--runs", "full", "--seeds", "1", "2"), pools)
            stamp = (out / "full-1" / "last.pt").stat().st_mtime_ns
            rows = ab.ablate(self.arguments(out, "--runs", "full", "no-dynamic", "mse"), pools)
            self.assertEqual((out / "full-1" / "last.pt").stat().st_mtime_ns, stamp, "what is done is not trained again")
            self.assertEqual(rows[0], first[0])
            self.assertEqual([(r["run"], r["seed"], r["steps"]) for r in rows], [("full", 1, 2), ("no-dynamic", 1, 2), ("mse", 1, 2)])
            self.assertLess(rows[1]["parameters"], rows[0]["parameters"])
            self.assertEqual(json.loads((out / "mse-1" / "result.json").read_text()), rows[2])
            self.assertEqual(torch.load(out / "mse-1" / "best.pt", weights_only=False)["loss"]["kind"], "mse")
            lines = ab.table([*first, *rows[1:]]).splitlines()
            self.assertEqual(len(lines), 2 + 3)
            self.assertIn("±", lines[2])
            with self.assertRaisesRegex(SystemExit, "another budget"):
                ab.ablate(self.arguments(out, "--runs", "full", "--steps", "9"), pools)
            with self.assertRaisesRegex(SystemExit, "another budget"):
                ab.ablate(self.arguments(out, "--runs", "full", "--channels", "32", "64", "64"), pools)
            for more in (("--shares", "1", "1", "1", "1", "1"), ("--location-squared", "1")):
                with self.assertRaisesRegex(SystemExit, "another budget"):
                    ab.ablate(self.arguments(out, "--runs", "full", *more), pools)
