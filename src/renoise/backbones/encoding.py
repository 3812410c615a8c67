"""Prompts and embeddings given in their place, as arguments of a pipeline's own `encode_prompt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from renoise.backbones.base import Request
from renoise.errors import Argument, ConfigError, Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renoise.backbones.pipeline import PipelineBackbone

# What the names of negative embeddings begin with.
NEGATIVE = "negative_"


def encoded(
    backbone: PipelineBackbone, request: Request, *, guides: bool, reads_negative: bool = True, **more: Any
) -> Sequence[Any]:
    """Run the pipeline's `encode_prompt` for a batch.

    Args:
        backbone: of the family.
        request: what the images show.
        guides: whether negative embeddings are wanted.
        reads_negative: whether a text encoder has to run for negative prompts that are not given as embeddings.
        more: further arguments of the family's method.

    Raises:
        ConfigError: if the pipeline has no text encoder for a prompt, or not as many layers as are to be left out.
    """
    device = backbone.device
    given = {name: t.to(device) for name, t in request.text_embeds.items() if guides or not name.startswith(NEGATIVE)}
    positive, negative = "prompt_embeds" in given, "negative_prompt_embeds" in given
    if not positive:
        require_encoders(backbone, "prompt")
    if guides and not negative and reads_negative:
        require_encoders(backbone, "negative_prompt")
    negatives = request.negative_prompts
    if backbone.takes_clip_skip and request.clip_skip is not None:
        more["clip_skip"] = request.clip_skip
    try:
        found: Sequence[Any] = backbone.pipe.encode_prompt(
            prompt=None if positive else list(request.prompts),
            device=device,
            do_classifier_free_guidance=guides,
            negative_prompt=None if negatives is None or negative else list(negatives),
            **given,
            **more,
        )
    except IndexError as error:
        if request.clip_skip is None:
            raise
        raise _too_many(request.clip_skip) from error
    except ValueError as error:
        # Negative prompts are read in the length of the embeddings, which may be longer than an encoder reads.
        if not positive or negative or not guides:
            raise
        raise ConfigError(
            f"negative prompts cannot be read in the length of the given embeddings, {given['prompt_embeds'].shape[1]}",
            argument="negative_prompt",
            remedy=("give ", Argument("negative_prompt_embeds"), " of that length"),
        ) from error
    return found


def encoded_alone(backbone: PipelineBackbone, request: Request, prefix: str = "", **more: Any) -> Any:
    """Run a pipeline's `encode_prompt` that reads the prompts or the negative prompts, but not both at once.

    Args:
        backbone: of the family.
        request: what the images show.
        prefix: `NEGATIVE` for the negative prompts, which are empty if there are none.
        more: further arguments of the family's method.

    Returns:
        What the method returns, or the embeddings that were given in its place: of tokens, and the pooled one.

    Raises:
        ConfigError: if the pipeline has no text encoder for them.
    """
    device, given = backbone.device, request.text_embeds
    if f"{prefix}prompt_embeds" in given:
        names = (f"{prefix}prompt_embeds", f"{prefix}pooled_prompt_embeds")
        return tuple(given[name].to(device) for name in names if name in given)
    require_encoders(backbone, f"{prefix}prompt")
    prompts = (request.negative_prompts or [""] * len(request.prompts)) if prefix else request.prompts
    if "prompt_embeds" in given:  # both are as long as each other in one batch
        more["max_sequence_length"] = min(given["prompt_embeds"].shape[1], more["max_sequence_length"])
    return backbone.pipe.encode_prompt(prompt=list(prompts), device=device, **more)


def before_prompt(tokenizer: Any, system: str | None = None, **more: Any) -> str:
    """Return what a tokenizer's template of conversations puts before the user's turn.

    Args:
        tokenizer: one with a template.
        system: what the system says first, with which messages are lists of parts; None is nothing.
        more: further variables of the template.
    """

    def conversation(prompt: str) -> str:
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        if system is not None:
            turns = (("system", system), ("user", prompt))
            messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        told: str = tokenizer.apply_chat_template(messages, tokenize=False, **more)
        return told

    alike = takewhile(lambda pair: pair[0] == pair[1], zip(conversation("a"), conversation("b"), strict=False))
    return "".join(letter for letter, _ in alike)


def without_last_layers(pipe: Any, prompts: Sequence[str], clip_skip: int, device: torch.device) -> Tensor:
    """Encode prompts by the hidden states of Stable Diffusion's text encoder before its last layers.

    Diffusers' pipelines look for the last normalisation where transformers 5 has it no longer.

    Args:
        pipe: a pipeline of Stable Diffusion 1.x or 2.x.
        prompts: one for each image.
        clip_skip: the number of layers that are left out.
        device: of the text encoder.

    Raises:
        ConfigError: if the encoder has fewer layers.
    """
    tokenizer, encoder = pipe.tokenizer, pipe.text_encoder
    texts = pipe.maybe_convert_prompt(list(prompts), tokenizer)
    length = tokenizer.model_max_length
    tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").to(device)
    mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    states = encoder(tokens.input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
    if clip_skip >= len(states):
        raise _too_many(clip_skip)
    embeds: Tensor = getattr(encoder, "text_model", encoder).final_layer_norm(states[-(clip_skip + 1)])
    return embeds


def require_one_length(positive: Mapping[str, Tensor], negative: Mapping[str, Tensor]) -> None:
    """Check that the embeddings of prompts have as many tokens as those of negative ones.

    Raises:
        ConfigError: if they have not; a guided prediction runs both in one batch.
    """
    for name, embeddings in positive.items():
        if embeddings.shape[1:] != negative[name].shape[1:]:
            raise ConfigError(
                f"the embeddings of the prompts have {embeddings.shape[1]} tokens, those of the negative prompts "
                f"{negative[name].shape[1]}",
                argument="negative_prompt_embeds",
                remedy=(
                    "give both in one length: ",
                    Argument("prompt_embeds"),
                    " and ",
                    Argument("negative_prompt_embeds"),
                ),
            )


def require_encoders(backbone: PipelineBackbone, prompt: str) -> None:
    """Check that the pipeline can read prompts.

    Args:
        backbone: of the family.
        prompt: what is to be read, "prompt" or "negative_prompt".

    Raises:
        ConfigError: if a text encoder or a tokenizer is missing.
    """
    missing = [name for name in backbone.encoders if getattr(backbone.pipe, name, None) is None]
    if not missing:
        return
    prefix, remedy = prompt.removesuffix("prompt"), tuple[Part, ...](("load its text encoders",))
    if backbone.text_widths is not None:
        pooled = backbone.text_widths[1] is not None
        also = (" and ", Argument(f"{prefix}pooled_prompt_embeds")) if pooled else ()
        remedy = ("give ", Argument(f"{prefix}prompt_embeds"), *also, " in its place, or ", *remedy)
    raise ConfigError(
        f"the pipeline has no {' and no '.join(missing)} to read a {prompt.replace('_', ' ')} with",
        argument=prompt,
        remedy=remedy,
    )


def _too_many(clip_skip: int) -> ConfigError:
    return ConfigError(
        Argument("clip_skip", clip_skip),
        " leaves out more layers than the text encoder has",
        remedy=("use a lower ", Argument("clip_skip")),
    )
