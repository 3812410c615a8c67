"""Endless variety for the autoencoder: batches composed on the fly from drawings, shapes and photographs.

An autoencoder that sees four styles on six backgrounds learns these; what it should learn is to keep edges and colours.
So every image is a drawing at a random scale and place, often with its colours permuted, often turned into line art
(flat colours between dark outlines, which no training style has), on a plain, graded or drawn background.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from training.data import BACKGROUNDS, SIDE

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass"),
    *("gravel", "hubble_deep_field", "moon", "retina", "rocket", "page", "text"),
)


@dataclass(frozen=True)
class Chances:
    plain: float = 0.5  # exactly an image of the diffusion model's data
    photograph: float = 0.08
    recolour: float = 0.4
    line_art: float = 0.35
    outline: float = 0.25
    second: float = 0.3


def photograph_bank(seed: int, crops: int = 4, side: int = 256) -> np.ndarray:
    """Cut squares of several extents from the photographs that scikit-image ships: (N, side, side, 3) bytes."""
    from skimage import data as photographs

    rng, bank = np.random.default_rng(seed), []
    for name in PHOTOGRAPHS:
        picture = np.array(getattr(photographs, name)())
        picture = picture[..., :3] if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
        for _ in range(crops):
            extent = int(rng.integers(min(side, *picture.shape[:2]), min(picture.shape[:2]) + 1))
            top, left = (int(rng.integers(0, size - extent + 1)) for size in picture.shape[:2])
            cut = Image.fromarray(picture[top : top + extent, left : left + extent])
            bank.append(np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS)))
    return np.stack(bank)


class Composer:
    """Draws batches from a corpus of (N, 112, 112, 4) bytes and photographs of (M, 256, 256, 3) bytes.

    Both lie on the generator's device, which composes the images; all randomness comes from that one generator.
    """

    def __init__(
        self,
        corpus: torch.Tensor,
        photographs: torch.Tensor,
        generator: torch.Generator,
        chances: Chances | None = None,
    ) -> None:
        self.corpus, self.photographs = corpus, photographs
        self.generator, self.device, self.chances = generator, generator.device, chances or Chances()
        self.plain_colours = torch.tensor(list(BACKGROUNDS.values()), device=self.device).float() / 255

    def batch(self, count: int, side: int) -> torch.Tensor:
        """Draw (count, 3, side, side) in [0, 1]; below 128 px mostly crops, at 128 px mostly whole images."""
        pictures = self._background(count, side)
        plain = self._chance(count, self.chances.plain)
        drawings = self._drawings(count)
        drawings = torch.where(plain.view(-1, 1, 1, 1), drawings, self._varied(drawings))
        over = self._place(drawings, plain, side)
        pictures = over[:, 3:] * over[:, :3] + (1 - over[:, 3:]) * pictures
        second = self._place(self._varied(self._drawings(count)), torch.zeros_like(plain), side)
        show = (self._chance(count, self.chances.second) & ~plain).view(-1, 1, 1, 1) * second[:, 3:]
        pictures = show * second[:, :3] + (1 - show) * pictures
        some = int(self._chance(count, self.chances.photograph).sum())
        if some:
            pictures[:some] = self._photographs(some, side)
        return pictures.clamp(0, 1)

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _whole(self, high: int, count: int) -> torch.Tensor:
        return torch.randint(high, (count,), generator=self.generator, device=self.device)

    def _chance(self, count: int, probability: float) -> torch.Tensor:
        return self._random(count) < probability

    def _drawings(self, count: int) -> torch.Tensor:
        return self.corpus[self._whole(len(self.corpus), count)].permute(0, 3, 1, 2).float() / 255

    def _background(self, count: int, side: int) -> torch.Tensor:
        plain = self.plain_colours[self._whole(len(self.plain_colours), count)]
        first = torch.where(self._chance(count, 0.5)[:, None], plain, self._random(count, 3))
        last = torch.where(self._chance(count, 0.75)[:, None], first, self._random(count, 3))
        ramp = torch.linspace(0, 1, side, device=self.device)
        direction = self._chance(count, 0.5).view(-1, 1, 1)
        mix = torch.where(direction, ramp.view(1, 1, -1), ramp.view(1, -1, 1)).expand(count, side, side)[:, None]
        return first[:, :, None, None] * (1 - mix) + last[:, :, None, None] * mix

    def _varied(self, drawings: torch.Tensor) -> torch.Tensor:
        """Give some of the drawings other colours, some outlines, and make line art of some."""
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
        whole = self._chance(count, 0.35) if crop else torch.ones_like(plain)
        scale = torch.where(whole, scale * (SIDE / side), scale)
        scale = scale.masked_fill(plain, own)
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

    def _photographs(self, count: int, side: int) -> torch.Tensor:
        """Cut windows from the photographs: (count, 3, side, side)."""
        pictures = self.photographs[self._whole(len(self.photographs), count)].permute(0, 3, 1, 2).float() / 255
        own = side / pictures.shape[-1]
        scale = own + (1 - own) * self._random(count)
        shift = (2 * self._random(count, 2) - 1) * (1 - scale)[:, None]
        flip = torch.where(self._chance(count, 0.5), -1.0, 1.0)
        zero = torch.zeros_like(scale)
        rows = [torch.stack([scale * flip, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), [count, 3, side, side], align_corners=False)
        return F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")
