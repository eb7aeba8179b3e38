"""A network that grew computes what it did; what cannot be had is refused."""

import unittest

import torch

from irst_edge_training.grow import grow
from irst_edge_training.model import NetConfig, P2PLite


def config(depth, channels=(32, 32, 32)) -> NetConfig:
    return NetConfig(channels=channels, depth=depth)


def trained_like(depth) -> P2PLite:
    """Batch norms that do something, attentions that are not at their start."""
    torch.manual_seed(3)
    model = P2PLite(config(depth))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.2 * torch.randn_like(p))
        model.train()
        for _ in range(30):
            model(torch.randn(4, 1, 48, 48))
    return model.eval()


BATCHES = [torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(7)) for _ in range(2)]


SMALL = ((1,), (1, 1), (1, 1, 1))


class Grow(unittest.TestCase):
    def test_computes_the_same(self) -> None:
        model = trained_like(SMALL)
        x = torch.randn(2, 1, 80, 64)
        for depth in (
            ((2,), (1, 1), (1, 1, 1)),
            ((1,), (1, 2), (1, 1, 1)),
            ((1,), (1, 1), (2, 1, 1)),
            ((1,), (1, 1), (1, 2, 1)),
            ((2,), (1, 2), (2, 2, 2)),
        ):
            with self.subTest(depth=depth), torch.no_grad():
                grown = grow(model, config(depth), BATCHES)
                for a, b in zip(model(x), grown(x)):
                    self.assertLess(float((a - b).abs().max()), 1e-3 * float(a.abs().max()))

    def test_new_units_learn(self) -> None:
        grown = grow(trained_like(SMALL), config(((1,), (1, 1), (2, 1, 1))), BATCHES).train()
        heat, _ = grown(torch.randn(4, 1, 64, 64))
        heat.square().mean().backward()
        unit = grown.stages[2][0][-1]
        for weight in (unit.od.k33, unit.od.heads.weight, unit.mix[0].weight):
            self.assertGreater(float(weight.grad.abs().max()), 0)

    def test_a_unit_less_is_near(self) -> None:
        model = trained_like(((1,), (1, 1), (1, 1, 2)))
        shorter = grow(model, config(SMALL), BATCHES)
        with torch.no_grad():
            both = torch.stack((model(BATCHES[0])[0].flatten(), shorter(BATCHES[0])[0].flatten()))
        self.assertGreater(float(torch.corrcoef(both)[0, 1]), 0.9)

    def test_refuses_what_cannot_be_had(self) -> None:
        model = trained_like(SMALL)
        for depth in (((1,), (2, 1), (1, 1, 1)), ((3,), (1, 1), (1, 1, 1)), ((1,), (1, 1), (0, 1, 1))):
            with self.subTest(depth=depth), self.assertRaisesRegex(ValueError, "cannot be had"):
                grow(model, config(depth), BATCHES)
        with self.assertRaisesRegex(ValueError, "units"):
            grow(model, config(SMALL, channels=(64, 32, 32)), BATCHES)


if __name__ == "__main__":
    unittest.main()
