"""Match the drawings of all icon packages by what they show, and write the list of concepts, `concepts.json`.

Two packages seldom agree on a name. Most tell the code point of an emoji, though, and where one does not, its names are
compared with those that Unicode, CLDR and the other packages use for a code point. A concept is what at least three of
the trained packages draw. Flags, clocks, keycaps, letter buttons, skin tones and variants by gender are left out: no
name describes them, or they are many copies of one drawing.

    npm install --prefix training --no-package-lock
    python -m training.concepts --modules training/node_modules
"""

import argparse
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from training.artwork import MEASURED, TRAINED, load_artwork, rasterise_all
from training.common import write_atomically

LEAST = 3
# Later packages took some drawings over from earlier ones: two that differ by less than this (RMS on white, of 1) are
# one drawing, and the later package loses it, for nothing would tell the styles apart. The first four keep theirs.
SAME_DRAWING, FIRST = 0.12, 4
FILE = Path(__file__).with_name("concepts.json")
# Names that fxemoji and streamline use for something else, or that nothing else tells.
OWN_NAMES: dict[str, dict[str, str]] = {
    "fxemoji": dict(
        cat="1f431",
        catside="1f408",
        dog="1f436",
        dogside="1f415",
        bunny="1f430",
        bunnyside="1f407",
        dragonhead="1f432",
        dragonside="1f409",
        cow="1f404",
        mouse="1f42d",
        tiger="1f42f",
        email="1f4e7",
        grin="1f601",
        crying="1f622",
        frown="2639",
        couple="1f46b",
        pig="1f437",
    ),
    "noto-v1": {"cricket-game": "1f3cf"},
    "emojione": {"cricket-game": "1f3cf"},
    "streamline-emojis": {"chicken": "1f414", "turkey": "1f983", "dizzy": "1f4ab"},
}
# One word for each subgroup of Unicode's list; a caption may add it.
SUBGROUPS = {
    "an animal face": "cat-face monkey-face",
    "an animal": "animal-mammal animal-amphibian animal-reptile",
    "a bird": "animal-bird",
    "a sea animal": "animal-marine",
    "an insect": "animal-bug",
    "a heart": "heart",
    "a hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands hand-prop",
    "a part of the body": "body-parts",
    "a sign": "emotion person-symbol",
    "a flower": "plant-flower",
    "a plant": "plant-other",
    "a fruit": "food-fruit",
    "a vegetable": "food-vegetable",
    "a sweet": "food-sweet",
    "a drink": "drink",
    "food": "food-prepared food-asian",
    "a kitchen tool": "dishware",
    "a map": "place-map",
    "a landscape": "place-geographic",
    "a building": "place-building place-religious",
    "a place": "place-other",
    "a vehicle": "transport-ground transport-water transport-air",
    "sky and weather": "sky-weather",
    "a celebration": "event",
    "a medal": "award-medal",
    "sports": "sport",
    "a game": "game",
    "art": "arts-crafts",
    "clothing": "clothing",
    "a sound": "sound",
    "music": "music",
    "a musical instrument": "musical-instrument",
    "a device": "phone computer light-video",
    "paper": "book-paper",
    "money": "money",
    "mail": "mail",
    "a writing tool": "writing",
    "an office tool": "office",
    "a lock": "lock",
    "a tool": "tool",
    "science": "science",
    "medicine": "medical",
    "a household thing": "household",
    "a shape": "geometric",
}
CATEGORIES = {subgroup: word for word, subgroups in SUBGROUPS.items() for subgroup in subgroups.split()}
BY_GROUP = {"smileys-emotion": "a face", "people-body": "a person", "symbols": "a sign", "objects": "a thing"}
GROUPS_LEFT_OUT, SUBGROUPS_LEFT_OUT = {"flags", "component"}, {"keycap", "alphanum", "family"}
NAMES_LEFT_OUT = re.compile(
    r"skin-tone|(^|-)flags?(-|$)|keycap|-button$|-oclock$|-thirty$|regional-indicator|^input-|-facing-right$|^middle-finger$"
    r"|^(back|end|on-exclamation|soon|top)-arrow$|^(black|white)-(medium|small|medium-small)-square$|^mx-claus$"
    r"|^(atm-sign|water-closet|copyright|registered|trade-mark)$"
)


