"""The networks that judge edits, CLIP and DINO, each from a folder on this machine.

Neither is bundled, and nothing is downloaded: without its folder a judge's numbers are not available.

CLIP (Radford et al., 2021, arXiv 2103.00020) says how well an image fits a text: 100 times the cosine of the angle
between their embeddings (Hessel et al., 2021, arXiv 2104.08718, whose score clips it at 0).

DINO (Caron et al., 2021, arXiv 2104.14294) is a vision transformer. The keys of its last layer tell an image's
structure, whatever its colours and textures are (Tumanyan et al., 2022, arXiv 2201.00424, sec. 3.1):

    S(x)_ij  = cos(k_i(x), k_j(x))                   k_i: the key of token i, of all heads together, class token first
    distance = mean over i, j of (S(x)_ij - S(y)_ij)^2

PnP Inversion (Ju et al., 2024, arXiv 2310.01506) measures edits with both, with `openai/clip-vit-large-patch14` and
DINO's ViT-B/8, and prints 1000 times the distance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from renoise.errors import ModelError, StorageError
from renoise.evaluation.measurement import key_of
from renoise.images import to_pictures
from renoise.loading.pipelines import resolve_device
from renoise.reading import read_json

# The mean, or the deviation, of the red, green and blue of the images that a network was trained on.
_Colours = tuple[float, float, float]


class _Judge:
    """A network from a folder that transformers wrote, in float32, with the standard of the colours it was trained on.

    `identity` is a text that differs for models with other weights. `argument` is the argument of `Judges.load` that
    names the folder.
    """

    what: ClassVar[str]
    model_type: ClassVar[str]
    name: ClassVar[str]
    argument: ClassVar[str]
    colours: ClassVar[tuple[_Colours, _Colours]]
    identity: str
    _model: Any
    _standard: Tensor

    def __init__(self, path: Path | str, device: str | torch.device | None) -> None:
        self._path, self._device = Path(path).expanduser(), resolve_device(device)
        try:
            config = read_json(self._path / "config.json")
        except StorageError as error:
            raise self._refusal(f"has no readable config.json ({error})") from error
        found = config.get("model_type") if isinstance(config, dict) else None
        if found != self.model_type:
            raise self._refusal(f"holds a model of type {found!r}, not {self.model_type!r}")

    def _refusal(self, why: str) -> ModelError:
        return ModelError(
            f"{self._path} is no {self.what}: it {why}",
            argument=self.argument,
            remedy="give a folder that transformers saved, or get one with: "
            f"hf download {self.name} --local-dir {self.name.split('/')[1]}",
        )

    def _read(self, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except Exception as error:  # transformers raises whatever its readers do: all of it means "not loaded"
            raise self._refusal(f"cannot be loaded ({' '.join(str(error).split())[:300]})") from error

    def _load(self, model_class: Any, **options: Any) -> Any:
        """Load the model, with all of its weights from the folder, and the standard of its colours."""
        options = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True, **options}
        model, found = self._read(lambda: model_class.from_pretrained(self._path, **options))
        # transformers fills weights that it does not find with random numbers.
        missing = sorted(found["missing_keys"])
        if missing:
            raise self._refusal(f"lacks weights, first {missing[0]}")
        path = self._path / "preprocessor_config.json"
        own = self._read(lambda: read_json(path) if path.exists() else {})
        values = self._read(lambda: (own.get("image_mean", self.colours[0]), own.get("image_std", self.colours[1])))
        self._standard = self._read(lambda: torch.tensor(values, dtype=torch.float32).reshape(2, 3, 1, 1))
        return model.eval().to(self._device)

    def _identified(self, config: Any) -> str:
        """Return the vision transformer's shape, and a hash of some weights, whatever transformers calls them."""
        samples = sorted(float(p.detach().flatten()[p.numel() // 2]) for p in self._model.parameters())
        shape = f"ViT {config.num_hidden_layers}x{config.hidden_size}/{config.patch_size}"
        return f"{shape} {key_of({'weights': samples})[:12]}"

    def _standardised(self, pixels: Tensor) -> Tensor:
        standard = self._standard.to(pixels.device)
        return (pixels - standard[0]) / standard[1]


class Clip(_Judge):
    """A CLIP model, which says how well images fit texts.

    Args:
        path: a folder with a CLIP model as transformers saves it, and its tokenizer.
        device: where it runs; None is the best device here.

    Raises:
        ModelError: if the folder holds no such model.

    Examples:
        >>> Clip("clip-vit-large-patch14").similarity(pixels, ["a cat"])  # doctest: +SKIP
        tensor([26.1])
    """

    what, model_type, name = "CLIP model", "clip", "openai/clip-vit-large-patch14"
    argument = "clip"
    colours = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, path: Path | str, device: str | torch.device | None = None) -> None:
        super().__init__(path, device)
        from transformers import AutoTokenizer, CLIPModel

        # Without these files transformers makes a tokenizer that knows no words.
        if not any((self._path / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise self._refusal("has no tokenizer")
        self._model = self._load(CLIPModel)
        self._tokenizer = self._read(lambda: AutoTokenizer.from_pretrained(self._path, local_files_only=True))
        self._side = int(self._model.config.vision_config.image_size)
        self._tokens = int(self._model.config.text_config.max_position_embeddings)
        self.identity = self._identified(self._model.config.vision_config)

    @torch.no_grad()
    def similarity(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """Return 100 times the cosine of images (B, 3, H, W) in [0, 1] with one text each, shape (B,)."""
        words = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._tokens, return_tensors="pt"
        ).to(self._device)
        found = self._model(pixel_values=self._prepared(pixels).to(self._device), **words)
        return 100.0 * functional.cosine_similarity(found.image_embeds, found.text_embeds).cpu()

    def _prepared(self, pixels: Tensor) -> Tensor:
        """Prepare images as for CLIP's training: 8 bits, the shorter side resampled (bicubic), the centre cut out."""
        cut = [_centred(image, self._side) for image in to_pictures(pixels)]
        values = torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in cut]))
        return self._standardised(values.permute(0, 3, 1, 2) / 255.0)


class Dino(_Judge):
    """A vision transformer trained by DINO, which sees the structure of images.

    Args:
        path: a folder with a ViT model as transformers saves it. The files do not tell whether DINO trained it.
        device: where it runs; None is the best device here.

    Raises:
        ModelError: if the folder holds no such model.
    """

    what, model_type, name = "DINO model", "vit", "facebook/dino-vitb8"
    argument = "dino"
    colours = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, path: Path | str, device: str | torch.device | None = None) -> None:
        super().__init__(path, device)
        from transformers import ViTModel

        self._model = self._load(ViTModel, add_pooling_layer=False)
        self._side, self._patch = int(self._model.config.image_size), int(self._model.config.patch_size)
        self.identity = self._identified(self._model.config)

    @torch.no_grad()
    def self_similarity(self, pixels: Tensor) -> Tensor:
        """Return S of images (B, 3, H, W) in [0, 1], shape (B, T, T) for T tokens."""
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
        """Resample the shorter side to the size of the training, and the longer in proportion, in whole patches."""
        height, width = pixels.shape[-2:]
        scale = self._side / min(height, width)
        size = [max(1, round(side * scale / self._patch)) * self._patch for side in (height, width)]
        return self._standardised(functional.interpolate(pixels.float(), size, mode="bilinear", antialias=True))


def structure_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of self-similarities (B, T, T), shape (B,)."""
    return (a - b).square().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Judges:
    """The networks that judge edits; one that is missing gives no numbers."""

    clip: Clip | None = None
    dino: Dino | None = None

    @classmethod
    def load(cls, clip: Path | None, dino: Path | None, device: str | torch.device | None = None) -> Judges:
        """Load the judges whose folders are given; a folder without its model is a `ModelError`."""
        return cls(None if clip is None else Clip(clip, device), None if dino is None else Dino(dino, device))

    @property
    def identities(self) -> dict[str, str]:
        """The identities of the judges that are there, by name."""
        judges: Mapping[str, Clip | Dino | None] = {"clip": self.clip, "dino": self.dino}
        return {name: judge.identity for name, judge in judges.items() if judge is not None}


def _centred(image: Image.Image, side: int) -> Image.Image:
    """Resample the shorter side to `side`, and cut out the centre."""
    scale = side / min(image.size)
    resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    return resized.crop((left, top, left + side, top + side))
