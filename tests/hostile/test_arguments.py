"""Wrong arguments end in a RenoiseError, whatever they are: no other exception leaves the public API."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renoise import (
    EditLosses,
    Editor,
    Inversion,
    InversionConfig,
    NoiseCorrection,
    RenoiseError,
    Renoising,
    images,
)
from tiny_pipelines import BUILDERS


def _raise(*args: Any, **options: Any) -> Any:
    raise ValueError("raised by a method of the argument")


METHODS = ("str", "repr", "eq", "hash", "bool", "len", "iter", "index", "float", "int", "lt", "getitem", "contains")
# A class none of whose values can be looked at.
Raising = type("Raising", (), {f"__{method}__": _raise for method in METHODS})

ODD: tuple[Any, ...] = (
    None,
    b"bytes",
    bytearray(b"x"),
    memoryview(b"ab"),
    {1},
    {"a": 1},
    [],
    (),
    object(),
    Raising(),
    [Raising()],
    10**400,
    -(10**400),
    10**5000,
    10**30,
    -1,
    0,
    float("nan"),
    float("inf"),
    -float("inf"),
    1e308,
    1j,
    Decimal("NaN"),
    Fraction(1, 3),
    np.float64("nan"),
    np.int64(3),
    np.float32(0.5),
    np.bool_(True),
    np.array([1, 2]),
    np.array("x"),
    np.zeros((0, 3)),
    np.array([None], dtype=object),
    torch.tensor(3),
    torch.tensor(float("nan")),
    torch.zeros(2),
    torch.zeros(1, 4, 8, 8, dtype=torch.complex64),
    torch.zeros(1, 3, 8, 8, dtype=torch.int64),
    "a\0b",
    "\udcff",
    "x" * 5000,
    "",
    True,
    Path("x\0"),
    Path("\udcff"),
    Path("x" * 5000),
    range(3),
    (letter for letter in "ab"),
    ["a", 1],
    [[]],
    [["a"], "b"],
    [None],
    [b"a"],
    ["\udcff"],
    NotImplemented,
    ...,
)
# As images these are tested with the images (tests/hostile, tests/test_images.py).
WITHOUT_NUMBERS = (torch.zeros(1, 4, 8, 8, device="meta"), torch.zeros(1, 4, 8, 8).to_sparse())

# What is called, and its other arguments.
Call = tuple[Callable[..., Any], dict[str, Any]]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """Every public function with arguments that it takes."""
    image = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 40).convert("RGB")
    pipe = BUILDERS["sd15-ddim"]()
    editor, config = Editor(pipe), InversionConfig(num_steps=1, renoising=Renoising(0))
    inversion = editor.invert(image, "a", config=config)
    drawn = editor.reconstruct(inversion, "pt")
    path = tmp_path_factory.mktemp("arguments") / "image.png"
    return {
        "invert": (editor.invert, {"image": image, "prompt": "a", "config": config}),
        "edit": (editor.edit, {"inversion": inversion, "prompt": "b"}),
        "reconstruct": (editor.reconstruct, {"inversion": inversion}),
        "prepare": (editor.prepare, {"image": image}),
        "prepare_like": (editor.prepare_like, {"inversion": inversion, "image": image}),
        "quality": (editor.quality, {"prepared": editor.prepare(image), "reconstruction": drawn}),
        "fit": (editor.fit, {"image": image}),
        "encode": (editor.encode, {"image": image}),
        "decode": (editor.decode, {"latents": inversion.latents}),
        "timesteps": (editor.timesteps, {}),
        "edit_guidance": (editor.edit_guidance, {}),
        "embed_images": (editor.embed_images, {}),
        "config": (editor.config, {}),
        "Editor": (Editor, {"pipe": pipe}),
        "from_pretrained": (Editor.from_pretrained, {"name": "no-such-model"}),
        "for_pipeline": (InversionConfig.for_pipeline, {"pipe": pipe}),
        "overridden": (config.overridden, {}),
        "with_iterations": (config.with_iterations, {}),
        "InversionConfig": (InversionConfig, {}),
        "Renoising": (Renoising, {"iterations": 2}),
        "EditLosses": (EditLosses, {}),
        "NoiseCorrection": (NoiseCorrection, {}),
        "Inversion.load": (Inversion.load, {}),
        "Inversion.save": (inversion.save, {}),
        "images.load": (images.load, {"image": image}),
        "images.load_all": (images.load_all, {"images": image}),
        "images.save": (images.save, {"image": image, "path": path}),
    }


# Arguments that are passed on under any name.
MORE = {
    "config": ("num_steps", "iterations", "strength", "guidance_scale", "seed", "edit_losses", "noise_correction"),
    "from_pretrained": ("sampler",),
}
NAMES = (
    *("invert", "edit", "reconstruct", "prepare", "prepare_like", "quality", "fit", "encode", "decode", "timesteps"),
    *("edit_guidance", "embed_images", "config", "Editor", "from_pretrained", "for_pipeline", "overridden"),
    *("with_iterations", "InversionConfig", "Renoising", "EditLosses", "NoiseCorrection", "Inversion.load"),
    *("Inversion.save", "images.load", "images.load_all", "images.save"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # some of the names can be written to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def arguments_of(name: str, function: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments that a function takes."""
    parameters = inspect.signature(function).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [*named, *MORE.get(name, ())]


def leak(function: Callable[..., Any], arguments: dict[str, Any]) -> Exception | None:
    """Return what a call raised that it should not; None if it returned, or raised a RenoiseError that can be told."""
    try:
        function(**arguments)
    except RenoiseError as error:
        told = str(error)
        return None if told.isprintable() and len(told) < 1300 else ValueError(f"no line to read: {told[:200]!a}")
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", NAMES)
def test_one_wrong_argument(calls: dict[str, Call], name: str) -> None:
    function, others = calls[name]
    leaks = []
    for argument in arguments_of(name, function):
        for place, value in enumerate((*ODD, *(WITHOUT_NUMBERS if argument not in ("image", "images") else ()))):
            if argument == "progress" and callable(value):
                continue  # what a callable of the user raises is the user's, and stops the work
            if argument == "config" and value is None:
                continue  # the preset, which takes its time
            error = leak(function, {**others, argument: value})
            if error is not None:
                leaks.append(f"{argument}, value {place}: {type(error).__name__}")
    assert leaks == []


def test_every_function_is_called(calls: dict[str, Call]) -> None:
    assert sorted(calls) == sorted(NAMES)


def test_two_wrong_arguments(calls: dict[str, Call]) -> None:
    """The same with pairs of arguments, of which each may hide the other from its check."""
    draw = random.Random(11)
    leaks = []
    for _ in range(500):
        name = draw.choice(NAMES)
        function, others = calls[name]
        names = [
            argument for argument in arguments_of(name, function) if argument not in ("progress", "image", "images")
        ]
        if not names:
            continue
        wrong = {argument: draw.choice(ODD) for argument in draw.sample(names, min(2, len(names)))}
        error = leak(function, {**others, **wrong})
        if error is not None:
            leaks.append(f"{name}({', '.join(wrong)}): {type(error).__name__}: {str(error)[:80]}")
    assert leaks == []
