"""AuraFlow: the network has learnt positions for images of a limited size."""

from __future__ import annotations

import pytest
import torch

from renoise import ConfigError, Editor
from tiny_pipelines import BUILDERS


def test_images_beyond_the_positions_are_refused() -> None:
    editor = Editor(BUILDERS["aura-flow"]())
    with pytest.raises(ConfigError, match="the image is 136 x 8 pixels, but the model has positions for 128 along"):
        editor.invert(latents=torch.zeros(1, editor.model.backbone.latent_channels, 2, 34))


def test_images_are_made_as_large_as_by_the_pipeline_where_there_are_positions() -> None:
    editor = Editor(BUILDERS["aura-flow"]())
    assert editor.model.backbone.resolution == (128, 128)
    editor.pipe.transformer.register_to_config(pos_embed_max_size=9216 * 4)
    assert editor.model.backbone.resolution == (1024, 1024)
