"""The one colour word that is true of a drawing, measured from its pixels."""

import numpy as np

# A colour is clear where this share of what is drawn has it.
CLEAR = 0.6
WORDS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
# Where each hue, in degrees, ends; what lies between two colours is called neither.
NEITHER = len(WORDS)
HUES = (
    *((12, "red"), (18, ""), (34, "orange"), (42, ""), (66, "yellow"), (75, ""), (160, "green"), (180, "")),
    *((250, "blue"), (262, ""), (290, "purple"), (300, ""), (338, "pink"), (346, ""), (361, "red")),
)


def colour_words(drawings: np.ndarray) -> list[str | None]:
    """Name the dominant colour of each drawing (N, 112, 112, 4), or None where none is clear."""
    return [colour_word(drawing) for drawing in drawings]


def colour_word(drawing: np.ndarray) -> str | None:
    """Name the dominant colour of a drawing (112, 112, 4), or None if none is clear."""
    drawn = drawing[::2, ::2].reshape(-1, 4)
    colours = drawn[drawn[:, 3] > 127, :3].astype(np.float32) / 255
    if len(colours) == 0:
        return None
    counts = np.bincount(_names(colours), minlength=len(WORDS) + 1)[:NEITHER]
    best = int(counts.argmax())
    return WORDS[best] if counts[best] >= CLEAR * len(colours) else None


def _names(colours: np.ndarray) -> np.ndarray:
    """Return the index in `WORDS` of each colour (N, 3) in [0, 1]."""
    high, low = colours.max(1), colours.min(1)
    spread = np.maximum(high - low, 1e-6)
    red, green, blue = colours.T
    hue = np.where(high == red, (green - blue) / spread % 6, (blue - red) / spread + 2)
    hue = 60 * np.where((high == blue) & (high != red), (red - green) / spread + 4, hue)
    limits = [limit for limit, _ in HUES]
    indices = [WORDS.index(name) if name else NEITHER for _, name in HUES]
    named = np.array(indices)[np.searchsorted(limits, hue)]
    light = (high + low) / 2
    # Dark orange is brown; light red is pink.
    dull = (light < 0.42) | ((light < 0.62) & (spread < 0.5))
    named = np.where((hue > 8) & (hue < 42) & dull, WORDS.index("brown"), named)
    named = np.where((named == 0) & (light > 0.72), WORDS.index("pink"), named)
    pale = high - low < np.where(light > 0.85, 0.06, 0.13)
    shade = np.where(
        light < 0.25, WORDS.index("black"), np.where(light < 0.85, WORDS.index("grey"), WORDS.index("white"))
    )
    return np.where(pale | (high < 0.2), shade, named)
