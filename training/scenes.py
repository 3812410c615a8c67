"""Compose the images that the model learns from, each with its caption.

`Sampler` decides *what* an image shows: the drawing, a second one, size, place, background, words. It holds no pixels,
is seeded, and samples half a million scenes in seconds. `compose` makes the pixels of a batch from that, on any device.

    sampler = Sampler(work)                                  # splits, words and drawings.json of the work directory
    scenes = sampler.sample(500_000, seed=1)                 # a Scenes: one array for each property
    captions, index = scenes.captions, scenes.caption        # the captions that differ, and which one each scene has
    pixels = compose(drawings, scenes[:256])                 # (256, 3, 128, 128) in [0, 1] on the device of `drawings`
    plain = sampler.plain([("cat", "noto")], ["white"])      # scenes that equal `data.lay`
    scenes.kind, scenes.first, scenes.second                 # background kind; rows of drawings.npy, -1 for no second

`drawings` is `drawings.npy` as a tensor of bytes (N, 112, 112, 4).
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from training.artwork import ART
from training.colours import WORDS as COLOUR_WORDS
from training.colours import colour_words
from training.data import ALL_STYLES, BACKGROUNDS, MARGIN, SIDE, Drawing, Words, load_drawings, load_splits

PLAIN, GRADIENT, STRIPES, DOTS, CHECKS = range(5)
TEXTURES = {STRIPES: "striped", DOTS: "dotted", CHECKS: "checked"}
# Colours for backgrounds: the six of the evaluation first, then some that are seen in training only.
COLOURS = {
    **BACKGROUNDS,
    "orange": (245, 180, 120),
    "purple": (200, 175, 235),
    "grey": (190, 190, 195),
    "red": (225, 110, 105),
}
NO_SCENE = -1
# How a phrase is varied: its name, an alias, with the category, with the colour, with both.
NAME, ALIAS, CATEGORY, COLOUR, COLOUR_AND_CATEGORY = range(5)
VARIANTS = 5


@dataclass(frozen=True)
class Shares:
    """How often a scene has what."""

    kinds: tuple[float, ...] = (0.6, 0.16, 0.08, 0.08, 0.08)  # plain, gradient, stripes, dots, checks
    centred_on_plain: float = 0.7
    centred_elsewhere: float = 0.25
    two: float = 0.1
    extra_colour: float = 0.1
    alias: float = 0.15
    category: float = 0.12
    colour: float = 0.2
    drop_style: float = 0.1
    drop_background: float = 0.1
    drop_caption: float = 0.1
    scale: tuple[float, float] = (0.78, 1.1)
    shift: float = 12.0


@dataclass(frozen=True)
class Scenes:
    """Scenes as arrays of one length; places are in pixels from the centre of the image."""

    first: np.ndarray  # (N,) row of drawings.npy
    second: np.ndarray  # (N,) row, or -1
    centred: np.ndarray  # (N,) bool: exactly in the middle at its own size
    scale: np.ndarray  # (N, 2) of the first and the second
    place: np.ndarray  # (N, 2, 2) x and y of the first and the second
    kind: np.ndarray  # (N,) of the background
    colours: np.ndarray  # (N, 2) index in COLOURS; alike where the background has one colour
    pattern: np.ndarray  # (N, 2) direction (0 across, 1 down, 2 slanted) and period in pixels
    caption: np.ndarray  # (N,) index in captions
    captions: list[str]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: slice | np.ndarray) -> "Scenes":
        """Return some of the scenes; the list of captions stays whole."""
        chosen = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "captions"}
        return Scenes(**chosen, captions=self.captions)

    def texts(self) -> list[str]:
        """Return the caption of each scene."""
        return [self.captions[i] for i in self.caption]


class Sampler:
    """Draw scenes of what may be trained on.

    Args:
        work: the directory that `training.data` wrote.
        shares: how often a scene has what.
    """

    def __init__(self, work: Path, shares: Shares | None = None) -> None:
        self.shares = shares or Shares()
        drawings, self.rows = load_drawings(work)
        splits, words = load_splits(work), Words()
        self.drawings = list(self.rows)
        self.styles = list(ALL_STYLES)
        concepts = {c: i for i, c in enumerate(splits.concepts)}
        self.concept = np.array([concepts[d.concept] for d in self.drawings])
        self.style = np.array([self.styles.index(d.style) for d in self.drawings])
        trained = [splits.trained(d.concept, d.style) for d in self.drawings]
        self.trained = np.flatnonzero(trained)
        self.allowed = np.ones((len(concepts), len(COLOURS)), bool)
        for concept, background in splits.held_out_backgrounds:
            self.allowed[concepts[concept], list(COLOURS).index(background)] = False
        self._of_style = {s: self.trained[self.style[self.trained] == s] for s in np.unique(self.style[self.trained])}
        self._learn_phrases(words, drawings)

    def _learn_phrases(self, words: Words, drawings: np.ndarray) -> None:
        """Number the different phrases; `_phrase` has that of each row in each variant, -1 where there is none."""
        numbers: dict[str, int] = {}
        self._phrase = np.full((len(self.drawings), VARIANTS), -1)
        for row, (drawing, colour) in enumerate(zip(self.drawings, colour_words(drawings), strict=True)):
            phrase, category = words.phrase(drawing.concept), words.category(drawing.concept)
            # Of people it would not say what they wear.
            person = words.concepts[drawing.concept].group == "people-body"
            coloured = None if person else with_colour(phrase, colour)
            texts = {NAME: phrase, ALIAS: words.aliases.get(drawing.concept), COLOUR: coloured}
            if category:
                texts[CATEGORY] = f"{phrase}, {category}"
                texts[COLOUR_AND_CATEGORY] = f"{coloured}, {category}" if coloured else None
            for variant, text in texts.items():
                if text:
                    self._phrase[row, variant] = numbers.setdefault(text, len(numbers))
        self.phrases = list(numbers)

    def sample(self, count: int, seed: int) -> Scenes:
        """Draw `count` scenes; the same seed draws the same ones."""
        rng, shares = np.random.default_rng(seed), self.shares
        first = rng.choice(self.trained, count)
        second = np.full(count, -1)
        two = rng.random(count) < shares.two
        for style, rows in self._of_style.items():
            here = np.flatnonzero(two & (self.style[first] == style))
            second[here] = rng.choice(rows, len(here))
        second[(second >= 0) & (self.concept[second] == self.concept[first])] = -1
        two = second >= 0
        kind = rng.choice(len(shares.kinds), count, p=shares.kinds)
        colours = self._colours(rng, first, second, kind)
        centred = rng.random(count) < np.where(kind == PLAIN, shares.centred_on_plain, shares.centred_elsewhere)
        centred &= ~two

        scale = rng.uniform(*shares.scale, (count, 2))
        place = rng.uniform(-shares.shift, shares.shift, (count, 2, 2))
        # Nothing leaves the image: a drawing at this scale may move so far.
        room = np.maximum(0, (SIDE - ART * scale) / 2)[..., None]
        place = np.clip(place, -room, room)
        scale[centred], place[centred] = 1.0, 0.0
        # Two things stand side by side, the first one on the left.
        scale[two] = rng.uniform(0.46, 0.54, (two.sum(), 2))
        place[two, :, 0] = np.array([-31, 31]) + rng.uniform(-2, 2, (two.sum(), 2))
        place[two, :, 1] = rng.uniform(-16, 16, (two.sum(), 2))

        pattern = np.stack([rng.integers(0, 3, count), rng.choice([16, 21, 32], count)], 1)
        captions, caption = self._captions(rng, first, second, kind, colours)
        return Scenes(first, second, centred, scale, place, kind, colours, pattern, caption, captions)

    def edited(self, scenes: Scenes, seed: int) -> Scenes:
        """Return the scenes with captions that change one thing: what is shown, its style, or the background.

        Nothing held out is asked for.
        """
        rng, count = np.random.default_rng(seed), len(scenes)
        first, colours, change = scenes.first.copy(), scenes.colours.copy(), rng.integers(0, 3, count)
        for key, number in ((self.style, 0), (self.concept, 1)):
            order = self.trained[np.argsort(key[self.trained], kind="stable")]
            here = np.flatnonzero(change == number)
            while len(here):
                least, most = (np.searchsorted(key[order], key[first[here]], side) for side in ("left", "right"))
                first[here] = order[rng.integers(least, most)]
                here = here[~self.allowed[self.concept[first[here]][:, None], colours[here]].all(1)]
        other = change == 2
        colours[other] = self._colours(rng, first[other], scenes.second[other], scenes.kind[other])
        captions, caption = self._captions(rng, first, scenes.second, scenes.kind, colours)
        return replace(scenes, caption=caption, captions=captions)

    def plain(self, pictures: list[tuple[str, str]], backgrounds: list[str]) -> Scenes:
        """Make scenes of (concept, package) on plain backgrounds, trained or not, as `data.lay` lays them."""
        count = len(pictures)
        first = np.array([self.rows[Drawing(*picture)] for picture in pictures])
        colours = np.array([[list(COLOURS).index(b)] * 2 for b in backgrounds])
        texts = [
            sentence_of(self.phrases[self._phrase[row, NAME]], ALL_STYLES[style], f"{background} ")
            for row, (_, style), background in zip(first, pictures, backgrounds, strict=True)
        ]
        return Scenes(
            first,
            second=np.full(count, -1),
            centred=np.ones(count, bool),
            scale=np.ones((count, 2)),
            place=np.zeros((count, 2, 2)),
            kind=np.full(count, PLAIN),
            colours=colours,
            pattern=np.tile([0, 16], (count, 1)),
            caption=np.arange(count),
            captions=texts,
        )

    def _colours(self, rng: np.random.Generator, first: np.ndarray, second: np.ndarray, kind: np.ndarray) -> np.ndarray:
        """Draw two colours for each background, neither of them held out for what is shown."""
        count, own = len(first), len(BACKGROUNDS)
        odds = np.full(len(COLOURS), self.shares.extra_colour / (len(COLOURS) - own))
        odds[:own] = (1 - self.shares.extra_colour) / own
        chosen = rng.choice(len(COLOURS), (count, 2), p=odds)
        while True:
            chosen[:, 1] = np.where(kind == GRADIENT, chosen[:, 1], chosen[:, 0])
            good = self.allowed[self.concept[first][:, None], chosen].all(1)
            good &= (second < 0) | self.allowed[self.concept[second][:, None], chosen].all(1)
            good &= (kind != GRADIENT) | (chosen[:, 0] != chosen[:, 1])
            if good.all():
                return chosen
            chosen[~good] = rng.choice(len(COLOURS), ((~good).sum(), 2), p=odds)

    def _captions(
        self, rng: np.random.Generator, first: np.ndarray, second: np.ndarray, kind: np.ndarray, colours: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """Return the captions that differ, and which of them each scene has."""
        count, shares = len(first), self.shares
        odds = (1 - shares.alias - shares.category - shares.colour, shares.alias, shares.category)
        coloured = (0.7 * shares.colour, 0.3 * shares.colour)
        variant = rng.choice(VARIANTS, count, p=(*odds, *coloured))
        variant[(second >= 0) & (variant == CATEGORY)] = NAME
        variant[(second >= 0) & (variant == COLOUR_AND_CATEGORY)] = COLOUR
        subject = self._varied(first, variant)
        other = np.where(second >= 0, self._varied(second, np.where(variant == ALIAS, ALIAS, NAME)), -1)
        style = np.where(rng.random(count) < shares.drop_style, -1, self.style[first])
        ground = (kind * len(COLOURS) + colours[:, 0]) * len(COLOURS) + colours[:, 1]
        ground[rng.random(count) < shares.drop_background] = -1
        keys = np.stack([subject, other, style, ground], 1)
        keys[rng.random(count) < shares.drop_caption] = NO_SCENE
        # One number for each combination, so that few captions are written out, each once.
        sizes = [len(self.phrases) + 1, len(self.phrases) + 1, len(ALL_STYLES) + 1, 5 * len(COLOURS) ** 2 + 1]
        packed = np.ravel_multi_index(tuple((keys + 1).T), sizes)
        _, where, caption = np.unique(packed, return_index=True, return_inverse=True)
        return [self._written(*keys[i]) for i in where], caption.reshape(-1)

    def _varied(self, rows: np.ndarray, variant: np.ndarray) -> np.ndarray:
        phrase = self._phrase[rows, variant]
        return np.asarray(np.where(phrase < 0, self._phrase[rows, NAME], phrase))

    def _written(self, subject: int, other: int, style: int, ground: int) -> str:
        if subject < 0:
            return ""
        phrase = self.phrases[subject] if other < 0 else f"{self.phrases[subject]} and {self.phrases[other]}"
        return sentence_of(
            phrase,
            ALL_STYLES[self.styles[style]] if style >= 0 else None,
            ground_of(ground) if ground >= 0 else None,
        )


def sentence_of(phrase: str, style: str | None, ground: str | None) -> str:
    """Write 'a cat, noto style, on a striped green background'; a part that is None is left out."""
    parts = [phrase]
    if style:
        parts.append(f"{style} style")
    if ground:
        parts.append(f"on {'an' if ground[0] in 'aeiou' else 'a'} {ground}background")
    return ", ".join(parts)


def ground_of(number: int) -> str:
    """Return the words for a background, with a space behind: 'striped green ', 'blue and white gradient '."""
    names = list(COLOURS)
    rest, last = divmod(number, len(COLOURS))
    kind, first = divmod(rest, len(COLOURS))
    if kind == PLAIN:
        return f"{names[first]} "
    if kind == GRADIENT:
        return f"{names[first]} and {names[last]} gradient "
    return f"{TEXTURES[kind]} {names[first]} "


def with_colour(phrase: str, colour: str | None) -> str | None:
    """Write 'a red car' for 'a car'; None where the phrase has a colour or takes none."""
    article, _, rest = phrase.partition(" ")
    if colour is None or article not in ("a", "an") or set(COLOUR_WORDS) & set(rest.split()):
        return None
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {rest}"


def compose(drawings: torch.Tensor, scenes: Scenes) -> torch.Tensor:
    """Make the pixels of scenes.

    Args:
        drawings: all drawings, bytes (N, 112, 112, 4), on any device.
        scenes: what each image shows.

    Returns:
        Images (B, 3, 128, 128) in [0, 1], on the device of the drawings.
    """
    device = drawings.device

    def moved(array: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

    pictures = backgrounds(moved(scenes.kind, torch.long), moved(scenes.colours, torch.long), moved(scenes.pattern))
    pictures = _over(pictures, drawings, scenes.first, scenes.scale[:, 0], scenes.place[:, 0], scenes.centred)
    shown = np.flatnonzero(scenes.second >= 0)
    if len(shown):
        there = torch.from_numpy(shown).to(device)
        never = np.zeros(len(shown), bool)
        pictures[there] = _over(
            pictures[there], drawings, scenes.second[shown], scenes.scale[shown, 1], scenes.place[shown, 1], never
        )
    return pictures.clamp(0, 1)


def _over(
    pictures: torch.Tensor,
    drawings: torch.Tensor,
    rows: np.ndarray,
    scale: np.ndarray,
    place: np.ndarray,
    centred: np.ndarray,
) -> torch.Tensor:
    """Lay a drawing on each picture."""
    device = drawings.device
    chosen = drawings[torch.from_numpy(rows).to(device)].permute(0, 3, 1, 2).float() / 255
    layer = torch.cat([chosen[:, :3] * chosen[:, 3:], chosen[:, 3:]], 1)
    whole = F.pad(layer, (MARGIN, MARGIN, MARGIN, MARGIN))
    moved = np.flatnonzero(~centred)
    if len(moved):
        there = torch.from_numpy(moved).to(device)
        size = torch.from_numpy(scale[moved]).to(device, torch.float32)
        shift = torch.from_numpy(place[moved]).to(device, torch.float32)
        whole[there] = _placed(layer[there], size, shift)
    return whole[:, :3] + (1 - whole[:, 3:]) * pictures


def _placed(layers: torch.Tensor, scale: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Place premultiplied layers (B, 4, 112, 112) at a scale on (B, 4, 128, 128)."""
    # Grids run over [-1, 1] of the drawing; the image is wider than it by this much.
    ratio = SIDE / ART / scale
    theta = torch.zeros(len(layers), 2, 3, device=layers.device)
    theta[:, 0, 0] = theta[:, 1, 1] = ratio
    theta[:, :, 2] = -place * (2 / ART) / scale[:, None]
    grid = F.affine_grid(theta, [len(layers), 4, SIDE, SIDE], align_corners=False)
    fine = F.grid_sample(layers, grid, align_corners=False)
    # Small ones are taken from a smaller copy, so that no pixel is skipped.
    coarse = F.grid_sample(F.avg_pool2d(layers, 2), grid, align_corners=False)
    return torch.where((scale < 0.6).view(-1, 1, 1, 1), coarse, fine)