@dataclass(frozen=True)
class Concept:
    """What several packages draw: its name, its code points, and its icon in each package.

    `copies` has the icons of packages that took their drawing over from another one.
    """

    name: str
    code: str
    group: str
    subgroup: str
    category: str
    icons: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)


def plain(code: str) -> str:
    """Return a code point sequence in the form of the icon packages, without the variation selector."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def bare(name: str) -> str:
    """Return a name without case, separators and accents, to compare names by."""
    letters = unicodedata.normalize("NFKD", name.lower()).replace("&", "and")
    return re.sub(r"[^a-z0-9]", "", letters)


class Package:
    """The icons of a package by code point and by name."""

    def __init__(self, folder: Path) -> None:
        table = json.loads((folder / "icons.json").read_text())
        self.icons: set[str] = {n for n, icon in table["icons"].items() if not icon.get("hidden")}
        aliases = {n: a["parent"] for n, a in table.get("aliases", {}).items() if set(a) == {"parent"}}
        chars = folder / "chars.json"
        known = json.loads(chars.read_text()) if chars.exists() else {}
        self.by_code = {plain(c): aliases.get(n, n) for c, n in known.items() if aliases.get(n, n) in self.icons}
        self.by_name: dict[str, str] = {}
        for name, icon in [(n, n) for n in sorted(self.icons)] + sorted(aliases.items()):
            if icon in self.icons:
                self.by_name.setdefault(bare(name), icon)
        # Alternatives of one drawing are numbered: the first stands for all.
        for name in sorted(self.icons):
            if name.endswith("-1"):
                self.by_name.setdefault(bare(name[:-2]), name)


def gendered(entry: dict[str, object]) -> bool:
    """Tell whether this is a man's or a woman's form of what exists for a person, or a family of them."""
    points = plain(str(entry["hexcode"])).split("-")
    return len(points) > 1 and any(p in ("2640", "2642", "1f468", "1f469") for p in points)


def names_of(entry: dict[str, object], shortcodes: list[dict[str, object]]) -> list[list[str]]:
    """List a code point's names, best first; all code points are matched by their best before any by the next."""
    code = str(entry["hexcode"])
    label = str(entry["label"])
    points = [chr(int(p, 16)) for p in plain(code).split("-")]
    unicode_name = unicodedata.name(points[0], "") if len(points) == 1 else ""
    short: list[str] = []
    for table in shortcodes:
        found = table.get(code, [])
        short += [found] if isinstance(found, str) else list(found) if isinstance(found, list) else []
    return [
        [label],
        [unicode_name, re.sub("^(heavy|black|white) ", "", unicode_name.lower())],
        [f"{label} face"],
        short,
    ]


def matched(package: Package, own: dict[str, str], names: dict[str, list[list[str]]]) -> dict[str, str]:
    """Find the package's icon for each code point, none used twice."""
    found = dict(package.by_code)
    used = set(found.values()) | set(own)
    for icon, code in own.items():
        if icon in package.icons:
            found[code] = icon
    for rank in range(max(map(len, names.values()))):
        for code, ranked in names.items():
            if code in found or rank >= len(ranked):
                continue
            for name in filter(None, map(bare, ranked[rank])):
                match = package.by_name.get(name)
                if match and match not in used:
                    found[code] = match
                    used.add(match)
                    break
    return found


def entries(modules: Path) -> Iterator[dict[str, object]]:
    data = json.loads((modules / "emojibase-data/en/data.json").read_text())
    yield from (entry for entry in data if "group" in entry and "subgroup" in entry)


