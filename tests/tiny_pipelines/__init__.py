"""Tiny pipelines of every model family with random weights, in hub layout, made on the spot.

Each has the architecture, the components and the scheduler configuration of the model that its name says, and some
hundred thousand weights. `python tests/tiny_pipelines OUT [NAME ...]` writes them as folders.

    from tiny_pipelines import BUILDERS, lora
    pipe = BUILDERS["sd3"]()
    lora(pipe, folder)
    pipe.load_lora_weights(folder)
"""

from __future__ import annotations

from .adapters import image_encoder, ip_adapter, lora
from .checkpoints import single_file
from .classic import own_size
from .families import BUILDERS, NEWER, build

__all__ = ["BUILDERS", "NEWER", "build", "image_encoder", "ip_adapter", "lora", "own_size", "single_file"]
