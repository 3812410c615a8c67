"""One edit without an inversion: the image, its noises, prompts and networks, brought together and walked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from renoise import images
from renoise.backbones import Request
from renoise.config import InversionConfig
from renoise.defaults import edit_guidance_for
from renoise.directly import DirectRule, walk_difference
from renoise.edit_settings import config_for, edit_config
from renoise.embeddings import wording
from renoise.model import Model, Prepared
from renoise.noise import draw_noise, generators_for
from renoise.progress import Callback, Reporter
from renoise.prompts import Prompt, arrange_targets, one_each
from renoise.ranges import made_for, whole
from renoise.remarks import Given
from renoise.unchanged import asked_alike


@dataclass(frozen=True, eq=False)
class Asked:
    """What an edit without an inversion is asked for, checked; the prompts have an entry for each target.

    Attributes:
        rule: makes the edit's difference from the source at each step.
        prepared: the images.
        owners: the image of each target.
        sources: the prompt that describes that image.
        targets: the target prompt.
        negatives: the negative prompt; None is the pipeline's default.
        source_config: the schedule, the seed, and the guidance of the sources.
        target_config: the same with the guidance of the targets.
        shape: shapes a flat list of images as the targets are.
        given: what may have no effect.
    """

    rule: DirectRule
    prepared: Prepared
    owners: Sequence[int]
    sources: Sequence[str]
    targets: Sequence[str]
    negatives: Sequence[str] | None
    source_config: InversionConfig
    target_config: InversionConfig
    shape: Callable[[list[Any]], Any]
    given: Given

    @property
    def prompts(self) -> list[str]:
        """All prompts."""
        return [*self.sources, *self.targets, *(self.negatives or ())]

    def shaped(self, drawn: Sequence[Image.Image]) -> Any:
        """Return drawn images in the form of those that came in, in lists shaped as the targets are."""
        fits = self.prepared.fits
        return self.shape([images.unfit(one, fits[i]) for one, i in zip(drawn, self.owners, strict=True)])


def require_direct_rule(rule: Any) -> None:
    """Check that a rule edits without an inversion.

    Raises:
        ConfigError: if it does not.
    """
    remedy = "use FlowEdit() or DDCM() of renoise.directly, or see renoise.directly.DirectRule"
    made_for(rule, DirectRule, "rule", "a method advance and a number of draws", remedy)
    whole(rule.draws, "draws", 1)


def ask(
    model: Model,
    image: Any,
    prompt: Prompt,
    target: str | Sequence[Any] | None,
    rule: DirectRule,
    config: InversionConfig | None,
    latents: Tensor | None,
    guidance_scale: float | None,
    negative_prompt: Prompt | None,
    fit: str,
) -> Asked:
    """Check what `Editor.edit_directly` was given; see there for the arguments and the errors."""
    require_direct_rule(rule)
    config = config_for(model.pipe, config)
    prepared = model.prepare(image, latents, fit)
    count = len(prepared.latents)
    targets, shape = arrange_targets(wording(target, {}), count, prepared.batched)
    owners = [i for i, own in enumerate(targets) for _ in own]
    sources = one_each(prompt, count, "prompt")
    negatives = None if negative_prompt is None else one_each(negative_prompt, count, "negative_prompt")
    scale = edit_guidance_for(model.pipe, config) if guidance_scale is None else guidance_scale
    return Asked(
        rule,
        prepared,
        owners,
        [sources[i] for i in owners],
        [p for own in targets for p in own],
        None if negatives is None else [negatives[i] for i in owners],
        config,
        edit_config(config, None, {"guidance_scale": scale}),
        shape,
        Given(negative=negatives is not None, fit=fit, fitted=latents is not None or isinstance(image, Prepared)),
    )


def edit_directly(
    model: Model,
    asked: Asked,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callback | None = None,
) -> Tensor:
    """Return the clean latents of the edits, float32 (targets, C, h, w).

    Args:
        model: runs the networks.
        asked: what the images are to become.
        generator: as for `Editor.invert`.
        progress: called after each network pass.

    Raises:
        ConfigError: for what the model or the images do not fit.
        SchedulerError: if the pipeline's sampler is unknown.
        NumericalError: if an edit ends in NaN or infinity.
    """
    z_0, config, draws = asked.prepared.latents, asked.source_config, asked.rule.draws
    size = model.pixels(z_0)
    steps = model.steps(model.pipe.scheduler, config, size)
    generators = generators_for(generator, config.seed, len(z_0))
    drawn = draw_noise(len(steps) * draws, z_0.shape, generators, z_0.device)
    noise = drawn.view(len(steps), draws, *z_0.shape)
    owners = torch.tensor(asked.owners, device=z_0.device)
    target = _request(asked.targets, asked.negatives, asked.target_config, size)
    source = _request(asked.sources, asked.negatives, config, size)
    with model.freeing():
        conditions = model.condition(target), model.condition(source)
        bounds = [draws * sum(condition.passes for condition in conditions)] * len(steps)
        network = model.network(conditions[0], steps, Reporter(progress, "edit", steps, bounds))
        source_network = model.network(conditions[1], steps).beside(network)
        image = z_0.index_select(0, owners)
        noises, alike = noise.index_select(2, owners), asked_alike(target, source, model)
        edited = image + walk_difference(steps, asked.rule, network, source_network, image, noises, alike)
        model.require_finite(edited, "the edited latents")
    return edited


def _request(
    prompts: Sequence[str], negatives: Sequence[str] | None, config: InversionConfig, size: tuple[int, int]
) -> Request:
    return Request(
        prompts,
        negatives,
        config.guidance_scale,
        size,
        config.true_cfg_scale,
        clip_skip=config.clip_skip,
        guidance_rescale=config.guidance_rescale,
    )
