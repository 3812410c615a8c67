"""The sampler with which a loaded model is inverted, whatever it was saved with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from renoise import Editor, InversionConfig, Renoising, SchedulerError
from tiny_pipelines import BUILDERS

CONFIG = InversionConfig(num_steps=2, renoising=Renoising(0))
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def saved(folder: Path, name: str, scheduler: str, **changes: Any) -> Path:
    pipe: Any = BUILDERS[name]()
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config, **changes)
    pipe.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"sampler": "flow-euler"}])
@pytest.mark.parametrize(
    ("scheduler", "changes", "shift"),
    [
        ("DPMSolverMultistepScheduler", {**FLOW, "flow_shift": 3.0}, 3.0),
        ("UniPCMultistepScheduler", {**FLOW, "flow_shift": 5.0}, 5.0),
        ("FlowMatchHeunDiscreteScheduler", {}, 3.0),
        # Saved with a sampler of another kind, which keeps what the model's own sampler was.
        ("DPMSolverMultistepScheduler", {}, 3.0),
        ("DDIMScheduler", {}, 3.0),
    ],
)
def test_a_flow_keeps_its_shift(
    tmp_path: Path, scheduler: str, changes: dict[str, Any], shift: float, options: dict[str, str]
) -> None:
    editor = Editor.from_pretrained(saved(tmp_path, "sd3-no-t5", scheduler, **changes), device="cpu", **options)
    assert type(editor.pipe.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    assert editor.pipe.scheduler.shift == shift
    own: Any = BUILDERS["sd3-no-t5"]()
    own.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    assert editor.timesteps(CONFIG) == Editor(own).timesteps(CONFIG)
    editor.invert(torch.rand(3, 64, 64), "a", config=CONFIG)


def test_a_flow_sampled_by_consistency_keeps_its_sampler(tmp_path: Path) -> None:
    folder = saved(tmp_path, "sd3-no-t5", "FlowMatchLCMScheduler", shift=4.0)
    editor = Editor.from_pretrained(folder, device="cpu")
    assert type(editor.pipe.scheduler).__name__ == "FlowMatchLCMScheduler"
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    inversion = editor.invert(image, "a", config=editor.config("exact", num_steps=4))
    torch.testing.assert_close(editor.reconstruct(inversion, "latent"), editor.encode(image), rtol=1e-2, atol=1e-2)
    euler = Editor.from_pretrained(folder, device="cpu", sampler="flow-euler").pipe.scheduler
    assert (type(euler).__name__, euler.shift) == ("FlowMatchEulerDiscreteScheduler", 4.0)


@pytest.mark.parametrize("scheduler", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_a_dynamic_shift_is_kept(tmp_path: Path, scheduler: str) -> None:
    own = Editor(BUILDERS["flux-dev"]())
    editor = Editor.from_pretrained(saved(tmp_path, "flux-dev", scheduler, **FLOW), device="cpu")
    for size in ((64, 64), (128, 64)):
        assert editor.timesteps(CONFIG, size) == own.timesteps(CONFIG, size)
    assert editor.timesteps(CONFIG, (512, 512)) != own.timesteps(CONFIG, (64, 64))


def test_a_flow_without_a_word_about_its_levels_is_refused(tmp_path: Path) -> None:
    pipe: Any = BUILDERS["sd3-no-t5"]()
    pipe.scheduler = diffusers.PNDMScheduler()
    pipe.save_pretrained(tmp_path)
    with pytest.raises(SchedulerError, match=r"PNDMScheduler samples models of diffusion .* published with"):
        Editor.from_pretrained(tmp_path, device="cpu")
    # As the error advises:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert Editor.from_pretrained(tmp_path, device="cpu", scheduler=scheduler).pipe.scheduler.shift == 3.0
    with pytest.raises(SchedulerError, match=r"two kinds of models, flow matching and EDM"):
        Editor.from_pretrained(tmp_path, device="cpu", scheduler=scheduler, sampler="edm-euler")


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler"])
def test_a_diffusion_model_keeps_its_betas(tmp_path: Path, scheduler: str) -> None:
    editor = Editor.from_pretrained(saved(tmp_path, "sd21-v", scheduler), device="cpu")
    own = BUILDERS["sd21-v"]().scheduler
    assert type(editor.pipe.scheduler).__name__ == "DDIMScheduler"
    assert torch.equal(editor.pipe.scheduler.alphas_cumprod, own.alphas_cumprod)
    assert editor.pipe.scheduler.config.prediction_type == "v_prediction"
