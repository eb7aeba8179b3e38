"""The network: asymmetric full-dimensional dynamic extraction, high-resolution cross-feature enhancement, point regression.

Follows the three modules named in the abstract of "Lightweight Infrared Small Target Detection Method Based on
Point-to-point Regression" (Acta Photonica Sinica 55(2), 2026, doi 10.3788/gzxb20265502.0210002); the layer sizes are our own,
since only the abstract is public. Omni-dimensional dynamic convolution: Li et al., ICLR 2022.

Shapes: input float32 [B, 1, H, W], normalised (see ``normalise.py``), H and W multiples of 8. Outputs [B, 1, H/2, W/2]:
``heat`` logits of the target-centre heat map, and ``logsig``, the natural logarithm of the target's Gaussian sigma in
heat-map cells. A heat-map cell ``u`` has its centre at image coordinate ``x = 2 (u + 0.5) - 0.5``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 2
"""Image pixels a heat-map cell."""


@dataclass(frozen=True)
class NetConfig:
    """Layer sizes and the switches that the ablations turn off.

    ``channels`` are the widths at 1/2, 1/4 and 1/8 of the image; each must be a multiple of 32, so that the half that the
    dynamic convolution works on fills whole 16-lane vectors (AVX-512, and tensor-core tiles of 8).
    """

    channels: tuple[int, int, int] = (32, 64, 96)
    depth: tuple[tuple[int, ...], ...] = ((1,), (2, 2), (3, 2, 3))
    """AFD units of each branch (1/2, 1/4, 1/8) at each of the three stages; stage i runs i + 1 branches."""
    attention_width: int = 8
    dynamic: bool = True
    """False: plain asymmetric convolutions in the place of the dynamic ones (ablation of module a)."""
    fusion: bool = True
    """False: no cross-layer branches between stages, only the last one (ablation of module b)."""
    gate: bool = True
    """False: low-level detail does not gate up-sampled semantics (ablation of module b)."""

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict) -> "NetConfig":
        def freeze(value):
            return tuple(map(freeze, value)) if isinstance(value, (list, tuple)) else value

        return NetConfig(**{k: freeze(v) for k, v in data.items()})


def conv_bn(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution without bias and its batch normalisation (folded into one convolution at export)."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)
    )


class AODConv(nn.Module):
    """Asymmetric omni-dimensional dynamic convolution, C to C channels, followed by batch normalisation.

    Three kernels of different support (3x3, 1x3, 3x1) and four attentions computed from the channel means of the input:
    over input channels a_c and filters a_f (sigmoid), over the 9 taps a_s (sigmoid), over the kernels a_w (softmax with a
    temperature that training anneals, as ODConv does). The effective kernel of one sample is
    ``W[o,i,t] = a_f[o] a_c[i] a_s[t] sum_k a_w[k] K_k[o,i,t]``.
    """

    def __init__(self, channels: int, attention_width: int, dynamic: bool) -> None:
        super().__init__()
        self.channels = channels
        self.dynamic = dynamic
        self.temperature = 1.0
        self.k33 = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.k13 = nn.Parameter(torch.empty(channels, channels, 1, 3))
        self.k31 = nn.Parameter(torch.empty(channels, channels, 3, 1))
        for kernel in (self.k33, self.k13, self.k31):
            nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm2d(channels)
        if dynamic:
            self.squeeze = nn.Linear(channels, attention_width)
            self.heads = nn.Linear(attention_width, 2 * channels + 9 + 3)
            nn.init.normal_(self.heads.weight, std=0.01)
            # sigmoid(2) = 0.88: every attention starts open, near a plain convolution
            nn.init.constant_(self.heads.bias, 2.0)
            with torch.no_grad():
                self.heads.bias[-3:] = 0.0

    def kernel_bank(self) -> Tensor:
        """The three kernels zero-padded to 3x3, [3, C, C, 3, 3]."""
        return torch.stack((self.k33, F.pad(self.k13, (0, 0, 1, 1)), F.pad(self.k31, (1, 1, 0, 0))))

    def attentions(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(a_c [B, C], a_f [B, C], a_s [B, 9], a_w [B, 3]) of a batch [B, C, H, W]."""
        c = self.channels
        z = self.heads(F.relu(self.squeeze(x.mean((2, 3)))))
        gates, kernels = z[:, : 2 * c + 9].sigmoid(), z[:, 2 * c + 9 :]
        return gates[:, :c], gates[:, c : 2 * c], gates[:, 2 * c :], (kernels / self.temperature).softmax(1)

    def effective_kernel(self, x: Tensor, bank: Tensor) -> Tensor:
        """The kernel of each sample of a batch [B, C, H, W], [B, C, C, 9]; ``bank`` is ``kernel_bank()``."""
        b, c = x.shape[:2]
        a_c, a_f, a_s, a_w = self.attentions(x)
        kernel = (a_w @ bank.reshape(3, -1)).view(b, c, c, 9)
        return kernel * a_f.view(b, c, 1, 1) * a_c.view(b, 1, c, 1) * a_s.view(b, 1, 1, 9)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        bank = self.kernel_bank()
        if not self.dynamic:
            return self.bn(F.conv2d(x, bank.sum(0) / 3, padding=1))
        # One grouped convolution serves the whole batch: sample i is group i.
        kernel = self.effective_kernel(x, bank).view(b * c, c, 3, 3).to(x.dtype)
        y = F.conv2d(x.reshape(1, b * c, h, w), kernel, padding=1, groups=b)
        return self.bn(y.view(b, c, h, w))


