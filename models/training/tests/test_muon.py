"""Muon's steps are orthogonal, and they find a minimum."""

import unittest

import torch
from torch import nn

from irst_edge_training.muon import Muon, orthogonalise


class Orthogonalise(unittest.TestCase):
    def test_singular_values_come_near_one_and_directions_stay(self):
        torch.manual_seed(1)
        for shape in ((3, 8, 20), (2, 20, 8), (1, 16, 16)):
            g = torch.randn(shape)
            o = orthogonalise(g)
            self.assertEqual(o.shape, g.shape)
            values = torch.linalg.svdvals(o)
            self.assertTrue(bool(((values > 0.3) & (values < 1.3)).all()), str(values))
            u, _, vh = torch.linalg.svd(g, full_matrices=False)
            diagonal = torch.diagonal(u.transpose(1, 2) @ o @ vh.transpose(1, 2), dim1=1, dim2=2)
            self.assertGreater(float(diagonal.min()), 0.25)

    def test_zero_gradient_is_no_step(self):
        self.assertEqual(float(orthogonalise(torch.zeros(1, 4, 4)).abs().max()), 0.0)


class Steps(unittest.TestCase):
    def test_fits_a_known_kernel_and_resumes(self):
        torch.manual_seed(2)
        x, truth = torch.randn(8, 6, 12, 12), nn.Conv2d(6, 8, 3, bias=False)
        model = nn.Conv2d(6, 8, 3, bias=False)
        optimiser = Muon([model.weight], lr=0.05)

        def loss() -> torch.Tensor:
            return ((model(x) - truth(x).detach()) ** 2).mean()

        begin = float(loss().detach())
        for k in range(80):
            optimiser.param_groups[0]["lr"] = 0.05 * (1 - k / 80)
            optimiser.zero_grad()
            value = loss()
            value.backward()
            optimiser.step()
            if k == 40:
                state = optimiser.state_dict()
                optimiser = Muon([model.weight], lr=0.05)
                optimiser.load_state_dict(state)
        self.assertLess(float(loss().detach()), 0.02 * begin)

    def test_decay_shrinks_what_has_no_gradient_left(self):
        weight = nn.Parameter(torch.ones(4, 4, 1, 1))
        optimiser = Muon([weight], lr=0.1, decay=0.5)
        weight.grad = torch.zeros_like(weight)
        optimiser.step()
        self.assertAlmostEqual(float(weight.detach().mean()), 0.95, places=6)


if __name__ == "__main__":
    unittest.main()
