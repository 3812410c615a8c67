"""Starts workers on the cases of an area, and starts the next where one died; also a command for longer searches.

python -m hostile.running AREA [SHARE]    (in the folder tests)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass
class Report:
    """How the cases of an area ended.

    Attributes:
        counts: the number of cases by how they ended: "result", "refused" or "fault".
        faults: what went wrong, each with the case's name.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, ended: str, said: str) -> None:
        """Count a case."""
        self.counts[ended] += 1
        if ended == "fault":
            self.faults.append(f"{name}: {said}")


def run(area: str, folder: Path, share: float = 1.0, part: int = 0, parts: int = 1) -> Report:
    """Run one of several parts of a share of an area's cases, in as many processes as it takes."""
    report, first, count = Report(), 0, 1
    while first < count:
        numbers = map(str, (part, parts, share, first))
        command = [sys.executable, "-m", "hostile.worker", area, str(folder), *numbers]
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
                check=False,
            )
            errors.seek(0)
            told = errors.read()[-2000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise RuntimeError(f"the worker on {area} did not begin: {told}")
        count, name = lines[0]["count"], ""
        first, began = count, False
        for line in lines[1:]:
            name = line.get("name", name)
            began = "name" in line
            if not began:
                report.add(name, line["ended"], line["said"])
            elif line is lines[-1]:  # the process died of it
                report.add(name, "fault", f"the process ended with {done.returncode}: {told}")
                first = line["number"] + 1
    return report


def main(arguments: list[str]) -> None:
    """Run an area and print what is wrong, and the counts."""
    with tempfile.TemporaryDirectory() as folder:
        report = run(arguments[0], Path(folder), float(arguments[1]) if arguments[1:] else 1.0)
    sys.stdout.write("".join(f"{fault}\n" for fault in report.faults) + f"{dict(report.counts)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
