"""Inversion with an empty prompt: needs no caption, and keeps what no prompt describes.

The image is inverted and reconstructed with an empty prompt and without guidance; DDIM inversion is accurate then
(Han et al., 2023, arXiv 2306.05414, sec. 1). An edit is guided from the empty prompt to the target:

    m = m(z, t, "") + w (m(z, t, c) - m(z, t, ""))

which is negative-prompt inversion (Miyake et al., 2023, arXiv 2305.16807) with "" for the source prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from renoise.editor import Editor
from renoise.evaluation.methods import Drawn, Noised, counted
from renoise.evaluation.outside.shared import Unguided


@dataclass(frozen=True)
class NullPrompt(Unguided):
    """Inversion with an empty prompt; with renoising iterations in `config`, on top of ReNoise.

    The negative prompt of an edit is the encoded empty string, also for SDXL, whose pipelines take zeros for a negative
    prompt that is not given: it has to be what the image was inverted with.

    Attributes:
        config: the settings of the inversion, without guidance; plain reversing of 50 steps by default.
        guidance_scale: w, of an edit; 1 (or less) is none. A reconstruction has none unless `draw` is told otherwise.

    Raises:
        ConfigError: for a setting out of its range, or a config with guidance.

    Example:
        >>> NullPrompt(guidance_scale=3).settings()["guidance_scale"]
        3.0
    """

    kind: ClassVar[str] = "null-prompt"

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """See `Method`; the prompts have no say.

        Raises:
            SchedulerError: if the model's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity.
        """
        inversion = editor.invert(latents=z_0, prompt="", config=self.config)

        def draw(targets: Sequence[str] | None, guidance_scale: float | None) -> Drawn:
            own = 1.0 if targets is None else self.guidance_scale
            return counted(
                partial(
                    editor.edit,
                    inversion,
                    [""] * inversion.batch_size if targets is None else list(targets),
                    guidance_scale=own if guidance_scale is None else guidance_scale,
                    negative_prompt="",
                    output_type="pt",
                )
            )

        return Noised(inversion.latents, inversion.network_passes, draw)
