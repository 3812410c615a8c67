"""Pack the SVG of every drawing that training uses, for a machine without npm.

python -m training.pack --modules training/node_modules --to artwork.json.xz
"""

import argparse
import json
import lzma
import re
from pathlib import Path

from training.artwork import TRAINED, read_packages
from training.common import write_atomically
from training.concepts import load_concepts

# Variants of one drawing: thousands of near copies.
NEAR_COPIES = re.compile(r"skin-tone|-(dark|light|medium)$|-(medium-dark|medium-light)$|-[2-9]$")


def wanted(packages: dict[str, dict[str, tuple[str, str]]]) -> dict[str, list[str]]:
    """List the icons that training uses: all of the trained packages but near copies, the others' concepts alone."""
    concepts = load_concepts()
    names: dict[str, list[str]] = {}
    for package, icons in packages.items():
        drawn = {c.icons[package] for c in concepts if package in c.icons}
        others = {n for n in icons if not NEAR_COPIES.search(n)} if package in TRAINED else set()
        names[package] = sorted(drawn | others)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=Path, default=Path("training/node_modules"))
    parser.add_argument("--to", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    packages = read_packages(arguments.modules)
    packed = {package: {n: packages[package][n] for n in names} for package, names in wanted(packages).items()}
    data = lzma.compress(json.dumps(packed, separators=(",", ":")).encode(), preset=9 | lzma.PRESET_EXTREME)
    write_atomically(arguments.to, data)
    print(f"{arguments.to}: {sum(map(len, packed.values())):,} drawings, {len(data):,} bytes")


if __name__ == "__main__":
    main()