class AFDUnit(nn.Module):
    """Asymmetric full-dimensional dynamic unit: split, half identity, half AODConv and 1x1, concatenate, channel shuffle."""

    def __init__(self, channels: int, config: NetConfig) -> None:
        super().__init__()
        half = channels // 2
        self.od = AODConv(half, config.attention_width, config.dynamic)
        self.mix = conv_bn(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        keep, work = x.chunk(2, 1)
        work = F.relu(self.mix(F.relu(self.od(work))))
        # Channel shuffle with two groups: channels of the halves alternate, so the next unit works on both.
        b, half, h, w = keep.shape
        return torch.stack((keep, work), 2).reshape(b, 2 * half, h, w)


class Down(nn.Module):
    """Halve the resolution ``steps`` times: depthwise 3x3 stride 2 each, then 1x1 to the target width."""

    def __init__(self, cin: int, cout: int, steps: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(*[conv_bn(cin, cin, 3, 2, cin) for _ in range(steps)])
        self.point = conv_bn(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        # oneDNN's backward of strided depthwise convolutions in bfloat16 is a slow reference path: ten times float32's time.
        with torch.autocast(x.device.type, enabled=False):
            x = self.depthwise(x.float())
        return self.point(x)


@functools.lru_cache(maxsize=64)
def bilinear_matrix(size: int, factor: int) -> Tensor:
    """[size * factor, size]: half-pixel bilinear up-sampling of one axis as a matrix, what ``F.interpolate`` computes."""
    eye = torch.eye(size)[None, None]
    return F.interpolate(eye, size=(size * factor, size), mode="bilinear", align_corners=False)[0, 0]


class Up(nn.Module):
    """1x1 to the target width at low resolution, then bilinear up-sampling by ``2 ** steps``.

    While training the up-sampling is two matrix products: the numbers of ``F.interpolate``, whose backward takes three times as
    long.
    """

    def __init__(self, cin: int, cout: int, steps: int) -> None:
        super().__init__()
        self.point = conv_bn(cin, cout, 1)
        self.factor = 2**steps

    def forward(self, x: Tensor) -> Tensor:
        y = self.point(x)
        if not self.training:
            return F.interpolate(y, scale_factor=float(self.factor), mode="bilinear", align_corners=False)
        rows = bilinear_matrix(y.shape[2], self.factor).to(y.device, y.dtype)
        cols = bilinear_matrix(y.shape[3], self.factor).to(y.device, y.dtype)
        return rows @ (y @ cols.t())


class CrossFusion(nn.Module):
    """Every output resolution gets every input resolution; what is up-sampled is gated by the detail it lands on.

    ``y_i = ReLU(x_i + sum_{j<i} down(x_j) + g_i * sum_{j>i} up(x_j))``, ``g_i = sigmoid(1x1(x_i))``, one gate a pixel:
    low-level detail decides where high-level semantics may speak.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int, gate: bool) -> None:
        super().__init__()
        self.paths = nn.ModuleDict()
        self.gates = nn.ModuleDict()
        self.outputs = outputs
        for i in range(outputs):
            for j in range(len(channels)):
                if j < i:
                    self.paths[f"{j}to{i}"] = Down(channels[j], channels[i], i - j)
                elif j > i:
                    self.paths[f"{j}to{i}"] = Up(channels[j], channels[i], j - i)
            if gate and i < len(channels) - 1:
                self.gates[str(i)] = nn.Conv2d(channels[i], 1, 1)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        ys = []
        for i in range(self.outputs):
            y = xs[i]
            semantics = None
            for j, x in enumerate(xs):
                if j == i:
                    continue
                t = self.paths[f"{j}to{i}"](x)
                if j < i:
                    y = y + t
                else:
                    semantics = t if semantics is None else semantics + t
            if semantics is not None:
                if str(i) in self.gates:
                    semantics = semantics * self.gates[str(i)](xs[i]).sigmoid()
                y = y + semantics
            ys.append(F.relu(y))
        return ys


class P2PLite(nn.Module):
    """The detector. See the module's docstring for shapes and coordinates."""

    def __init__(self, config: NetConfig = NetConfig()) -> None:
        super().__init__()
        self.config = config
        c2, c4, c8 = config.channels

        def branch(width: int, depth: int) -> nn.Sequential:
            return nn.Sequential(*[AFDUnit(width, config) for _ in range(depth)])

        # A 6x6 kernel at stride 2 (space-to-depth and 3x3 in one) is centred on the cell's centre x = 2u + 0.5.
        self.stem = nn.Sequential(nn.Conv2d(1, c2, 6, 2, 2, bias=False), nn.BatchNorm2d(c2), nn.ReLU())
        widths = [c2, c4, c8]
        self.stages = nn.ModuleList(
            nn.ModuleList(branch(widths[r], config.depth[s][r]) for r in range(s + 1)) for s in range(3)
        )
        self.transitions = nn.ModuleList((Down(c2, c4), Down(c4, c8)))
        self.fusions = nn.ModuleList(
            (
                CrossFusion((c2, c4), 2, config.gate) if config.fusion else nn.Identity(),
                CrossFusion((c2, c4, c8), 1, config.gate),
            )
        )
        self.smooth = nn.Sequential(conv_bn(c2, c2, 3, groups=c2), conv_bn(c2, c2, 1), nn.ReLU())
        self.head = nn.Conv2d(c2, 2, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        with torch.no_grad():
            # Start at a heat of 1 %, as almost every cell is background (RetinaNet's prior), and at sigma = 1.2 cells.
            self.head.bias.copy_(torch.tensor([-math.log(99.0), math.log(1.2)]))

    def set_temperature(self, temperature: float) -> None:
        """Softmax temperature of every kernel attention (annealed 30 to 1 while training, 1 at inference)."""
        for m in self.modules():
            if isinstance(m, AODConv):
                m.temperature = temperature

    def features(self, x: Tensor) -> Tensor:
        """The fused feature map at half resolution, [B, C2, H/2, W/2]."""
        xs = [self.stem(x)]
        for s in range(3):
            if s > 0:
                xs.append(F.relu(self.transitions[s - 1](xs[-1])))
            xs = [self.stages[s][r](x) for r, x in enumerate(xs)]
            if s == 1 and self.config.fusion:
                xs = self.fusions[0](xs)
        return self.smooth(self.fusions[1](xs)[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        # Positions are weighted sums of cell numbers: bfloat16 holds those above 64 to half a cell.
        with torch.autocast(x.device.type, enabled=False):
            out = self.head(features.float())
        return out[:, :1], out[:, 1:]


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