def find_concepts(modules: Path) -> list[Concept]:
    meta = json.loads((modules / "emojibase-data/meta/groups.json").read_text())
    short = [
        json.loads((modules / f"emojibase-data/en/shortcodes/{n}.json").read_text())
        for n in ("cldr", "emojibase", "joypixels", "emojibase-legacy", "iamcal")
    ]
    packages = {name: Package(modules / "@iconify-json" / name) for name in (*TRAINED, *MEASURED)}
    known = list(entries(modules))
    names: dict[str, list[list[str]]] = {}
    for entry in known:
        code = plain(str(entry["hexcode"]))
        icon = packages["noto"].by_code.get(code) or packages["twemoji"].by_code.get(code)
        first, *rest = names_of(entry, short)
        names[code] = [[*first, icon or ""], *rest]
    packages["fluent-emoji"].by_code.update(packages["fluent-emoji-flat"].by_code)
    by_code = packages["fluent-emoji"].by_code
    packages["fluent-emoji"].by_code = {c: n for c, n in by_code.items() if n in packages["fluent-emoji"].icons}
    icons = {n: matched(p, OWN_NAMES.get(n, {}), names) for n, p in packages.items()}

    earlier = tomllib.loads(Path(__file__).with_name("concepts.toml").read_text())["categories"]
    everyday = {name for line in earlier.values() for name in line.split()}
    concepts: list[Concept] = []
    for entry in known:
        code = plain(str(entry["hexcode"]))
        group, subgroup = meta["groups"][str(entry["group"])], meta["subgroups"][str(entry["subgroup"])]
        drawn = {package: table[code] for package, table in icons.items() if code in table}
        name = drawn.get("noto") or drawn.get("twemoji") or drawn.get("fluent-emoji") or ""
        if sum(package in drawn for package in TRAINED) < LEAST:
            continue
        kept = name in everyday
        left_out = group in GROUPS_LEFT_OUT or subgroup in SUBGROUPS_LEFT_OUT or gendered(entry)
        if not kept and (left_out or NAMES_LEFT_OUT.search(name)):
            continue
        category = CATEGORIES.get(subgroup) or BY_GROUP.get(group, "a thing")
        concepts.append(Concept(name, code, group, subgroup, category, drawn))
    missing = everyday - {c.name for c in concepts}
    if missing:
        raise SystemExit(f"no drawing matches {', '.join(sorted(missing))}")
    return concepts


def without_copies(concepts: list[Concept], modules: Path) -> list[Concept]:
    """Take from later packages the drawings that they share with earlier ones."""
    artwork = load_artwork(modules)
    keys = [(c.name, p) for c in concepts for p in TRAINED if p in c.icons]
    icons = {c.name: c.icons for c in concepts}
    pixels = rasterise_all([artwork[p][icons[name][p]] for name, p in keys])
    flat = dict(zip(keys, (on_white(p) for p in pixels), strict=True))
    kept = []
    for concept in concepts:
        styles = [p for p in TRAINED if p in concept.icons]
        copies = {
            late
            for place, late in enumerate(styles)
            for early in styles[:place]
            if late in TRAINED[FIRST:]
            and difference(flat[concept.name, late], flat[concept.name, early]) < SAME_DRAWING
        }
        left = {p: n for p, n in concept.icons.items() if p not in copies}
        kept.append(replace(concept, icons=left, copies={p: concept.icons[p] for p in sorted(copies)}))
    return kept


def on_white(drawing: np.ndarray) -> np.ndarray:
    alpha = drawing[..., 3:].astype(np.float32) / 255
    return np.asarray(alpha * drawing[..., :3] / 255 + (1 - alpha))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(one - other).mean()))


def load_concepts() -> list[Concept]:
    return [Concept(**row) for row in json.loads(FILE.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=Path, default=Path("training/node_modules"))
    arguments = parser.parse_args()
    concepts = without_copies(find_concepts(arguments.modules), arguments.modules)
    lines = ",\n".join(json.dumps(asdict(concept)) for concept in concepts)
    write_atomically(FILE, f"[\n{lines}\n]\n".encode())
    for package in (*TRAINED, *MEASURED):
        print(f"{package}: {sum(package in c.icons for c in concepts)} of {len(concepts)} concepts")


if __name__ == "__main__":
    main()
