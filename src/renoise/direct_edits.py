"""One edit without an inversion: the image, its noises, prompts and networks, brought together and walked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from renoise.backbones import Request
from renoise.config import InversionConfig
from renoise.directly import DirectRule, walk_difference
from renoise.errors import Argument, ConfigError
from renoise.escaping import seen
from renoise.model import Model
from renoise.noise import draw_noise, generators_for
from renoise.progress import Callback, Reporter
from renoise.ranges import whole
from renoise.unchanged import asked_alike


@dataclass(frozen=True)
class Asked:
    """What a direct edit is asked for, with an entry for each target.

    Attributes:
        owners: the image of each target.
        sources: the prompt that describes that image.
        targets: the target prompt.
        negatives: the negative prompt, or None for the pipeline's default.
        guidance_scale: the guidance scale of the targets; that of the sources is the config's.
    """

    owners: Sequence[int]
    sources: Sequence[str]
    targets: Sequence[str]
    negatives: Sequence[str] | None
    guidance_scale: float


def require_direct_rule(rule: Any) -> None:
    """Check that a rule edits without an inversion.

    Raises:
        ConfigError: if it does not.
    """
    if isinstance(rule, type) or not isinstance(rule, DirectRule):
        raise ConfigError(
            Argument("rule"),
            f" must be a value with a method advance and a number of draws, not {seen(rule)}",
            remedy="use FlowEdit() or DDCM() of renoise.directly, or see renoise.directly.DirectRule",
        )
    whole(rule.draws, "draws", 1)


def edit_directly(
    model: Model,
    z_0: Tensor,
    asked: Asked,
    rule: DirectRule,
    config: InversionConfig,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callback | None = None,
) -> Tensor:
    """Return the clean latents of the edits, float32 (targets, C, h, w).

    Args:
        model: runs the networks.
        z_0: the images' latents, float32 (B, C, h, w).
        asked: what they are to become.
        rule: makes the edit's difference from the source at each step.
        config: the schedule, the seed, and the guidance of the source.
        generator: as for `Editor.invert`.
        progress: called after each network pass.

    Raises:
        ConfigError: for what the model or the images do not fit.
        SchedulerError: if the pipeline's sampler is unknown.
        NumericalError: if an edit ends in NaN or infinity.
    """
    size = model.pixels(z_0)
    steps = model.steps(model.pipe.scheduler, config, size)
    generators = generators_for(generator, config.seed, len(z_0))
    drawn = draw_noise(len(steps) * rule.draws, z_0.shape, generators, z_0.device)
    noise = drawn.view(len(steps), rule.draws, *z_0.shape)
    owners = torch.tensor(asked.owners, device=z_0.device)

    def request(prompts: Sequence[str], guidance_scale: float) -> Request:
        return Request(
            prompts,
            asked.negatives,
            guidance_scale,
            size,
            config.true_cfg_scale,
            clip_skip=config.clip_skip,
            guidance_rescale=config.guidance_rescale,
        )

    source, target = request(asked.sources, config.guidance_scale), request(asked.targets, asked.guidance_scale)
    guided = model.backbone.guides(config.guidance_scale, config.true_cfg_scale)
    with model.freeing():
        conditions = model.condition(target), model.condition(source)
        bounds = [rule.draws * sum(condition.passes for condition in conditions)] * len(steps)
        network = model.network(conditions[0], steps, Reporter(progress, "edit", steps, bounds))
        source_network = model.network(conditions[1], steps).beside(network)
        image = z_0.index_select(0, owners)
        difference = walk_difference(
            steps,
            rule,
            network,
            source_network,
            image,
            noise.index_select(2, owners),
            asked_alike(target, source, guided=guided),
        )
        edited = image + difference
        model.require_finite(edited, "the edited latents")
    return edited
