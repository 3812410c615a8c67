"""What the families share: a diffusers pipeline with one network, an autoencoder and text encoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import autoencoder, encoding, ip_adapter, precision
from renoise.backbones.base import Condition, Embeddings, Request, Schedule
from renoise.errors import Argument, ConfigError, ModelError
from renoise.lookups import once
from renoise.schedulers.names import DIFFUSION, Kind, kinds_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.steps import Step


class PipelineBackbone:
    """The base of the families: a new one adds its facts and `resolution`, `condition` and `predict` of `Backbone`.

    Args:
        pipe: the user's pipeline, whose components are shared and never changed.

    Raises:
        ModelError: if one of the `components` is missing.

    Attributes:
        name: the family's short name.
        title: the name by which people know its models.
        pipelines: the names of its pipelines' classes in diffusers; the first one loads single files.
        samplers: the short names of the samplers that suit its models (see `renoise.schedulers.names`).
        precision: the name of the floating-point type in which its networks are loaded on a GPU by default.
        components: the parts of the pipeline that the family needs, the network first.
        encoders: the parts that it needs to read prompts, but not for embeddings that are given in their place.
        statistics: what its pipelines use of an autoencoder's configuration beside the scale of its latents:
            "shift_factor", or "latents_mean" with the deviations.
        flow: see `Backbone`.
        takes_true_cfg: see `Backbone`.
        takes_clip_skip: see `Backbone`.
        takes_guidance_rescale: see `Backbone`.
        unguided: the guidance scale that its pipelines take for no guidance. At a scale s, predictions with the prompt
            have the weight s + 1 - unguided, and those with the negative prompt the rest.
        one_length: whether embeddings of prompts and of negative prompts have to be of one length.
        preset: the settings that suit it, a key in `renoise.presets` (see `preset_for`).
        turbo_preset: the settings that suit its turbo models; None if there are none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]] = ()
    samplers: ClassVar[tuple[str, ...]] = DIFFUSION
    precision: ClassVar[str] = "float16"
    components: ClassVar[tuple[str, ...]] = ("unet", "vae")
    encoders: ClassVar[tuple[str, ...]] = ()
    statistics: ClassVar[tuple[str, ...]] = autoencoder.STATISTICS
    flow: ClassVar[bool] = False
    takes_true_cfg: ClassVar[bool] = False
    takes_clip_skip: ClassVar[bool] = False
    takes_guidance_rescale: ClassVar[bool] = False
    unguided: ClassVar[float] = 1.0
    one_length: ClassVar[bool] = True
    preset: ClassVar[str] = "sd"
    turbo_preset: ClassVar[str | None] = None

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        for name in self.components:
            if getattr(pipe, name, None) is None:
                raise ModelError(f"the pipeline has no {name}", remedy="load it whole, with from_pretrained")

    @staticmethod
    def built_in_guidance(pipe: Any) -> float | None:
        """Return the guidance scale that diffusers' pipeline gives the network as an input; None if it takes none."""
        return None

    @classmethod
    def preset_for(cls, pipe: Any) -> str:
        """Return the key in `renoise.presets` of the settings that suit a pipeline.

        The scheduler and the adapters tell models that draw in a few steps. LCM and TCD schedulers take "lcm-lora"
        where an adapter is loaded and "lcm" where none is. Euler-type schedulers with trailing spacing, with which SDXL
        Turbo and SD Turbo are published, take the family's preset for turbo models; but not with v prediction or zero
        terminal SNR, with which models of many steps are spaced so as well (Lin et al., 2023, arXiv 2305.08891).
        """
        if _draws_by_consistency(pipe):
            # A dictionary of adapters is what peft leaves on a network that carries any.
            return "lcm-lora" if getattr(getattr(pipe, "unet", None), "peft_config", None) else "lcm"
        scheduler = pipe.scheduler
        config = scheduler.config
        of_many_steps = config.get("prediction_type") == "v_prediction" or config.get("rescale_betas_zero_snr")
        trailing = type(scheduler).__name__.startswith("Euler") and config.get("timestep_spacing") == "trailing"
        if trailing and not of_many_steps:
            return cls.preset if cls.turbo_preset is None else cls.turbo_preset
        return cls.preset

    @classmethod
    def inversion_guidance(cls, pipe: Any) -> float | None:
        """Return the guidance scale that a pipeline has to be inverted with; None means the preset's.

        LCMs are distilled with guidance scales well above 1 (Luo et al., 2023, arXiv 2310.04378). Flux dev, which takes
        a scale as well, is inverted at 1, where its velocity is that of the prompt alone. Where another scale than 1
        stands for no guidance, it is that one.
        """
        if _draws_by_consistency(pipe):
            return cls.built_in_guidance(pipe)
        return None if cls.unguided == 1.0 else cls.unguided

    @classmethod
    def distilled(cls, pipe: Any) -> bool:
        """Return whether a pipeline's model draws without guidance although its schedule has many steps."""
        return False

    @classmethod
    def kinds_sampled(cls) -> tuple[Kind, ...]:
        """Return the kinds of schedulers that sample the family's models; those of EDM sample diffusion models too."""
        found = kinds_of(cls.samplers)
        return (*found, "edm") if "diffusion" in found and "edm" not in found else found

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """See `Backbone.kinds`."""
        return self.kinds_sampled()

    @property
    def network(self) -> Any:
        """The denoising network."""
        return getattr(self.pipe, self.components[0])

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        raise NotImplementedError

    @property
    def latent_scale(self) -> int:
        """See `Backbone.latent_scale`."""
        return int(self.pipe.vae_scale_factor)

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`."""
        return 1

    @property
    def latent_channels(self) -> int:
        """See `Backbone.latent_channels`."""
        return autoencoder.channels(self.pipe.vae)

    @property
    def ip_projections(self) -> Sequence[torch.nn.Module]:
        """The layers by which the network takes embeddings of images in, one for each IP-Adapter that it carries."""
        return ()

    @property
    def ip_adapters(self) -> int:
        """See `Backbone.ip_adapters`."""
        return len(self.ip_projections)

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`."""
        return None

    @property
    def reads_at_most(self) -> int | None:
        """See `Backbone.reads_at_most`."""
        return None

    def around(self, encoder: str, *, negative: bool) -> str:
        """See `Backbone.around`."""
        return ""

    def guides(self, guidance_scale: float, true_cfg_scale: float) -> bool:
        """See `Backbone.guides`; a network that takes the scale as an input is not guided by it."""
        if self.takes_true_cfg:
            return true_cfg_scale > 1.0
        return guidance_scale > self.unguided and self.built_in_guidance(self.pipe) is None

    @property
    def device(self) -> torch.device:
        """See `Backbone.device`; with offloading it is the device to which hooks move the network."""
        import torch

        return once(self.pipe, "device", lambda: torch.device(self.pipe._execution_device))

    @property
    def dtype(self) -> torch.dtype:
        """See `Backbone.dtype`."""
        return once(self.pipe, "dtype", lambda: precision.input_dtype(self.pipe, self.network))

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Backbone.encode`."""
        return autoencoder.encode(self.pipe.vae, pixels, self.device, self.statistics)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode`."""
        return autoencoder.decode(self.pipe.vae, latents, self.device, self.statistics)

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        return {}

    def restated(self, step: Step) -> Step:
        """See `Backbone.restated`."""
        return step

    def embed_images(self, images: Any) -> tuple[Tensor, ...]:
        """See `Backbone.embed_images`."""
        if not self.ip_adapters:
            raise ConfigError(
                "the network carries no IP-Adapter",
                argument="ip_adapter_image",
                remedy=("load one, or leave ", Argument("ip_adapter_image"), " out"),
            )
        return ip_adapter.embed(self.pipe, images, self._embed)

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`."""
        raise NotImplementedError

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        raise NotImplementedError

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`; here one latent after the other, for networks of one timestep at a time."""
        import torch

        each = zip(torch.split(latents, 1), steps, strict=True)
        return torch.cat([self.predict(z, step, condition.of([row])) for row, (z, step) in enumerate(each)])

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a family that predicts in its own way do so at different steps as well."""
        super().__init_subclass__(**options)
        if "predict" in vars(cls) and "predict_each" not in vars(cls):
            cls.predict_each = PipelineBackbone.predict_each  # type: ignore[method-assign]

    def release(self) -> None:
        """See `Backbone.release`."""
        self.pipe.maybe_free_model_hooks()

    def as_condition(
        self,
        positive: Mapping[str, Tensor],
        negative: Mapping[str, Tensor] | None,
        guidance_scale: float,
        guidance_rescale: float = 0.0,
    ) -> Condition:
        """Put embeddings on the network's device and, except for integers and masks, into its precision.

        Args:
            positive: the embeddings of the prompts.
            negative: the embeddings of the negative prompts; None without guidance.
            guidance_scale: the scale of classifier-free guidance.
            guidance_rescale: see `renoise.backbones.base.rescaled`.

        Raises:
            ConfigError: if positive and negative embeddings have different lengths.
            ModelError: if blocks of the network are cached, because renoising runs it several times in one step, or
                its layers compute in several precisions.
        """
        if getattr(self.network, "is_cache_enabled", False):
            raise ModelError(
                "the network reuses its blocks' outputs from one call to the next (a cache), and renoising calls it "
                "several times in one step",
                remedy=f"call pipe.{self.components[0]}.disable_cache() first",
            )
        device, dtype = self.device, self.dtype
        precision.require_one_precision(self.network, dtype)

        def placed(embeddings: Mapping[str, Tensor]) -> Embeddings:
            return {name: t.to(device, dtype if t.is_floating_point() else None) for name, t in embeddings.items()}

        if negative is None:
            return Condition(placed(positive))
        if self.one_length:
            encoding.require_one_length(positive, negative)
        return Condition(placed(positive), placed(negative), guidance_scale, guidance_rescale)

    def require_channels(self, channels: int) -> None:
        """Check that the network takes the latent alone: inpainting, depth and fill models take more.

        Raises:
            ModelError: if it takes another number of channels.
        """
        takes = getattr(self.network, "config", {}).get("in_channels", channels)
        if takes != channels:
            raise ModelError(
                f"the network takes {takes} channels but latents have {channels}: inpainting, depth and fill models "
                "cannot be inverted",
                remedy="use a text-to-image model",
            )

    def _embed(self, images: Any) -> Sequence[Tensor]:
        """Return the embeddings by the pipeline itself, (2, images, ...) for each adapter, those of no image first."""
        import torch

        embeds = self.pipe.prepare_ip_adapter_image_embeds(images, None, self.device, 1, True)
        return [embeds] if isinstance(embeds, torch.Tensor) else list(embeds)


def for_each(values: Iterable[float], latents: Tensor) -> Tensor:
    """Return a number for each latent of a batch, float32 (N,), repeated where guidance has doubled the batch.

    Args:
        values: one number for all latents, or one for each.
        latents: (N, C, h, w), or twice as many as values.
    """
    import torch

    given = torch.tensor(list(values), dtype=torch.float32, device=latents.device)
    return given.repeat(len(latents) // len(given))


def _draws_by_consistency(pipe: Any) -> bool:
    """Tell whether a pipeline samples as models do that were distilled for consistency (LCM, TCD)."""
    return type(pipe.scheduler).__name__ in ("LCMScheduler", "TCDScheduler")
