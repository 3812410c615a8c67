"""The networks that judge edits, CLIP and DINO, each from a folder on this machine.

None of them is bundled, and nothing is downloaded: without its folder a number is not available.

CLIP (Radford et al., 2021, arXiv 2103.00020) says how well an image fits a text: 100 times the cosine of the angle
between their embeddings (Hessel et al., 2021, arXiv 2104.08718, whose score clips it at 0).

DINO (Caron et al., 2021, arXiv 2104.14294) is a vision transformer, the keys of whose last layer tell of an image's
structure, whatever its colours and textures (Tumanyan et al., 2022, arXiv 2201.00424, sec. 3.1):

    S(x)_ij  = cos(k_i(x), k_j(x))                   k_i: the key of token i, of all heads together, class token first
    distance = mean over i, j of (S(x)_ij - S(y)_ij)^2

PnP Inversion (Ju et al., 2024, arXiv 2310.01506) measures edits with both, by `openai/clip-vit-large-patch14` and
DINO's ViT-B/8, and prints 1000 times the distance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from renoise.errors import ModelError, reason
from renoise.evaluation.measurement import key_of
from renoise.images import to_pictures
from renoise.loading.pipelines import resolve_device

CLIP_NAME = "openai/clip-vit-large-patch14"
DINO_NAME = "facebook/dino-vitb8"
# Of CLIP's training images, and of ImageNet's.
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Clip:
    """How well images fit texts, in the eyes of a CLIP model.

    Args:
        path: a folder with a CLIP model as transformers saves it, and its tokenizer.
        device: where it runs; None is the best one here.

    Attributes:
        identity: differs for models with other weights.

    Raises:
        ModelError: if the folder holds no such model.

    Example:
        >>> Clip("clip-vit-large-patch14").similarity(pixels, ["a cat"])  # doctest: +SKIP
        tensor([26.1])
    """

    def __init__(self, path: Path | str, device: str | torch.device | None = None) -> None:
        folder = _Folder(Path(path), "CLIP model", "clip", CLIP_NAME)
        from transformers import AutoTokenizer, CLIPModel

        # Without these files transformers makes a tokenizer that knows no words.
        if not any((folder.path / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise folder.refusal("has no tokenizer")
        self._device = resolve_device(device)
        self._model = folder.load(CLIPModel).to(self._device)
        self._tokenizer = folder.read(lambda: AutoTokenizer.from_pretrained(folder.path, local_files_only=True))
        self._side = int(self._model.config.vision_config.image_size)
        self._tokens = int(self._model.config.text_config.max_position_embeddings)
        self._standard = folder.standard(_CLIP_MEAN, _CLIP_STD)
        self.identity = _identity(self._model, self._model.config.vision_config)

    @torch.no_grad()
    def similarity(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """100 times the cosine of images (B, 3, H, W) in [0, 1] with a text each, shape (B,)."""
        words = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._tokens, return_tensors="pt"
        ).to(self._device)
        found = self._model(pixel_values=self._prepared(pixels).to(self._device), **words)
        return 100.0 * functional.cosine_similarity(found.image_embeds, found.text_embeds).cpu()

    def _prepared(self, pixels: Tensor) -> Tensor:
        """As CLIP was trained on: 8 bits, shorter side resampled by bicubic interpolation, the centre, standardised."""
        cut = [_centre(_shorter_side(picture, self._side), self._side) for picture in to_pictures(pixels)]
        values = torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) for picture in cut]))
        return _standardised(values.permute(0, 3, 1, 2) / 255.0, self._standard)


class Dino:
    """The structure of images, in the eyes of a vision transformer trained by DINO.

    Args:
        path: a folder with a ViT model as transformers saves it. That DINO trained it, and not labels, cannot be told
            from the files.
        device: where it runs; None is the best one here.

    Attributes:
        identity: differs for models with other weights.

    Raises:
        ModelError: if the folder holds no such model.
    """

    def __init__(self, path: Path | str, device: str | torch.device | None = None) -> None:
        folder = _Folder(Path(path), "DINO model", "vit", DINO_NAME)
        from transformers import ViTModel

        self._device = resolve_device(device)
        self._model = folder.load(ViTModel, add_pooling_layer=False).to(self._device)
        self._side, self._patch = int(self._model.config.image_size), int(self._model.config.patch_size)
        self._standard = folder.standard(_IMAGENET_MEAN, _IMAGENET_STD)
        self.identity = _identity(self._model, self._model.config)

    @torch.no_grad()
    def self_similarity(self, pixels: Tensor) -> Tensor:
        """S of images (B, 3, H, W) in [0, 1], shape (B, T, T) for T tokens."""
        keys: list[Tensor] = []
        layer = [m for name, m in self._model.named_modules() if name.endswith((".k_proj", ".key"))][-1]
        hook = layer.register_forward_hook(lambda module, inputs, output: keys.append(output))
        try:
            self._model(self._prepared(pixels.to(self._device)), interpolate_pos_encoding=True)
        finally:
            hook.remove()
        unit = functional.normalize(keys[0].float(), dim=-1)
        return (unit @ unit.mT).cpu()

    def _prepared(self, pixels: Tensor) -> Tensor:
        """Shorter side resampled to what the network was trained on, the longer in proportion, in whole patches."""
        height, width = pixels.shape[-2:]
        scale = self._side / min(height, width)
        size = [max(1, round(side * scale / self._patch)) * self._patch for side in (height, width)]
        resized = functional.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
        return _standardised(resized, self._standard)


def structure_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of self-similarities (B, T, T), shape (B,)."""
    return (a - b).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Judges:
    """The networks that judge edits; what is missing gives no numbers."""

    clip: Clip | None = None
    dino: Dino | None = None

    @classmethod
    def load(cls, clip: Path | None, dino: Path | None, device: str | torch.device | None = None) -> Judges:
        """Those whose folders are given.

        Raises:
            ModelError: if a folder does not hold its model.
        """
        return cls(None if clip is None else Clip(clip, device), None if dino is None else Dino(dino, device))

    @property
    def identities(self) -> dict[str, str]:
        """Of those that are there, by name."""
        judges: Mapping[str, Clip | Dino | None] = {"clip": self.clip, "dino": self.dino}
        return {name: judge.identity for name, judge in judges.items() if judge is not None}


