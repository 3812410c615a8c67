"""`import renoise` is instant: heavy libraries come with the first name that needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import renoise

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "peft", "accelerate")


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import renoise; renoise.__version__",
        "from renoise import InversionConfig, Renoising, presets, RenoiseError; InversionConfig()",
        "import renoise.cli",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_after(code) == set()


def test_the_public_names() -> None:
    assert set(renoise.__all__) <= set(dir(renoise))
    for name in renoise.__all__:
        assert getattr(renoise, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        renoise.nonsense  # noqa: B018
