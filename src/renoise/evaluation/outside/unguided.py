"""Inversion without guidance, which comes in only when the images are drawn.

Negative-prompt inversion (Miyake, Iohara, Saito and Tanaka, 2023, arXiv 2305.16807) inverts an image with its own
prompt. Guidance of scale w then draws with the source prompt c_src in the place of the negative one:

    m = m(z, t, c_src) + w (m(z, t, c) - m(z, t, c_src))

With c = c_src the difference vanishes whatever w is: the reconstruction is the one without guidance, and w acts on what
an edit changes alone. It is null-text inversion (Mokady et al., 2023, arXiv 2211.09794) without the optimisation.

Null-prompt inversion does the same with "" for the source prompt. It needs no caption, and keeps what no prompt
describes; DDIM inversion is accurate then (Han et al., 2023, arXiv 2306.05414, sec. 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from renoise import ConfigError, Editor, InversionConfig, presets
from renoise.evaluation.methods import ByEditor, Noised, drawing, noised
from renoise.evaluation.outside.shared import network, settle


@dataclass(frozen=True)
class Unguided(ByEditor):
    """A method that inverts with `Editor.invert` without guidance, on top of which renoising may iterate.

    Attributes:
        config: the settings of the inversion, without guidance; plain reversing of 50 steps by default.
        guidance_scale: w, the guidance scale of drawing; 1 or less is no guidance.

    Raises:
        ConfigError: for a setting out of its range, or a config with guidance.
    """

    config: InversionConfig = presets["reverse"]
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        if not isinstance(self.config, InversionConfig):
            problem = f"config must be an InversionConfig, not {type(self.config).__name__}"
            raise ConfigError(problem, argument="config")
        if self.config.guidance_scale != 1.0:
            raise ConfigError(
                f"the inversion must be without guidance, but its config has guidance_scale="
                f"{self.config.guidance_scale:g}",
                argument="config",
                remedy="leave that at 1 and give the method's own guidance_scale",
            )
        settle(self, "guidance_scale")

    def _noised(self, editor: Editor, z_0: Tensor, source: list[str], guidance_scale: float) -> Noised:
        """Invert with the source prompts, which also take the negative prompt's place when the images are drawn."""
        inversion = editor.invert(latents=z_0, prompt=source, config=self.config)
        draw = drawing(editor, inversion, source, guidance_scale, self.guidance_scale, negative_prompt=source)
        return noised(editor, inversion, draw)


@dataclass(frozen=True)
class NegativePrompt(Unguided):
    """Negative-prompt inversion; see `Unguided` for its settings.

    A reconstruction costs as much as an edit: it makes both passes of guidance, although the second adds nothing.

    Examples:
        >>> NegativePrompt().iterations, NegativePrompt().guidance_scale
        (0, 7.5)
    """

    kind: ClassVar[str] = "negative-prompt"

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn images into noise; see `Method`.

        Raises:
            ConfigError: if the network takes its guidance scale as an input and no negative prompt.
            SchedulerError: if the model's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity.
        """
        with network(editor, prompts, self.guidance_scale, editor.model.prepare(None, z_0).latents) as net:
            if self.guidance_scale > 1.0 and net.cost == 1:
                raise ConfigError(
                    "the network takes the guidance scale as an input, and no negative prompt, so that negative-prompt "
                    "inversion means nothing for it",
                    argument="guidance_scale",
                    remedy="use guidance_scale=1 or another method",
                )
        return self._noised(editor, z_0, list(prompts), self.guidance_scale)


@dataclass(frozen=True)
class NullPrompt(Unguided):
    """Inversion with an empty prompt; see `Unguided` for its settings.

    A reconstruction is drawn without guidance. The negative prompt of an edit is the encoded empty string, also for
    SDXL, whose pipelines take zeros for a negative prompt that is not given: it has to be what the image was inverted
    with.

    Examples:
        >>> NullPrompt(guidance_scale=3).settings()["guidance_scale"]
        3.0
    """

    kind: ClassVar[str] = "null-prompt"

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """Turn images into noise; see `Method`. The prompts are not used.

        Raises:
            SchedulerError: if the model's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity.
        """
        return self._noised(editor, z_0, [""] * len(z_0), 1.0)
