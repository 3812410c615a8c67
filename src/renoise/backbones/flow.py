"""The base of the flow-matching families: transformers over patches of the latent that predict a velocity.

A family declares what it differs in as data (`renoise.backbones.flow_facts`), and says by `inputs` what its network
takes. docs/extending.md adds one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from renoise.backbones import encoding, ip_adapter, packing, ragged
from renoise.backbones.base import Condition, Embeddings, Request, Schedule, guided
from renoise.backbones.flow_facts import ByTokens, Clock, Shift
from renoise.backbones.pipeline import PipelineBackbone, for_each
from renoise.errors import Argument, ConfigError, IgnoredSettingWarning
from renoise.schedulers.names import FLOW

if TYPE_CHECKING:
    from torch import Tensor

    from renoise.steps import Step


# The side of the images, in pixels, that pipelines draw which do not say theirs.
_SIDE = 1024


class FlowBackbone(PipelineBackbone):
    """The base of the flow families: a new one adds its facts and `inputs`.

    Raises:
        ModelError: if a part is missing, or the network takes more than the latent.

    Attributes:
        sign: the factor that makes the network's output the velocity, noise minus image; -1 where it is the opposite.
        clock: how the network is told the time.
        shift: how its pipeline shifts a schedule for the size of an image; None where it gives the scheduler no shift.
        even_sigmas: whether its pipeline gives the scheduler the noise levels 1, ..., 1 / n to begin with.
        leaves_levels: the names of its pipelines that give no noise levels to a scheduler whose configuration has
            `use_flow_sigmas`, as it is left there by a sampler in whose place the scheduler came.
        patch: the side, in latent elements, of the patches into which its pipeline packs latents.
        packed: whether its pipeline packs latents into tokens before the network; else the network takes a grid.
        restores: whether guided predictions are brought back to the length that predictions with the prompt have, along
            the last dimension of the network's output.
        encodes: the names of what `encode_prompt` returns, in order. Those that begin with `encoding.NEGATIVE` belong
            to the negative prompts, which are read by a second call where there is none. An empty name is not used,
            and "mask" is a mask of the tokens in "text".
        reads: further arguments of `encode_prompt`.
    """

    components: ClassVar[tuple[str, ...]] = ("transformer", "vae")
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer")
    samplers: ClassVar[tuple[str, ...]] = FLOW
    precision: ClassVar[str] = "bfloat16"  # because language models and T5 overflow in float16
    flow: ClassVar[bool] = True
    sign: ClassVar[float] = 1.0
    clock: ClassVar[Clock] = Clock()
    shift: ClassVar[Shift | None] = ByTokens()
    even_sigmas: ClassVar[bool] = True
    leaves_levels: ClassVar[tuple[str, ...]] = ()
    patch: ClassVar[int] = 2
    packed: ClassVar[bool] = False
    restores: ClassVar[bool] = False
    encodes: ClassVar[tuple[str, ...]] = ("text",)
    reads: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.require_channels(self.latent_channels * (self.patch**2 if self.packed else 1))

    @property
    def text_widths(self) -> tuple[int | None, int | None] | None:
        """See `Backbone.text_widths`; embeddings without a mask, beside a pooled one, may come in place of prompts."""
        if "pooled" not in self.encodes:
            return None
        config = self.network.config
        return int(config.joint_attention_dim), int(config.pooled_projection_dim)

    @property
    def reads_at_most(self) -> int | None:
        """See `Backbone.reads_at_most`."""
        most: int | None = self.reads.get("max_sequence_length")
        return most

    @property
    def resolution(self) -> tuple[int, int]:
        """See `Backbone.resolution`."""
        size = getattr(self.pipe, "default_sample_size", None)
        side = _SIDE if size is None else int(size) * self.latent_scale
        return side, side

    @property
    def latent_multiple(self) -> int:
        """See `Backbone.latent_multiple`; the configuration of a network that takes whole latents says it."""
        return self.patch if self.packed else int(self.network.config.patch_size)

    @property
    def positions(self) -> int | None:
        """The number of tokens along a side for which the network has positions; None where there is no such limit."""
        return None

    def tokens(self, size: tuple[int, int]) -> int:
        """Return the number of tokens of an image of `size` (height, width), by which its schedule is shifted."""
        patch = self.latent_scale * self.latent_multiple
        return (size[0] // patch) * (size[1] // patch)

    def shift_rule(self) -> Shift | None:
        """Return how the pipeline shifts schedules: `shift`, where it does not depend on what the pipeline says."""
        return self.shift

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """See `Backbone.schedule`."""
        told: Schedule = {}
        shift = self.shift_rule()
        if shift is not None and scheduler.config.get("use_dynamic_shifting"):
            told["mu"] = shift.mu(scheduler.config, self.tokens(size), num_steps)
        leaves = any(base.__name__ in self.leaves_levels for base in type(self.pipe).__mro__)
        if self.even_sigmas and not (leaves and scheduler.config.get("use_flow_sigmas")):
            import numpy as np

            told["sigmas"] = [float(s) for s in np.linspace(1.0, 1.0 / num_steps, num_steps)]
        return told

    def time(self, timesteps: Tensor) -> Tensor:
        """Return what the network is told of the time, for timesteps (N,)."""
        told: Tensor = self.clock.told(timesteps)
        return told

    def inputs(self, latents: Tensor, time: Tensor, embeddings: Embeddings, grid: tuple[int, int]) -> Mapping[str, Any]:
        """Return the arguments of the network's call.

        Args:
            latents: (N, C, h, w), or (N, tokens, width) where they are packed, in the network's precision.
            time: what the network is told of the time of each latent, float32 (N,).
            embeddings: what it is conditioned on, with a row for each latent.
            grid: the (rows, columns) of its tokens.
        """
        raise NotImplementedError

    def output(self, raw: Any) -> Tensor:
        """Return what the network returned as one tensor in the form of its latents."""
        tensor: Tensor = raw
        return tensor

    def condition(self, request: Request) -> Condition:
        """See `Backbone.condition`; guidance without negative prompts takes empty ones.

        Raises:
            ConfigError: if the network has no positions for images of that size.
        """
        import torch

        self.require_positions(request.size)
        count = len(request.prompts)
        guides = self.guides(request.guidance_scale, request.true_cfg_scale)
        shown, unshown = ip_adapter.rows(request.image_embeds, self.ip_projections, count)
        positive, negative = self.read(request, guides=guides)
        told: dict[str, Tensor] = {}
        if self.built_in_guidance(self.pipe) is not None:
            told["guidance"] = torch.full((count,), request.guidance_scale, dtype=torch.float32)
        elif request.guidance_scale > self.unguided and (self.takes_true_cfg or not guides):
            self._remark_on_scale(request.guidance_scale)
        weight = request.true_cfg_scale if self.takes_true_cfg else request.guidance_scale + 1.0 - self.unguided
        return self.as_condition(
            {**positive, **told, **shown}, {**negative, **told, **unshown} if guides else None, weight
        )

    def require_positions(self, size: tuple[int, int]) -> None:
        """Check that the network has positions for all tokens of images of `size` (height, width).

        Raises:
            ConfigError: if it has not.
        """
        if self.positions is None:
            return
        most = self.positions * self.latent_scale * self.latent_multiple
        if max(size) > most:
            raise ConfigError(
                f"the image is {size[1]} x {size[0]} pixels, but the model has positions for {most} along a side",
                remedy=("use a smaller image, or ", Argument("fit", "crop")),
            )

    def reading(self, request: Request) -> Mapping[str, Any]:
        """Return the further arguments with which `encode_prompt` reads the prompts of a request."""
        return self.reads

    def read(self, request: Request, *, guides: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the embeddings of the prompts by their names, and with guidance those of the negative prompts.

        Raises:
            ConfigError: if the pipeline has no text encoder to read them with.
        """
        options = self.reading(request)
        if any(name.startswith(encoding.NEGATIVE) for name in self.encodes):
            found = self._named(encoding.encoded(self, request, guides=guides, **options))
            negative = {name: found.pop(name) for name in [*found] if name.startswith(encoding.NEGATIVE)}
            negative = {name.removeprefix(encoding.NEGATIVE): tensor for name, tensor in negative.items()}
        else:
            found, negative = self._named(encoding.encoded_alone(self, request, **options)), {}
            if guides:
                negative = self._named(encoding.encoded_alone(self, request, encoding.NEGATIVE, **options))
        return ragged.of_one_length(found, negative) if self.one_length else (found, negative)

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """See `Backbone.predict`."""
        return self._run(latents, [step], condition)

    def predict_each(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """See `Backbone.predict_each`."""
        return self._run(latents, steps, condition)

    def _run(self, latents: Tensor, steps: Sequence[Step], condition: Condition) -> Tensor:
        """Return predictions at a step for all latents, or at one for each."""
        height, width = latents.shape[-2:]
        grid = height // self.latent_multiple, width // self.latent_multiple

        def network(z: Tensor, embeddings: Embeddings) -> Tensor:
            given = (packing.pack(z, self.patch) if self.packed else z).to(self.dtype)
            time = self.time(for_each((step.timestep for step in steps), z))
            raw = self.network(**self.inputs(given, time, embeddings, grid), return_dict=False)[0]
            output = self.output(raw).float()
            # Behind the text, where the network returns the whole sequence.
            return output[:, -given.shape[1] :] if self.packed else output

        velocity = guided(network, latents, condition, restores=self.restores)
        return self.sign * (packing.unpack(velocity, height, width, self.patch) if self.packed else velocity)

    def _named(self, returned: Any) -> dict[str, Tensor]:
        """Return what `encode_prompt` returned by the names in `encodes`; ragged embeddings are padded, with a mask."""
        import torch

        values = returned if isinstance(returned, tuple) else (returned,)
        found: dict[str, Tensor] = {}
        for name, value in zip(self.encodes, values, strict=False):
            text = found.get(name.replace(ragged.MASK, ragged.TEXT))
            if value is None and text is not None and name.endswith(ragged.MASK):
                found[name] = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)  # all of them count
            elif not name or value is None:
                continue
            elif isinstance(value, torch.Tensor):
                found[name] = value
            elif value:
                prefix = encoding.NEGATIVE if name.startswith(encoding.NEGATIVE) else ""
                found[name], found[f"{prefix}mask"] = ragged.padded(value)
        return found

    def _remark_on_scale(self, guidance_scale: float) -> None:
        scale = Argument("guidance_scale", guidance_scale)
        problem, remedy = "this model takes no guidance: ", ("leave ", Argument("guidance_scale"), " out")
        if self.takes_true_cfg:
            problem = "this model has no guidance built in: "
            remedy = ("use ", Argument("true_cfg_scale"), " for classifier-free guidance")
        warnings.warn(IgnoredSettingWarning(problem, scale, " has no effect", remedy=remedy), stacklevel=2)
