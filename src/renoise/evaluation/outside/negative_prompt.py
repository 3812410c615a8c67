"""Negative-prompt inversion (Miyake, Iohara, Saito and Tanaka, 2023, arXiv 2305.16807).

The image is inverted with its own prompt and without guidance. Guidance of scale w then draws with the source prompt
c_src in the place of the negative one:

    m = m(z, t, c_src) + w (m(z, t, c) - m(z, t, c_src))

With c = c_src the difference vanishes whatever w: the reconstruction is that without guidance, and w acts on what an
edit changes alone. It is null-text inversion (Mokady et al., 2023, arXiv 2211.09794) without the optimisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from renoise.editor import Editor
from renoise.errors import ConfigError
from renoise.evaluation.methods import Drawn, Noised, counted
from renoise.evaluation.outside.shared import Unguided, clean_latents, network


@dataclass(frozen=True)
class NegativePrompt(Unguided):
    """Negative-prompt inversion; with renoising iterations in `config`, on top of ReNoise.

    A reconstruction costs as much as an edit: it makes the two passes of guidance, of which the second adds nothing.

    Attributes:
        config: the settings of the inversion, without guidance; plain reversing of 50 steps by default.
        guidance_scale: w, of drawing; 1 (or less) is none.

    Raises:
        ConfigError: for a setting out of its range, or a config with guidance.

    Example:
        >>> NegativePrompt().iterations, NegativePrompt().guidance_scale
        (0, 7.5)
    """

    kind: ClassVar[str] = "negative-prompt"

    def invert(self, editor: Editor, z_0: Tensor, prompts: Sequence[str]) -> Noised:
        """See `Method`.

        Raises:
            ConfigError: if the network takes its guidance scale as an input and no negative prompt.
            SchedulerError: if the model's sampler cannot be inverted.
            NumericalError: if the iteration diverges to NaN or infinity.
        """
        source = list(prompts)
        with network(editor, source, self.guidance_scale, clean_latents(editor, z_0)) as net:
            if self.guidance_scale > 1.0 and net.cost == 1:
                raise ConfigError(
                    "the network takes the guidance scale as an input, and no negative prompt, so that negative-prompt "
                    "inversion means nothing for it; use guidance_scale=1 or another method"
                )
        inversion = editor.invert(latents=z_0, prompt=source, config=self.config)

        def draw(targets: Sequence[str] | None, guidance_scale: float | None) -> Drawn:
            return counted(
                partial(
                    editor.edit,
                    inversion,
                    source if targets is None else list(targets),
                    guidance_scale=self.guidance_scale if guidance_scale is None else guidance_scale,
                    negative_prompt=source,
                    output_type="pt",
                )
            )

        return Noised(inversion.latents, inversion.network_passes, draw)
