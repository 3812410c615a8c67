"""Endless variety for the autoencoder: batches composed on the fly from drawings, shapes and photographs.

An autoencoder that sees four styles on six backgrounds learns these; what it should learn is to keep edges and colours.
So every image is a drawing at a random scale and place, often with its colours permuted, often turned into line art
(flat colours between dark outlines, which no training style has), on a plain, graded or drawn background.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data as photographs

from training.data import BACKGROUNDS, SIDE

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass"),
    *("gravel", "hubble_deep_field", "moon", "retina", "rocket", "page", "text"),
)


@dataclass(frozen=True)
class Chances:
    plain: float = 0.35  # exactly an image of the diffusion model's data
    photograph: float = 0.08
    recolour: float = 0.4
    line_art: float = 0.35
    outline: float = 0.25
    second: float = 0.3


class Composer:
    """Draws batches from a corpus of (N, 112, 112, 4) bytes; all randomness comes from one generator."""

    def __init__(self, corpus: np.ndarray, generator: torch.Generator, chances: Chances | None = None) -> None:
        self.corpus, self.generator, self.chances = corpus, generator, chances or Chances()
        self.plain_colours = torch.tensor(list(BACKGROUNDS.values())).float() / 255
        self.photographs = []
        for name in PHOTOGRAPHS:
            picture = torch.from_numpy(np.array(getattr(photographs, name)())).float() / 255
            picture = picture[..., :3] if picture.ndim == 3 else picture[..., None].expand(-1, -1, 3)
            self.photographs.append(picture.permute(2, 0, 1)[None])

    def batch(self, count: int, side: int) -> torch.Tensor:
        """(count, 3, side, side) in [0, 1]; below 128 px mostly crops, at 128 px mostly whole images."""
        pictures = self._background(count, side)
        plain = self._chance(count, self.chances.plain)
        drawings = self._drawings(count)
        drawings = torch.where(plain.view(-1, 1, 1, 1), drawings, self._varied(drawings))
        over = self._place(drawings, plain, side)
        pictures = over[:, 3:] * over[:, :3] + (1 - over[:, 3:]) * pictures
        second = self._place(self._varied(self._drawings(count)), torch.zeros(count, dtype=torch.bool), side)
        show = (self._chance(count, self.chances.second) & ~plain).view(-1, 1, 1, 1) * second[:, 3:]
        pictures = show * second[:, :3] + (1 - show) * pictures
        for i in self._chance(count, self.chances.photograph).nonzero().flatten().tolist():
            pictures[i] = self._photograph(side)
        return pictures.clamp(0, 1)

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator)

    def _whole(self, high: int, count: int) -> torch.Tensor:
        return torch.randint(high, (count,), generator=self.generator)

    def _chance(self, count: int, probability: float) -> torch.Tensor:
        return self._random(count) < probability

    def _drawings(self, count: int) -> torch.Tensor:
        rows = self._whole(len(self.corpus), count).numpy()
        return torch.from_numpy(self.corpus[rows]).permute(0, 3, 1, 2).float() / 255

    def _background(self, count: int, side: int) -> torch.Tensor:
        plain = self.plain_colours[self._whole(len(self.plain_colours), count)]
        first = torch.where(self._chance(count, 0.5)[:, None], plain, self._random(count, 3))
        last = torch.where(self._chance(count, 0.75)[:, None], first, self._random(count, 3))
        ramp = torch.linspace(0, 1, side)
        direction = self._chance(count, 0.5).view(-1, 1, 1)
        mix = torch.where(direction, ramp.view(1, 1, -1), ramp.view(1, -1, 1)).expand(count, side, side)[:, None]
        return first[:, :, None, None] * (1 - mix) + last[:, :, None, None] * mix

    def _varied(self, drawings: torch.Tensor) -> torch.Tensor:
        """Other colours, line art, outlines; each for some of the drawings."""
        count = len(drawings)
        colour, alpha = drawings[:, :3], drawings[:, 3:]
        order = self._random(count, 3).argsort(1)
        sign = self._chance(count, 0.3).float().view(-1, 1, 1, 1)
        permuted = colour.gather(1, order[:, :, None, None].expand_as(colour))
        permuted = sign * (1 - permuted) + (1 - sign) * permuted
        colour = torch.where(self._chance(count, self.chances.recolour).view(-1, 1, 1, 1), permuted, colour)

        levels = (1 + self._whole(3, count)).view(-1, 1, 1, 1)
        flat = (colour * levels).round() / levels
        premultiplied = flat * alpha
        spread = F.max_pool2d(premultiplied, 3, 1, 1) + F.max_pool2d(-premultiplied, 3, 1, 1)
        edges = (spread.amax(1, keepdim=True) > 0.25).float()
        thick = self._chance(count, 0.5).view(-1, 1, 1, 1)
        edges = torch.where(thick, F.max_pool2d(edges, 3, 1, 1), edges)
        edges = F.avg_pool2d(edges, 3, 1, 1)
        ink = self._random(count, 3, 1, 1) * (self._chance(count, 0.3).float().view(-1, 1, 1, 1))
        tint = self._random(count, 3, 1, 1)
        fill = torch.where(self._chance(count, 0.3).view(-1, 1, 1, 1), tint, flat)
        art = torch.cat([edges * ink + (1 - edges) * fill, torch.maximum(alpha, edges)], 1)
        result = torch.where(
            self._chance(count, self.chances.line_art).view(-1, 1, 1, 1), art, torch.cat([colour, alpha], 1)
        )

        alpha = result[:, 3:]
        wide = F.avg_pool2d(F.max_pool2d(alpha, 5, 1, 2), 3, 1, 1)
        ring = (wide - alpha).clamp(0, 1) * self._chance(count, self.chances.outline).float().view(-1, 1, 1, 1)
        joined = torch.maximum(alpha, ring)
        return torch.cat([(result[:, :3] * alpha + ink * ring) / (alpha + ring).clamp_min(1e-3), joined], 1)

    def _place(self, drawings: torch.Tensor, plain: torch.Tensor, side: int) -> torch.Tensor:
        """Lay each drawing on a transparent square of `side`, plain ones at the data's own scale, others anyhow."""
        count = len(drawings)
        # The sampling grid runs over [-1, 1] of the drawing: this many drawings fit into the square's width.
        own = side / drawings.shape[-1]
        crop = side < SIDE
        scale = own * torch.exp(0.5 * (2 * self._random(count) - 1.0))
        whole = self._chance(count, 0.35) | torch.tensor(not crop)
        scale = torch.where(whole, scale * (SIDE / side), scale)
        scale = torch.where(plain, torch.tensor(own), scale)
        reach = torch.where(scale > 1, 0.4 * scale, 0.9 * (1 - scale).clamp_min(0) + 0.15)
        shift = (2 * self._random(count, 2) - 1) * reach[:, None]
        # A plain crop may start anywhere in the 128 px image; a plain whole image lies exactly in the middle.
        inside = (SIDE - side) / drawings.shape[-1]
        shift = torch.where(plain[:, None], (2 * self._random(count, 2) - 1) * inside, shift)
        angle = (2 * self._random(count) - 1) * 0.35 * self._chance(count, 0.4) * ~plain
        flip = torch.where(self._chance(count, 0.5), -1.0, 1.0)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        theta = torch.stack(
            [torch.stack([cos * flip, -sin * flip, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
        )
        grid = F.affine_grid(theta, [count, 4, side, side], align_corners=False)
        premultiplied = torch.cat([drawings[:, :3] * drawings[:, 3:], drawings[:, 3:]], 1)
        placed = F.grid_sample(premultiplied, grid, align_corners=False)
        return torch.cat([placed[:, :3] / placed[:, 3:].clamp_min(1e-3), placed[:, 3:]], 1)

    def _photograph(self, side: int) -> torch.Tensor:
        picture = self.photographs[int(self._whole(len(self.photographs), 1))]
        height, width = picture.shape[-2:]
        extent = int(side * (1 + float(self._random(1)) * (min(height, width) / side - 1)))
        top, left = int(self._whole(height - extent + 1, 1)), int(self._whole(width - extent + 1, 1))
        cut = picture[..., top : top + extent, left : left + extent]
        cut = F.interpolate(cut, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
        return cut.flip(-1) if float(self._random(1)) < 0.5 else cut
