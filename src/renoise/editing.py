"""What an editor draws from an inversion: its reconstruction, and its edits."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from renoise import direct_edits, edit_settings, masks, remarks
from renoise.autoencoding import Autoencoding
from renoise.config import InversionConfig
from renoise.defaults import edit_guidance_for
from renoise.directly import DirectRule, FlowEdit
from renoise.drawing import Drawing
from renoise.edit_rules import EditRule, TellingRule, require_changes
from renoise.edit_settings import edit_config
from renoise.embeddings import NEGATIVE, POSITIVE, GivenEmbeds, wording
from renoise.inversion import Inversion
from renoise.progress import Callback
from renoise.prompts import Prompt, arrange_targets, one_each
from renoise.results import Results
from renoise.torch_defaults import inference

FLOW_EDIT = FlowEdit()


class Editing(Autoencoding):
    """The side of an `Editor` that draws inversions.

    Args:
        pipe: a diffusers pipeline of a supported family.
        name: what to call the model; None is nothing.

    Raises:
        ModelError: if the pipeline's family is not supported.
    """

    def __init__(self, pipe: Any, *, name: str | None = None) -> None:
        super().__init__(pipe)
        self.name = name

    def reconstruct(
        self,
        inversion: Inversion,
        output_type: str = "pil",
        *,
        progress: Callback | None = None,
        force: bool = False,
    ) -> Any:
        """Draw the image again.

        It is `edit` with the source prompt and everything as inverted; see there for the arguments, the result and the
        errors. For an inversion that was kept for edits (`Inversion.for_edits`) it is the source's own walk, which is
        exact by construction and takes no network pass. `inversion.alone()` is drawn from (z_T, noises) alone, and so
        are inversions that kept nothing.
        """
        edit_settings.require_inversion(inversion)
        embeds: Any = {name: t for name, t in inversion.text_embeds.items() if name in POSITIVE}
        source = inversion.prompts if inversion.batched else inversion.prompts[0]
        return self.edit(
            inversion,
            None if embeds else source,
            **embeds,
            guidance_scale=inversion.config.guidance_scale,
            output_type=output_type,
            progress=progress,
            force=force,
        )

    @inference
    def edit(
        self,
        inversion: Inversion,
        prompt: str | Sequence[Any] | None = None,
        *,
        guidance_scale: float | None = None,
        negative_prompt: Prompt | None = None,
        num_steps: int | None = None,
        true_cfg_scale: float | None = None,
        strength: float | None = None,
        keep: Any = None,
        mask: Any = None,
        rule: EditRule | None = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Sequence[Tensor] | None = None,
        clip_skip: int | None = None,
        guidance_rescale: float | None = None,
        output_type: str = "pil",
        return_masks: bool = False,
        progress: Callback | None = None,
        force: bool = False,
        **text_embeds: Unpack[GivenEmbeds],
    ) -> Any:
        """Draw the inverted image with another prompt.

        Args:
            inversion: from `invert` or `Inversion.load`.
            prompt: for one image a string, or a list of targets; for a batch a string for all, a list with one for each
                image, or a list of lists of targets for each.
            guidance_scale: the guidance scale of the edit; None takes `edit_guidance`, what suits the model. The higher
                it is, the stronger is the edit, and the less it keeps.
            negative_prompt: one for all or one for each image; None is the inversion's.
            num_steps: the length of the schedule; None is the inversion's. Another number starts at the noise level
                where the inversion ended. Noises belong to timesteps: a stochastic sampler keeps those of the timesteps
                that both have, the others are drawn from the inversion's seed, and a `DrawnNoiseWarning` is issued.
                Without missing noises it is an `OtherStepsWarning`: the source prompt no longer draws the image again.
            true_cfg_scale: classifier-free guidance of models that have another form of guidance built in (Flux); None
                is the inversion's.
            strength: how much changes, in [0, 1]: 0 is the reconstruction, 1 what the target prompt would have; None is
                `renoise.edit_rules.DEFAULT_STRENGTH`.
            keep: what is kept of the image: "auto", what its structure shows to have survived, or "nothing"; None is
                "auto" where the inversion kept what that needs, and plain sampling where it did not. An image, an array
                or a tensor is a mask.
            mask: where the image may change: white changes, black stays, grey changes a part of the way. As `image` for
                `invert` or an array of bool, one for all images or a list with one for each, in any size with the
                proportions of its image or of the model's. Where it is black, the edit has the image's own pixels.
            rule: makes the next latent at each step, in place of what `strength` and `keep` say (see
                `renoise.edit_rules`).
            ip_adapter_image: as for `invert`; None is what the inversion was shown.
            ip_adapter_image_embeds: as for `invert`; None is what the inversion was shown.
            clip_skip: the number of last layers of the CLIP text encoders that are left out; None is the inversion's.
            guidance_rescale: how far guided predictions are brought back to the deviation of unguided ones, in [0, 1];
                None is the inversion's.
            output_type: "pil", "np" (B, H, W, 3), "pt" (B, 3, H, W), or "latent" (B, C, h, w). The last three are flat
                over images and targets, and hold the model's images, without the way back from padded and kept ones.
            return_masks: return a mask for each edit as well, in its form and size: white where the rule and the mask
                let everything change. "pil" masks have mode L, the others one channel with values in [0, 1].
            progress: called after each network pass (see `renoise.Progress`). Raising in it stops the work.
            force: edit with a model other than the one that inverted.
            text_embeds: embeddings in place of prompts, as for `invert`; for one image `prompt_embeds` may have a row
                for each of several targets. Without negative ones and a negative prompt they are the inversion's.

        Returns:
            For "pil": one image, or lists shaped as the prompts are. With `return_masks` a pair: that, and the masks
            in the same form.

        Raises:
            ConfigError: for arguments that do not fit the inversion.
            ImageError: if a mask cannot be read.
            ModelError: if another model made the inversion, unless forced.
            NumericalError: if sampling ends in NaN or infinity.

        Warns:
            IgnoredSettingWarning: for what was given and has no effect.
            RenoiseWarning: for prompts in the language of other programs, for networks in training mode, and for
                inversions whose noise cannot be blended at a strength.

        Examples:
            >>> dog, fox = editor.edit(inversion, ["a dog", "a fox"], guidance_scale=2.0)  # doctest: +SKIP
        """
        edit_settings.require_output_type(output_type)
        edit_settings.require_inversion(inversion)
        edit_settings.require_rule(rule)
        changes = require_changes(rule, strength, keep, mask, return_masks)
        edit_settings.require_same_model(inversion, self.model, self.name, force=force)
        embeds = self.model.text_embeds(text_embeds, prompt, negative_prompt)
        fitted = None if changes.mask is None else masks.read(changes.mask, inversion.fits, inversion.size)
        targets, shape = arrange_targets(wording(prompt, embeds), inversion.batch_size, inversion.batched)
        owners = [i for i, own in enumerate(targets) for _ in own]
        prompts = [p for own in targets for p in own]
        scale = self.edit_guidance(inversion.config) if guidance_scale is None else guidance_scale
        asked = {"true_cfg_scale": true_cfg_scale, "clip_skip": clip_skip, "guidance_rescale": guidance_rescale}
        config = edit_config(inversion.config, num_steps, {"guidance_scale": scale, **asked})
        given = remarks.Given(
            negative=negative_prompt is not None or "negative_prompt_embeds" in embeds, embeds="prompt_embeds" in embeds
        )
        negative = inversion.negative_prompt if negative_prompt is None else negative_prompt
        if not given.negative:
            embeds |= {name: t for name, t in inversion.text_embeds.items() if name in NEGATIVE}
        negatives = None if negative is None else one_each(negative, inversion.batch_size, "negative_prompt")
        remarks.on_training(self.pipe)
        new = [p for p in (*prompts, *(negatives or ())) if p not in inversion.prompts]
        remarks.on_prompts(self.model.backbone, new)
        remarks.on_editing(self.model.backbone, config, edit_config(InversionConfig(), None, asked), given)
        image_embeds = self.model.image_embeds(ip_adapter_image, ip_adapter_image_embeds)
        drawing = Drawing(self.model, inversion, config, owners)
        request = drawing.request(prompts, negatives, image_embeds or inversion.image_embeds, embeds)
        size = inversion.latents.shape[-2:]
        at_latents = None if fitted is None else masks.at_latents([fitted[i] for i in owners], size)
        chosen = changes.rule(known=drawing.knows_source, mask=at_latents)
        if changes.settled(known=drawing.knows_source)[0]:
            remarks.on_blending(drawing.loudness)
        memory: dict[Hashable, Tensor] = {}
        unchanged = drawing.unchanged(request) if drawing.knows_source else None
        if changes.strength == 0.0:
            unchanged = torch.ones(len(owners), dtype=torch.bool)
        latents = drawing.run(request, chosen, progress, unchanged, memory)
        results = Results(self.model, inversion, owners, output_type, fitted)
        found = [results.edits(latents)]
        if isinstance(chosen, TellingRule) and changes.told:
            whole = unchanged is not None and bool(unchanged.all())  # then the rule was not asked for a step
            found.append(results.changed(None if whole else chosen.changed(memory), unchanged))
        arranged = [shape(one) for one in found] if output_type == "pil" else found
        return tuple(arranged) if changes.told else arranged[0]

    @inference
    def edit_directly(
        self,
        image: Any = None,
        prompt: Prompt = "",
        target: str | Sequence[Any] | None = None,
        *,
        rule: DirectRule = FLOW_EDIT,
        config: InversionConfig | None = None,
        latents: Tensor | None = None,
        guidance_scale: float | None = None,
        negative_prompt: Prompt | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        fit: str = "crop",
        output_type: str = "pil",
        progress: Callback | None = None,
    ) -> Any:
        """Edit one image or many without an inversion, by a published rule (see `renoise.directly`).

        It is here to compare with: edits of an inversion keep more and cost fewer network passes (docs/editing.md has
        the numbers). At each step the rule takes a prediction for the source and one for the target.

        Args:
            image: as for `invert`.
            prompt: what the image shows, as for `invert`. These rules need it more than an inversion does.
            target: what it shall show, as `prompt` for `edit`.
            rule: `FlowEdit()` or `DDCM()` of `renoise.directly`, or another one.
            config: the schedule (`num_steps`, `strength`, `timesteps`, `sigmas`, `eta`), the seed, and the guidance of
                the source: `guidance_scale`, `true_cfg_scale`, `clip_skip` and `guidance_rescale`. What says how steps
                are inverted has no meaning here. None takes the default preset for the pipeline.
            latents: clean latents z_0, as for `invert`; give either these or an image.
            guidance_scale: the guidance scale of the target; None takes `edit_guidance`.
            negative_prompt: one for all or one for each image; None is the pipeline's default.
            generator: draws the noises, as for `invert`.
            fit: how images are fitted, as for `invert`.
            output_type: as for `edit`.
            progress: called after each network pass (see `renoise.Progress`). Raising in it stops the work.

        Returns:
            As `edit` does: for "pil" one image, or lists shaped as the targets are.

        Raises:
            ConfigError: for arguments that do not fit each other.
            ImageError: if an image cannot be read.
            SchedulerError: if the pipeline's sampler is unknown.
            NumericalError: if an edit ends in NaN or infinity.

        Warns:
            IgnoredSettingWarning: for what was given and has no effect.
            RenoiseWarning: for prompts in the language of other programs, and for networks in training mode.

        Examples:
            >>> editor.edit_directly("cat.png", "a cat", "a dog", guidance_scale=5.5)  # doctest: +SKIP
        """
        edit_settings.require_output_type(output_type)
        asked = direct_edits.ask(
            self.model, image, prompt, target, rule, config, latents, guidance_scale, negative_prompt, fit
        )
        remarks.on_training(self.pipe)
        remarks.on_prompts(self.model.backbone, asked.prompts)
        remarks.on_editing_directly(self.model.backbone, asked.source_config, asked.target_config, asked.given)
        drawn = self.decode(direct_edits.edit_directly(self.model, asked, generator, progress), output_type)
        return asked.shaped(drawn) if output_type == "pil" else drawn

    def is_guided(self, config: InversionConfig) -> bool:
        """Tell whether settings ask for a guidance scale above that which stands for none with this model.

        Args:
            config: the settings of an inversion.
        """
        return config.guidance_scale > self.model.backbone.unguided

    def edit_guidance(self, config: InversionConfig | None = None) -> float:
        """Return the guidance scale that an edit gets without being told one.

        Args:
            config: the settings of the inversion, whose guidance goes before what suits the model; None is an inversion
                without guidance.

        Raises:
            ConfigError: if the config is none.
        """
        if config is not None:
            edit_settings.require_config(config)
        return edit_guidance_for(self.pipe, config)
