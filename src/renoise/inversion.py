"""The result of an inversion, in memory and as a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from renoise import embeddings, storage
from renoise.config import InversionConfig
from renoise.embeddings import TextEmbeds
from renoise.errors import ConfigError, StorageError
from renoise.files import as_path
from renoise.images import Fit
from renoise.inversion_record import IMAGE_EMBEDS, PIXELS, TENSORS, numbered
from renoise.prompts import Prompt, one_each
from renoise.ranges import whole
from renoise.solvers import CONVERGED


@dataclass(frozen=True, eq=False)
class Inversion:
    """An image as noise: all that is needed to draw it again or to edit it.

    Per-step tensors are in sampling order (index 0 = the noisiest step), but for the trajectory, which starts at z_0.
    Latents are in the sampler's own scale: for Euler-type samplers in sigma units.

    Attributes:
        latents: z_T, float32 (B, C, h, w).
        noise: the sampler's noises (num_steps, B, C, h, w), or None for a deterministic sampler.
        residuals: (num_steps, B): |phi| ||z^(K+1) - z^(K)|| / ||z_{t-1}||, how far the forward step from z^(K) misses
            z_{t-1}, before averaging, edit enhancement and noise correction. Above about 0.1 the iteration was still
            far from the fixed point. 0 for a step whose noise was solved for, which is exact. For a step of a direct
            walk without noise it is what its offset makes up for.
        residual_history: the residual of every pass, (num_steps, most passes, B), padded with NaN; None unless asked
            for.
        for_edits: whether the source's walk was kept for edits: the trajectory, the offsets if there are any, and the
            images. Where the target is the source prompt, the edit is the source's walk then, and so is the
            reconstruction; `alone` leaves the noise by itself.
        trajectory: (num_steps + 1, B, C, h, w), z_0 first; None unless asked for, or kept for edits.
        offsets: (K, B, C, h, w), what the predictions of the K cleanest steps lack: in the source's latents the step
            from z_t with the network's prediction plus its offset leads to z_{t-1} exactly. None if they lack nothing,
            or it was not kept for edits.
        images: the images in the shape in which edits of them come back, uint8 (3, H, W) each; None unless kept for
            edits, and where latents came in place of images.
        network_passes: the network passes that the inversion took for the image that took most, counted as they ran;
            a guided pass counts as 2.
        image_passes: the network passes of each image; None where all took as many.
        config: the settings.
        prompt: the source prompt, or a list with one for each image.
        negative_prompt: the negative prompt, or a list with one for each image; None is the pipeline's default.
        seed: the seed of the noises; None if generators were handed in.
        size: (height, width) of the image that the model saw, in pixels.
        fits: how each image was brought to that size.
        batched: whether a list of images came in, so that a list goes out.
        scheduler: the scheduler's class and configuration.
        fingerprint: tells the model's networks from others (see `renoise.fingerprint`).
        model_name: the name by which the model was loaded; None for a pipeline that came loaded.
        image_embeds: what an IP-Adapter was shown, a tensor for each adapter; None without one.
        prompt_embeds: what took the place of the prompt, (1 or B, tokens, width), and the prompt is empty then; None
            where there is a prompt. So it is with the three that follow.
        pooled_prompt_embeds: the pooled embedding beside it, (1 or B, width).
        negative_prompt_embeds: what took the place of the negative prompt, of the same shape.
        negative_pooled_prompt_embeds: the pooled embedding beside it.

    Examples:
        >>> inversion.save("cat.safetensors")                         # doctest: +SKIP
        >>> inversion = Inversion.load("cat.safetensors")             # doctest: +SKIP
    """

    latents: Tensor
    noise: Tensor | None
    residuals: Tensor
    network_passes: int
    config: InversionConfig
    prompt: Prompt
    negative_prompt: Prompt | None
    seed: int | None
    size: tuple[int, int]
    fits: tuple[Fit, ...]
    batched: bool
    scheduler: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    model_name: str | None = None
    image_passes: tuple[int, ...] | None = None
    for_edits: bool = False
    residual_history: Tensor | None = field(default=None)
    trajectory: Tensor | None = field(default=None)
    offsets: Tensor | None = field(default=None)
    images: tuple[Tensor, ...] | None = field(default=None)
    image_embeds: tuple[Tensor, ...] | None = field(default=None)
    prompt_embeds: Tensor | None = field(default=None)
    pooled_prompt_embeds: Tensor | None = field(default=None)
    negative_prompt_embeds: Tensor | None = field(default=None)
    negative_pooled_prompt_embeds: Tensor | None = field(default=None)

    @property
    def text_embeds(self) -> TextEmbeds:
        """The embeddings that took the place of prompts, by the names of diffusers; empty where there are none."""
        held = {name: getattr(self, name) for name in embeddings.NAMES}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    @property
    def prompts(self) -> list[str]:
        """The source prompts, one for each image."""
        return one_each(self.prompt, self.batch_size, "prompt")

    @property
    def batch_size(self) -> int:
        """The number of images, B."""
        return self.latents.shape[0]

    @property
    def passes(self) -> Tensor:
        """The network passes of each image, whole numbers (B,)."""
        return torch.tensor(self.image_passes or [self.network_passes] * self.batch_size)

    @property
    def converged(self) -> Tensor:
        """Whether each image's steps are all near their fixed points, by their residuals: boolean (B,)."""
        return (self.residuals <= CONVERGED).all(dim=0)

    @property
    def num_steps(self) -> int:
        """The number of steps that were inverted (with strength below 1, fewer than `config.num_steps`)."""
        return self.residuals.shape[0]

    def alone(self) -> Inversion:
        """Return the noise alone, (z_T, noises), without what is kept beside it for edits.

        With the offsets and the trajectory, drawing the image again is exact by construction. How true an inversion is
        shows without them.

        Examples:
            >>> editor.reconstruct(inversion.alone()).save("from-the-noise-alone.png")  # doctest: +SKIP
        """
        return replace(self, for_edits=False, trajectory=None, offsets=None, images=None)

    def one(self, index: int) -> Inversion:
        """Return the inversion of one image of a batch, as if it had come alone.

        Args:
            index: its place in the batch, from 0.

        Raises:
            ConfigError: if the batch has no such place.

        Examples:
            >>> batch.one(0).save("cat.safetensors")  # doctest: +SKIP
        """
        count, i = self.batch_size, whole(index, "index", 0, self.batch_size - 1)
        own: dict[str, Any] = {"residuals": self.residuals[:, i : i + 1], "latents": self.latents[i : i + 1]}
        for name in ("noise", "trajectory", "offsets"):
            held = getattr(self, name)
            own[name] = None if held is None else held[:, i : i + 1]
        if self.residual_history is not None:
            own["residual_history"] = self.residual_history[..., i : i + 1]
        for name, embeds in self.text_embeds.items():
            own[name] = embeds[i : i + 1] if len(embeds) == count else embeds
        if self.image_embeds is not None:  # without guidance and with it, of all images alike or of each
            rows = ([i, count + i] if len(held) == 2 * count else [0, 1] for held in self.image_embeds)
            own["image_embeds"] = tuple(held[row] for held, row in zip(self.image_embeds, rows, strict=True))
        negatives = self.negative_prompt
        return replace(
            self,
            **own,
            prompt=self.prompts[i],
            negative_prompt=negatives if negatives is None or isinstance(negatives, str) else negatives[i],
            network_passes=int(self.passes[i]),
            image_passes=None,
            images=None if self.images is None else (self.images[i],),
            fits=(self.fits[i],),
            batched=False,
        )

    @property
    def edit_data(self) -> str:
        """What was kept for edits, as `Editor.invert` takes it: "float32", "float16" or "none"."""
        if not self.for_edits or self.trajectory is None:
            return "none"
        return str(self.trajectory.dtype).removeprefix("torch.")

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each part in bytes, by its attribute; the parts that there are."""
        parts = {name: tensor.nbytes for name, tensor in self._tensors.items() if name in TENSORS}
        for name in ("image_embeds", "images"):
            held = getattr(self, name)
            if held is not None:
                parts[name] = sum(tensor.nbytes for tensor in held)
        return parts

    @property
    def nbytes(self) -> int:
        """The size of all tensors, in bytes, which is about that of its file."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the inversion to one safetensors file, whole or not at all.

        Raises:
            StorageError: if the file cannot be written, or `load` could not read it back.
        """
        path = as_path(path, StorageError)
        try:
            embeddings.require_sense(self.text_embeds, self.batch_size)
            record = {_KEYS.get(name, name): getattr(self, name) for name in _RECORDED}
            record["config"] = self.config.to_record()
            record["fits"] = [asdict(fit) for fit in self.fits]
            if self.image_passes is not None:  # files of inversions whose images took as many passes do without
                record["image_passes"] = list(self.image_passes)
            if self.for_edits:
                record["for_edits"] = True
            held = self._tensors
            _require_numbers(held)
        except (ConfigError, TypeError, ValueError) as error:
            raise StorageError(f"this inversion cannot be saved: {error}") from error
        storage.write(path, held, record)

    @property
    def _tensors(self) -> dict[str, Tensor]:
        """All tensors there are, by the names that they have in files."""
        tensors = {name: getattr(self, name) for name in TENSORS}
        tensors |= {f"{IMAGE_EMBEDS}{i}": embeds for i, embeds in enumerate(self.image_embeds or ())}
        tensors |= {f"{PIXELS}{i}": pixels for i, pixels in enumerate(self.images or ())}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Inversion:
        """Read an inversion that `save` wrote; its tensors are on the CPU.

        Raises:
            StorageError: if the file is missing, damaged, cut short, or not an inversion.
        """
        path = as_path(path, StorageError)
        tensors, record = storage.read(path)
        values: dict[str, Any] = {name: tensors.get(name) for name in TENSORS}
        values |= {name: record[_KEYS.get(name, name)] for name in _RECORDED}
        values["config"] = InversionConfig.from_record(record["config"])
        values["fits"] = tuple(_fit_from(fit) for fit in record["fits"])
        values["size"] = tuple(record["size"])
        values["for_edits"] = record.get("for_edits", False)
        values["image_passes"] = tuple(record["image_passes"]) if record.get("image_passes") else None
        values["image_embeds"] = tuple(tensors[name] for name in numbered(tensors, IMAGE_EMBEDS)) or None
        values["images"] = tuple(tensors[name] for name in numbered(tensors, PIXELS)) or None
        try:
            _require_numbers(tensors)
            inversion = cls(**values)
            embeddings.require_sense(inversion.text_embeds, inversion.batch_size)
        except ConfigError as error:
            raise StorageError(
                f"{path} is an inversion with wrong contents: ", *error.problem, remedy="invert the image again"
            ) from error
        return inversion


def padded(residuals: Sequence[Tensor]) -> Tensor:
    """Return the residuals of unequal numbers of passes, (passes, B) for each step, as one tensor.

    Returns:
        (num_steps, most passes, B), padded with NaN.
    """
    most = max(map(len, residuals))
    history = residuals[0].new_full((len(residuals), most, residuals[0].shape[1]), float("nan"))
    for row, own in zip(history, residuals, strict=True):
        row[: len(own)] = own
    return history


def _fit_from(record: Mapping[str, Any]) -> Fit:
    box = record.get("box")
    return Fit(record["mode"], tuple(record["original_size"]), None if box is None else tuple(box))


def _require_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors are real numbers, and finite but for the padding of the residuals' history."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in storage.dtypes_of(name):
            raise ConfigError(f"its {name} make no sense")
        if name != "residual_history" and not bool(torch.isfinite(tensor).all()):
            raise ConfigError(f"its {name} hold NaN or infinity")


_RECORDED = (
    "network_passes",
    "prompt",
    "negative_prompt",
    "seed",
    "size",
    "batched",
    "scheduler",
    "fingerprint",
    "model_name",
)
# What files call an attribute, where it is not its name.
_KEYS = {"model_name": "model"}
