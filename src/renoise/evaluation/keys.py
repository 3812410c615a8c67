"""What decides a measurement, and so whether it has to be made again.

The key of a measurement is a hash of the model (its networks, their type, its sampler), the image as the model sees it,
the prompt, the method's settings, the run's name and the row's label. It holds no names of files, data sets or models:
a folder may move, and a changed image is another image. It holds no versions either, so that an upgrade never throws
results away unasked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from renoise import Editor
from renoise.checks import dtype_name
from renoise.escaping import encodable
from renoise.evaluation.measurement import Measurement, key_of
from renoise.fingerprint import fingerprint
from renoise.schedulers import describe

# The judges' names in a record's versions (`Judges.identities`).
_JUDGES = ("clip", "dino")

_IN_WORDS = {
    "model": "the model, whose weights are others",
    "dtype": "the networks' type ({now.dtype}; it was {before.dtype})",
    "scheduler": "the model's sampler ({now.scheduler[class]}; it was {before.scheduler[class]}) or its settings",
    "picture": "the image {now.image!r} or its mask",
    "prompt": "the prompt",
    "settings": "the method's settings",
    "target": "the edit's prompt",
    "guidance": "the edit's guidance",
    "judges": "the judges of edits",
}


def model_facts(editor: Editor) -> dict[str, Any]:
    """Return what a measurement keeps of an editor's model, by the names of its fields."""
    return {
        "model": encodable(editor.name or type(editor.pipe).__name__),
        "dtype": dtype_name(editor.dtype),
        "device": str(editor.device),
        "model_hash": key_of(fingerprint(editor.pipe)),
        "scheduler": describe(editor.pipe.scheduler),
    }


def keyed(m: Measurement) -> Measurement:
    """Return a measurement with the key that follows from what it says was asked."""
    return replace(m, key=key_of(decided(m)))


def decided(m: Measurement) -> dict[str, Any]:
    """Return everything on which a measurement depends, under the names that keys have always used."""
    judges = {name: m.versions[name] for name in _JUDGES if name in m.versions}
    edit = {"target": m.target, "guidance": m.guidance, "judges": judges}
    return ({} if m.target is None else edit) | {
        "model": m.model_hash,
        "dtype": m.dtype,
        "scheduler": m.scheduler,
        # An image that could not be read has nothing but its name.
        "picture": m.image_hash or {"data": m.data, "name": m.image},
        "prompt": m.prompt,
        "settings": m.settings,
        "run": m.run,
        "label": m.label,
    }


def differences(before: Measurement, now: Measurement) -> list[str]:
    """Return in words what decides two measurements differently."""
    a, b = decided(before), decided(now)
    names = [name for name in _IN_WORDS if key_of({"": a.get(name)}) != key_of({"": b.get(name)})]
    if "dtype" in names and "model" in names:
        # Rounded weights have another hash, which says nothing about the weights before.
        names.remove("model")
    return [_IN_WORDS[name].format(before=before, now=now) for name in names]
