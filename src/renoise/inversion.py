"""From the clean latent z_0 up to the noise z_T, one inverted sampler step after the other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from renoise import storage
from renoise.config import EditLosses, InversionConfig
from renoise.correction import correct
from renoise.editability import regularise
from renoise.errors import ConfigError, StorageError
from renoise.image_files import MAX_PIXELS
from renoise.images import FITS, Fit
from renoise.prompts import Prompt, one_each
from renoise.solvers import Refine, renoise
from renoise.steps import Step

# A prediction with less than this share of noise in it says nothing about the noise (v prediction at zero SNR, a flow's
# velocity at s = 1): there is nothing to regularise.
SMALLEST_EPS_M = 1e-3
# Any odd number far from 0 will do: neighbouring seeds must not share streams.
SEED_OFFSET = 0x9E3779B97F4A7C15


class PredictAt(Protocol):
    """The network: from a latent (B, C, h, w) and the step it stands at to the raw output of the same shape."""

    def __call__(self, latents: Tensor, step: Step) -> Tensor: ...  # noqa: D102 - the class says it


@dataclass(frozen=True)
class InvertedStep:
    """What the walk yields after each step: where it stands and what it found there.

    Attributes:
        index: the step's place in sampling order (0 = the noisiest).
        step: its coefficients.
        latents: z_t, (B, C, h, w).
        noise: the step's noise, corrected if the settings say so, (B, C, h, w); None for a deterministic sampler.
        residuals: of each pass, (K + 1, B).
        passes: network predictions that the step took, all of them.
    """

    index: int
    step: Step
    latents: Tensor
    noise: Tensor | None
    residuals: Tensor
    passes: int


@dataclass(frozen=True)
class Enhancement:
    """Edit enhancement of a whole inversion: makes the refinement of each step's predictions.

    Attributes:
        losses: the settings.
        z_0: the clean latents, (B, C, h, w).
        predict: the network.
        generators: those of the sampler's noises. The reference's noise and the shifts come from streams of their own
            with the same seeds, so that noises handed in and noises drawn lead to the same inversion.
    """

    losses: EditLosses
    z_0: Tensor
    predict: PredictAt
    generators: Sequence[torch.Generator]

    def refinement(self, step: Step) -> Refine:
        """What refines the predictions at `step`; one network pass if the patch divergence has a weight."""
        reference: Tensor | None = None
        if self.losses.patch_kl:
            noised = step.add_noise(self.z_0, draw_noise(1, self.z_0.shape, self._streams, self.z_0.device)[0])
            reference = step.implied_noise(noised, self.predict(noised, step))
        if abs(step.eps_m) < SMALLEST_EPS_M:
            return lambda z, prediction: prediction

        def refine(z: Tensor, prediction: Tensor) -> Tensor:
            eps = regularise(step.implied_noise(z, prediction), reference, self.losses, self._shifts)
            return step.prediction_from(z, eps)

        return refine

    @cached_property
    def _streams(self) -> list[torch.Generator]:
        return [torch.Generator().manual_seed((g.initial_seed() + SEED_OFFSET) % 2**63) for g in self.generators]

    def _shifts(self, highest: int) -> Tensor:
        return torch.stack([torch.randint(1, highest + 1, (), generator=g) for g in self._streams])


def invert_steps(
    steps: Sequence[Step],
    predict: PredictAt,
    latents: Tensor,
    noise: Tensor | None,
    config: InversionConfig,
    enhancement: Enhancement | None = None,
) -> Iterator[InvertedStep]:
    """Walk the sampler backwards, from the cleanest step to the noisiest.

    Args:
        steps: the sampler's steps in sampling order.
        predict: the network, from a latent and a step to its raw output.
        latents: z_0, float32 (B, C, h, w).
        noise: (len(steps), B, C, h, w) in sampling order, or None for a deterministic sampler.
        config: decides the renoising and the noise correction of each step.
        enhancement: edit enhancement, or None for none.

    Raises:
        SchedulerError: before the first pass, if any of the steps cannot be inverted.
    """
    for step in steps:
        step.require_invertible()
    z = latents
    for index in reversed(range(len(steps))):
        step, z_prev = steps[index], z
        step_noise = noise[index] if noise is not None else None
        solution = renoise(
            step,
            partial(predict, step=step),
            z_prev,
            step_noise,
            config.renoising_at(step.timestep).resolved_weights(),
            enhancement.refinement(step) if enhancement is not None else None,
            refine_as_released=enhancement is not None and enhancement.losses.released_procedure,
        )
        z = solution.value
        correction = config.noise_correction
        if step_noise is not None and step.stochastic and correction is not None and correction.amount > 0.0:
            step_noise = correct(step_noise, step.noise_for(z_prev, z, predict(z, step)), correction)
        passes = config.passes_at(step.timestep, stochastic=step.stochastic)
        yield InvertedStep(index, step, z, step_noise, solution.residuals, passes)


def draw_noise(
    num_steps: int, shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device
) -> Tensor:
    """The noises of a stochastic sampler, float32 (num_steps, B, C, h, w) in sampling order.

    Args:
        num_steps: the number of sampler steps.
        shape: (B, C, h, w).
        generators: one for each image (see `generators_for`). Noise is drawn on the generator's device, so a CPU
            generator gives every device the same numbers.
        device: where the result is put.
    """
    pictures = [
        torch.randn((num_steps, *shape[1:]), generator=g, device=g.device, dtype=torch.float32).to(device)
        for g in generators
    ]
    return torch.stack(pictures, dim=1)


def generators_for(
    generator: torch.Generator | Sequence[torch.Generator] | None, seed: int, count: int
) -> list[torch.Generator]:
    """The source of each image's noise: generators of its own with `seed`, or those that were handed in.

    A single generator serves the images in turn.

    Raises:
        ConfigError: if there are neither one nor as many generators as images.
    """
    if generator is None:
        return [torch.Generator().manual_seed(seed) for _ in range(count)]
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if not isinstance(generator, (list, tuple)) or not all(isinstance(g, torch.Generator) for g in generator):
        raise ConfigError(f"generator must be a torch.Generator or a list of them, not {generator!r}")
    if len(generator) != count:
        raise ConfigError(f"there are {count} images but {len(generator)} generators; give one, or one for each")
    return list(generator)


def padded(residuals: Sequence[Tensor]) -> Tensor:
    """Residuals of unequal numbers of passes as one tensor (num_steps, max K + 1, B), padded with NaN."""
    padded = residuals[0].new_full((len(residuals), max(map(len, residuals)), residuals[0].shape[1]), float("nan"))
    for row, r in zip(padded, residuals, strict=True):
        row[: len(r)] = r
    return padded


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
            far from the fixed point.
        residual_history: the same for every pass, (num_steps, max K + 1, B), padded with NaN; None unless asked for.
        trajectory: (num_steps + 1, B, C, h, w), z_0 first; None unless asked for.
        network_passes: network passes for each image; a guided pass counts as 2.
        config: the settings.
        prompt: the source prompt, or a list with one for each image.
        negative_prompt: likewise; None is the pipeline's own default.
        seed: the seed of the noises; None if generators were handed in.
        size: (height, width) of the image that the model saw, in pixels.
        fits: how each image was brought to that size.
        batched: whether a list of images came in, so that a list goes out.
        scheduler: the scheduler's class and configuration.
        fingerprint: of the model's networks (see `renoise.fingerprint`).
        model: the name by which the model was loaded; None for a pipeline that came loaded.
        image_embeds: what an IP-Adapter was shown, a tensor for each adapter; None without one.

    Example:
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
    model: str | None = None
    residual_history: Tensor | None = field(default=None)
    trajectory: Tensor | None = field(default=None)
    image_embeds: tuple[Tensor, ...] | None = field(default=None)

    @property
    def batch_size(self) -> int:
        """The number of images, B."""
        return self.latents.shape[0]

    @property
    def num_steps(self) -> int:
        """The number of steps that were inverted (with strength below 1, fewer than `config.num_steps`)."""
        return self.residuals.shape[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the inversion to one safetensors file, whole or not at all.

        Raises:
            StorageError: if the file cannot be written, or `load` could not read it back.
        """
        try:
            _check(self)
        except (ConfigError, TypeError, ValueError) as error:
            raise StorageError(f"this inversion cannot be saved: {error}; invert the image again") from error
        tensors = {name: getattr(self, name) for name in _TENSORS}
        tensors |= {f"{_IMAGE_EMBEDS}{i}": embeds for i, embeds in enumerate(self.image_embeds or ())}
        record = {name: getattr(self, name) for name in _RECORDED}
        record["config"] = asdict(self.config)
        record["fits"] = [asdict(fit) for fit in self.fits]
        storage.write(path, {name: t for name, t in tensors.items() if t is not None}, record)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Inversion:
        """Read an inversion that `save` wrote; its tensors are on the CPU.

        Raises:
            StorageError: if the file is missing, damaged, cut short, or not an inversion.
        """
        tensors, record = storage.read(path)
        try:
            values: dict[str, Any] = {name: record[name] for name in _RECORDED}
            values["config"] = InversionConfig.from_record(record["config"])
            values["fits"] = tuple(_fit_from(fit) for fit in record["fits"])
            values["size"] = tuple(record["size"])
            contents: dict[str, Any] = {name: tensors.get(name) for name in _TENSORS} | values
            shown = sorted(name for name in tensors if name.startswith(_IMAGE_EMBEDS))
            contents["image_embeds"] = tuple(tensors[f"{_IMAGE_EMBEDS}{i}"] for i in range(len(shown))) or None
            inversion = cls(**contents)
            _check(inversion)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise StorageError(
                f"{path} is an inversion with missing or wrong contents ({error}); invert the image again"
            ) from error
        return inversion


