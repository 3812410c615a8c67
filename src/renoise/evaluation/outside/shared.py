"""What the methods of others share: the network with its prompts encoded, samplers, and their settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from renoise.backbones import Request
from renoise.config import InversionConfig, presets
from renoise.editor import Editor
from renoise.errors import ConfigError
from renoise.network import Network
from renoise.prompts import one_each


@contextmanager
def network(editor: Editor, prompts: Sequence[str], guidance_scale: float, z_0: Tensor) -> Iterator[Network]:
    """The network for a batch, without gradients; afterwards offloading hooks may move it away again.

    Args:
        editor: the model.
        prompts: one for each image.
        guidance_scale: 1 (or less) is none.
        z_0: latents (B, C, h, w) of the images' size.

    Raises:
        ConfigError: if the prompts or the guidance scale cannot be used.
    """
    scale = InversionConfig(guidance_scale=guidance_scale).guidance_scale
    texts = one_each(list(prompts), len(z_0), "prompt")
    with torch.no_grad():
        condition = editor.model.condition(Request(texts, None, scale, editor.model.pixels(z_0)))
        try:
            yield editor.model.network(condition)
        finally:
            editor.model.backbone.release()


def clean_latents(editor: Editor, z_0: Tensor) -> Tensor:
    """z_0, checked, in float32 where the network runs.

    Raises:
        ConfigError: if they are no latents of this model.
        NumericalError: for NaN or infinity in them.
    """
    return editor.model.prepare(None, z_0).latents


def require_finite_latents(editor: Editor, latents: Tensor, what: str) -> None:
    """Raise a `NumericalError` for NaN or infinity."""
    editor.model.require_finite(latents, what)


def settle(method: Any, *names: str) -> None:
    """Check settings that `InversionConfig` has by the same names, and store them in the frozen method as it does.

    Raises:
        ConfigError: for a setting out of its range.
    """
    config = InversionConfig(**{name: getattr(method, name) for name in names})
    for name in names:
        object.__setattr__(method, name, getattr(config, name))


def values_of(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a method's fields out of its settings.

    Raises:
        LookupError: if one of them is missing.
    """
    return {field.name: settings[field.name] for field in fields(kind)}


class OneSchedule:
    """A method, a frozen dataclass, that inverts and draws in the same `num_steps` steps and does not iterate."""

    kind: ClassVar[str]
    num_steps: int

    @property
    def num_inversion_steps(self) -> int:
        """See `Method`."""
        return self.num_steps

    @property
    def num_denoising_steps(self) -> int:
        """See `Method`."""
        return self.num_steps

    @property
    def iterations(self) -> int:
        """See `Method`."""
        return 0

    def settings(self) -> dict[str, Any]:
        """See `Method`."""
        return values_of(type(self), vars(self)) | {"kind": self.kind}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """See `Method`."""
        return cls(**values_of(cls, settings))


@dataclass(frozen=True)
class Unguided:
    """A method that inverts with `Editor.invert` without guidance, and brings guidance in when it draws.

    Attributes:
        config: the settings of the inversion, without guidance; plain reversing of 50 steps by default.
        guidance_scale: w, of drawing; 1 (or less) is none.

    Raises:
        ConfigError: for a setting out of its range, or a config with guidance.
    """

    kind: ClassVar[str]

    config: InversionConfig = presets["reverse"]
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        if not isinstance(self.config, InversionConfig):
            raise ConfigError(f"config must be an InversionConfig, not {type(self.config).__name__}")
        if self.config.guidance_scale != 1.0:
            raise ConfigError(
                f"the inversion must be without guidance, but its config has guidance_scale="
                f"{self.config.guidance_scale:g}; leave that at 1 and give the method's own guidance_scale"
            )
        settle(self, "guidance_scale")

    @property
    def num_inversion_steps(self) -> int:
        """See `Method`."""
        return self.config.num_steps

    @property
    def num_denoising_steps(self) -> int:
        """See `Method`."""
        return self.config.num_steps

    @property
    def iterations(self) -> int:
        """See `Method`."""
        return self.config.renoising.iterations

    def settings(self) -> dict[str, Any]:
        """See `Method`."""
        return asdict(self) | {"kind": self.kind, "config": self.config.to_record()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """See `Method`."""
        values = values_of(cls, settings)
        return cls(**{**values, "config": InversionConfig.from_record(values["config"])})
