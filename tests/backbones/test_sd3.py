"""Stable Diffusion 3: the network has positions for images of a limited size."""

from __future__ import annotations

import pytest
import torch

from renoise import ConfigError, Editor
from tiny_pipelines import BUILDERS


def test_images_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["sd3"]())
    most = editor.pipe.transformer.config.pos_embed_max_size * 2
    with pytest.raises(ConfigError, match="positions"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 2, most + 2))