def _fit_from(record: Mapping[str, Any]) -> Fit:
    box = record.get("box")
    return Fit(record["mode"], tuple(record["original_size"]), None if box is None else tuple(box))


def _check(inversion: Inversion) -> None:
    """Raise a `ConfigError` for contents of a file that no inversion has."""
    latents, residuals, count = inversion.latents, inversion.residuals, len(inversion.fits)
    _expect(_is_real(latents, 4) and latents.numel() > 0, "latents")
    shape = tuple(latents.shape)
    _expect(_is_real(residuals, 2) and residuals.shape[0] > 0 and residuals.shape[1] == shape[0] == count, "residuals")
    num_steps = inversion.num_steps
    _expect(inversion.noise is None or _is_real(inversion.noise, 5, (num_steps, *shape)), "noise")
    _expect(inversion.trajectory is None or _is_real(inversion.trajectory, 5, (num_steps + 1, *shape)), "trajectory")
    _expect(inversion.residual_history is None or inversion.residual_history.ndim == 3, "residual_history")
    _expect(isinstance(inversion.batched, bool) and (inversion.batched or count == 1), "batched")
    one_each(inversion.prompt, count, "prompt")
    if inversion.negative_prompt is not None:
        one_each(inversion.negative_prompt, count, "negative_prompt")
    _expect(_is_whole(inversion.network_passes), "network_passes")
    _expect(inversion.seed is None or _is_whole(inversion.seed), "seed")
    for size in (inversion.size, *(fit.original_size for fit in inversion.fits)):
        _expect(len(size) == 2 and all(_is_whole(side) and side > 0 for side in size), "size")
    _expect(all(_is_fit(fit, inversion.size) for fit in inversion.fits), "fits")
    _expect(all(t.ndim >= 2 and _is_real(t, t.ndim) for t in inversion.image_embeds or ()), "image_embeds")
    _expect(inversion.model is None or isinstance(inversion.model, str), "model")
    scheduler, fingerprint = inversion.scheduler, inversion.fingerprint
    _expect(isinstance(scheduler["class"], str) and isinstance(scheduler["config"], dict), "scheduler")
    _expect(all(isinstance(fingerprint[key], str) for key in ("layout", "adapters")), "fingerprint")
    _expect(all(isinstance(weight, float) for weight in fingerprint["weights"]), "fingerprint")


def _expect(condition: bool, name: str) -> None:
    if not condition:
        raise ConfigError(f"its {name} make no sense")


def _is_real(tensor: Any, dimensions: int, shape: tuple[int, ...] | None = None) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.ndim == dimensions
        and shape in (None, tuple(tensor.shape))
        and bool(torch.isfinite(tensor).all())
    )


def _is_fit(fit: Fit, size: tuple[int, int]) -> bool:
    """Whether a file's fit can be undone: its box lies in the image, and the original is none of absurd size."""
    if fit.mode not in (*FITS, "latents") or math.prod(fit.original_size) > MAX_PIXELS:
        return False
    if fit.box is None:
        return True
    top, left, height, width = fit.box
    within = top + height <= size[0] and left + width <= size[1]
    return all(_is_whole(x) for x in fit.box) and height > 0 and width > 0 and within


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_TENSORS = ("latents", "noise", "residuals", "residual_history", "trajectory")
_IMAGE_EMBEDS = "image_embeds_"
_RECORDED = (
    "network_passes",
    "prompt",
    "negative_prompt",
    "seed",
    "size",
    "batched",
    "scheduler",
    "fingerprint",
    "model",
)
