"""One edit of an inversion: its steps, noises, prompts and networks, brought together and walked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from renoise import embeddings
from renoise.backbones import Request
from renoise.config import InversionConfig
from renoise.edit_rules import EditRule, PlainSampling
from renoise.embeddings import TextEmbeds
from renoise.errors import Argument, DrawnNoiseWarning, ModelError, OtherStepsWarning
from renoise.inversion import Inversion
from renoise.model import Model, place
from renoise.network import Network
from renoise.noise import noise_for_steps
from renoise.progress import Callback, Reporter
from renoise.prompts import one_each
from renoise.schedulers import restore
from renoise.source_walk import SourceWalk
from renoise.steps import Step
from renoise.unchanged import asked_alike
from renoise.walks import denoise_steps, joined


class Drawing:
    """An inversion that is to be drawn, with what belongs to each target picked out of it.

    Args:
        model: draws it.
        inversion: from the same model, unless forced.
        config: the settings of the edit.
        owners: for each target the index of its image in the inversion.

    Raises:
        ModelError: if the model cannot have made the inversion, whatever its fingerprint says.

    Warns:
        DrawnNoiseWarning: if noises are missing and had to be drawn.
        OtherStepsWarning: if the number of steps is not that of the inversion.
    """

    def __init__(self, model: Model, inversion: Inversion, config: InversionConfig, owners: Sequence[int]) -> None:
        self._model = model
        self._inversion = inversion
        self._config = config
        self._owners = torch.tensor(owners)
        scheduler = restore(inversion.scheduler)
        _require_suited(model, inversion, scheduler)
        inverted = model.steps(scheduler, inversion.config, inversion.size)
        if len(inverted) != inversion.num_steps:
            raise _contradicted(f"{inversion.num_steps} inverted steps where its settings make {len(inverted)}")
        self._as_inverted = _schedule(config) == _schedule(inversion.config)
        self._steps = inverted
        if not self._as_inverted:
            self._steps = joined(model.steps(scheduler, config, inversion.size), inverted[0])
        self._noise, missing = self._noise_from(inverted)
        if missing:
            self._warn_of_drawn_noise(missing)
        elif not self._as_inverted:
            self._warn_of_other_steps()

    def request(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str] | None,
        image_embeds: Sequence[Tensor] | None,
        text_embeds: TextEmbeds,
    ) -> Request:
        """Return what the images of the edit shall show.

        Args:
            prompts: one for each target.
            negatives: the negative prompts, one for each image of the inversion; None is the pipeline's default.
            image_embeds: what IP-Adapters are shown, with rows for each image of the inversion or for all.
            text_embeds: what takes the place of prompts (see `embeddings.for_targets` for the rows).
        """
        return self._request(self._config, prompts, negatives, image_embeds, text_embeds)

    @property
    def knows_source(self) -> bool:
        """Whether the inversion kept the source's walk for edits, and this one takes the same steps."""
        return self._as_inverted and self._inversion.for_edits

    @property
    def loudness(self) -> float:
        """The deviation of the noise z_T over that of noise at the first step's level, the largest of all images."""
        first = self._steps[0]
        deviations = self._inversion.latents.flatten(1).float().std(dim=1)
        return float(deviations.max()) / math.hypot(first.alpha, first.sigma)

    def unchanged(self, request: Request) -> Tensor:
        """Tell which targets ask for nothing but the source, under the inversion's settings: boolean (targets,)."""
        return asked_alike(request, self._source_request(), self._model)

    def run(
        self,
        request: Request,
        rule: EditRule,
        progress: Callback | None,
        unchanged: Tensor | None = None,
        memory: dict[Hashable, Tensor] | None = None,
    ) -> Tensor:
        """Walk from the noise to the clean latents z_0, float32 (targets, C, h, w).

        Args:
            request: what the images shall show.
            rule: makes the next latent at each step.
            progress: called after each network pass.
            unchanged: which targets are to be the source itself, where it is known, boolean (targets,); None is none.
            memory: where the rule remembers things from step to step.

        Raises:
            NumericalError: if sampling ends in NaN or infinity.
        """
        steps, model = self._steps, self._model
        source = self._source_walk()
        latents = self._for_targets(self._inversion.latents) if source is None else source.start
        noise = None if self._noise is None else self._for_targets(self._noise, dim=1)
        with model.freeing():
            condition = model.condition(request)
            # Rules may ask for predictions with the source prompts, which can be guided where the edit is not.
            own = self._inversion.config
            guided = model.backbone.guides(own.guidance_scale, own.true_cfg_scale)
            cost = max(condition.passes, 1 if isinstance(rule, PlainSampling) else 1 + guided)
            bounds = [rule.max_passes * cost] * len(steps)
            network = model.network(condition, steps, Reporter(progress, "edit", steps, bounds))

            @cache
            def source_network() -> Network:
                return model.network(model.condition(self._source_request()), steps).beside(network)

            for walked in denoise_steps(
                steps, network, latents, noise, rule, source_network, source, unchanged, memory
            ):
                latents = walked.latents
                model.require_finite(latents, f"the latent edited {place(walked.step, steps)}")
        return latents

    def _for_targets(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Pick each target's image out of a tensor of the inversion."""
        return tensor.cpu().index_select(dim, self._owners).to(self._model.backbone.device, torch.float32)

    def _source_walk(self) -> SourceWalk | None:
        """Return the source's walk for each target, if it was kept and its steps are those of the edit."""
        inversion = self._inversion
        if inversion.trajectory is None or not self._as_inverted:
            return None
        noise, offsets = (
            None if kept is None else self._for_targets(kept, dim=1) for kept in (inversion.noise, inversion.offsets)
        )
        return SourceWalk(self._steps, self._for_targets(inversion.trajectory, dim=1), noise, offsets)

    def _source_request(self) -> Request:
        """Return what the images of the inversion showed, for each target."""
        inversion = self._inversion
        negative = inversion.negative_prompt
        negatives = None if negative is None else one_each(negative, inversion.batch_size, "negative_prompt")
        own = [inversion.prompts[i] for i in self._owners]
        held = embeddings.for_images(inversion.text_embeds, inversion.batch_size)
        text_embeds = {name: t[self._owners] for name, t in held.items()}
        return self._request(inversion.config, own, negatives, inversion.image_embeds, text_embeds)

    def _request(
        self,
        config: InversionConfig,
        prompts: Sequence[str],
        negatives: Sequence[str] | None,
        image_embeds: Sequence[Tensor] | None,
        text_embeds: TextEmbeds,
    ) -> Request:
        return Request(
            prompts,
            None if negatives is None else [negatives[i] for i in self._owners],
            config.guidance_scale,
            self._inversion.size,
            config.true_cfg_scale,
            self._embeds_for_targets(image_embeds),
            embeddings.for_targets(*_halves(text_embeds), self._owners.tolist(), self._inversion.batch_size),
            config.clip_skip,
            config.guidance_rescale,
        )

    def _embeds_for_targets(self, image_embeds: Sequence[Tensor] | None) -> Sequence[Tensor] | None:
        """Return embeddings with a row for each target, from those with a row for each image or one for all."""
        if image_embeds is None:
            return None
        count = self._inversion.batch_size
        return [
            torch.cat([half[self._owners] for half in t.chunk(2)]) if count > 1 and t.shape[0] == 2 * count else t
            for t in image_embeds
        ]

    def _warn_of_other_steps(self) -> None:
        inverted = self._inversion.config.num_steps
        warnings.warn(
            OtherStepsWarning(
                f"the inversion has a schedule of {inverted} steps and the edit one of {self._config.num_steps}, so "
                "that the source prompt no longer reconstructs the image",
                argument="num_steps",
                remedy=("edit with ", Argument("num_steps", inverted), ", or invert with as many steps as you draw"),
            ),
            stacklevel=5,  # the caller of Editor.edit, which torch wraps
        )

    def _noise_from(self, inverted: Sequence[Step]) -> tuple[Tensor | None, int]:
        """Return the noises that the steps take, (len(steps), B, C, h, w) on the CPU, and how many had to be drawn."""
        steps, inversion = self._steps, self._inversion
        if not any(step.stochastic for step in steps):
            return None, 0
        return noise_for_steps(steps, inverted, inversion.noise, inversion.latents.shape, inversion.config.seed)

    def _warn_of_drawn_noise(self, missing: int) -> None:
        warnings.warn(
            DrawnNoiseWarning(
                f"{self._inversion.scheduler['class']} adds noise in its steps, and the inversion does not hold that "
                f"of {missing} of the {len(self._steps)} steps asked for: it is drawn from the inversion's seed, and "
                "the source prompt no longer reconstructs the image"
            ),
            stacklevel=5,
        )


def _require_suited(model: Model, inversion: Inversion, scheduler: Any) -> None:
    """Refuse an inversion that the model cannot have made, with the inversion's own scheduler."""
    pixels = model.pixels(inversion.latents)
    if pixels != inversion.size:
        raise _contradicted(f"latents of {_by(pixels)} pixels for images of {_by(inversion.size)}")
    trained, own = (int(s.config.get("num_train_timesteps", 0)) for s in (scheduler, model.pipe.scheduler))
    if trained > own > 0:
        raise _contradicted(f"a sampler of {trained:,} timesteps, and this model was trained on {own:,}")


def _contradicted(what: str) -> ModelError:
    return ModelError(
        f"the inversion has {what}: it was made with another model, or its file was changed",
        argument="model",
        remedy="load the model that made the inversion, or invert the image again",
    )


def _by(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width} x {height}"


def _schedule(config: InversionConfig) -> tuple[Any, ...]:
    return config.num_steps, config.timesteps, config.sigmas


def _halves(text_embeds: TextEmbeds) -> tuple[TextEmbeds, TextEmbeds]:
    """Return embeddings of prompts and those of negative prompts."""
    halves = (embeddings.POSITIVE, embeddings.NEGATIVE)
    positive, negative = ({name: t for name, t in text_embeds.items() if name in half} for half in halves)
    return positive, negative