def backgrounds(kind: torch.Tensor, colours: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """Draw backgrounds (B, 3, 128, 128) in [0, 1] from kinds (B,), colours (B, 2) and patterns (B, 2)."""
    device = kind.device
    palette = torch.tensor(list(COLOURS.values()), device=device).float() / 255
    first, last = palette[colours[:, 0]], palette[colours[:, 1]]
    # A texture has its colour and a shade of it: darker where the colour is light, lighter where it is dark.
    shade = torch.where(first.mean(1, keepdim=True) > 0.5, 0.84 * first, first + 0.22)
    last = torch.where((kind == GRADIENT)[:, None], last, shade)
    steps = torch.arange(SIDE, device=device).float() + 0.5
    direction, period = pattern[:, 0].view(-1, 1, 1), pattern[:, 1].view(-1, 1, 1)
    y, x = steps.view(1, -1, 1), steps.view(1, 1, -1)
    along = torch.where(direction == 0, x + 0 * y, torch.where(direction == 1, y + 0 * x, (x + y) / 2))

    def edge(distance: torch.Tensor) -> torch.Tensor:
        return (distance + 0.5).clamp(0, 1)

    def band(position: torch.Tensor) -> torch.Tensor:
        """Return 1 in the first half of each period and 0 in the second, softened over a pixel."""
        within = position % period
        return edge(torch.minimum(within, period / 2 - within))

    gradient = along / SIDE
    across, down = band(x + 0 * y), band(y + 0 * x)
    checks = across * (1 - down) + down * (1 - across)
    from_centre = ((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2).sqrt()
    dots = edge(period * 0.28 - from_centre)
    kinds = kind.view(-1, 1, 1)
    mix = torch.zeros(len(kind), SIDE, SIDE, device=device)
    for number, pattern_of in ((GRADIENT, gradient), (STRIPES, band(along)), (DOTS, dots), (CHECKS, checks)):
        mix = torch.where(kinds == number, pattern_of, mix)
    mix = mix[:, None]
    return first[:, :, None, None] * (1 - mix) + last[:, :, None, None] * mix