class _Folder:
    """A model's folder: what is in it, and what to say where that is not what was expected."""

    def __init__(self, path: Path, what: str, kind: str, name: str) -> None:
        self.path, self._what, self._name = path.expanduser(), what, name
        try:
            config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.refusal(f"has no readable config.json ({reason(error)})") from error
        found = config.get("model_type") if isinstance(config, dict) else None
        if found != kind:
            raise self.refusal(f"holds a model of type {found!r}, not {kind!r}")

    def refusal(self, why: str) -> ModelError:
        return ModelError(
            f"{self.path} is no {self._what}: it {why}; give a folder that transformers saved, or get one with: "
            f"hf download {self._name} --local-dir {self._name.split('/')[1]}"
        )

    def read(self, load: Any) -> Any:
        try:
            return load()
        except Exception as error:  # transformers raises whatever its readers do: all of it means "not loaded"
            raise self.refusal(f"cannot be loaded ({' '.join(str(error).split())[:300]})") from error

    def load(self, kind: Any, **options: Any) -> Any:
        """The model in float32, every one of whose weights came from the folder."""
        options = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True, **options}
        model, found = self.read(lambda: kind.from_pretrained(self.path, **options))
        # transformers draws at random what it does not find.
        missing = sorted(found["missing_keys"])
        if missing:
            raise self.refusal(f"lacks weights, first {missing[0]}")
        return model.eval()

    def standard(self, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Mean and deviation of the colours that the model was trained on, (2, 3, 1, 1); the folder's own if it has."""
        path = self.path / "preprocessor_config.json"
        own = self.read(lambda: json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})
        values = (own.get("image_mean", mean), own.get("image_std", std))
        standard: Tensor = self.read(lambda: torch.tensor(values, dtype=torch.float32).reshape(2, 3, 1, 1))
        return standard


def _identity(model: Any, config: Any) -> str:
    """The vision transformer's shape, and a hash of some of the weights, whatever transformers calls them."""
    samples = sorted(float(p.detach().flatten()[p.numel() // 2]) for p in model.parameters())
    shape = f"ViT {config.num_hidden_layers}x{config.hidden_size}/{config.patch_size}"
    return f"{shape} {key_of({'weights': samples})[:12]}"


def _shorter_side(picture: Image.Image, side: int) -> Image.Image:
    width, height = picture.size
    scale = side / min(width, height)
    return picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)


def _centre(picture: Image.Image, side: int) -> Image.Image:
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _standardised(pixels: Tensor, standard: Tensor) -> Tensor:
    standard = standard.to(pixels.device)
    return (pixels - standard[0]) / standard[1]
