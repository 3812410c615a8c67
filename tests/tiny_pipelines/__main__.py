"""Write the tiny pipelines as folders: python tests/tiny_pipelines OUT [NAME ...]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pipelines that the command line names, or all of them."""
    from tiny_pipelines import BUILDERS  # type: ignore[import-not-found, unused-ignore]

    parser = argparse.ArgumentParser(prog="tiny_pipelines", description="Write tiny random pipelines as folders.")
    parser.add_argument("out", type=Path, help="folder for the folders")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"out of {', '.join(BUILDERS)}; all by default")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(BUILDERS):
        parser.error(f"no pipeline is named {', '.join(sorted(unknown))}; known are {', '.join(BUILDERS)}")
    for name in asked.names or BUILDERS:
        BUILDERS[name]().save_pretrained(asked.out / name)


if __name__ == "__main__":
    # Run as a folder, the package is not importable by its name until the folder around it is on the path.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
