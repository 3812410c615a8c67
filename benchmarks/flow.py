"""How many network passes a flow model needs, measured on the bundled model seen as one.

    python benchmarks/flow.py [--limit 32] [--schedules sd3 flux-schnell] [--iterations 0 1 2 3 4 6 9]

There are no weights of a flow model at hand, but the straight path z_s = (1 - s) x0 + s eps of flow matching and the
path of a diffusion model differ by a scale alone: at equal signal-to-noise ratio they hold the same noisy image
(Lipman et al., 2023, arXiv 2210.02747; Kingma and Gao, 2023, arXiv 2303.00848). So mini's estimate of x0 gives the
velocity (z_s - x0) / s, and the flow-matching sampler runs on real weights with the schedules of SD3 (28 steps, shift
3), Flux dev (28 steps, shifted for 1024 x 1024 pixels) and Flux schnell (4 steps). The Lipschitz constant, which
decides how fast the fixed point is found, is that of a small model.

PSNR is the mean over the first held-out images, against the autoencoder's round trip (with its 5th percentile) and
against the image; passes are the mean and the most of one image. The project's presets come first, then the paper's
iteration: rows with an average take the last two or three predictions with equal weights.
"""

from __future__ import annotations

import argparse
import copy
import json
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import renoise_mini
from renoise import Editor, InversionConfig, Renoising, images, presets
from renoise.backbones import FAMILIES, Condition, Schedule
from renoise.backbones.unet import StableDiffusionBackbone
from renoise.config import OWN_VARIANTS
from renoise.quality import psnr
from renoise.steps import Step

# Steps, the scheduler's settings, and whether the noise levels are spaced as Flux's pipeline does it.
SCHEDULES: dict[str, tuple[int, dict[str, Any], bool]] = {
    "sd3": (28, {"shift": 3.0}, False),
    "flux": (28, {"shift": float(np.exp(1.15))}, True),
    "flux-schnell": (4, {"shift": 1.0}, True),
}


class FlowView(StableDiffusionBackbone):
    """Stable Diffusion's epsilon prediction as the velocity of a flow."""

    flow = True

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        alphas = pipe.diffusion_scheduler.alphas_cumprod.double()
        self._alphas = alphas.numpy()
        self._levels = ((1 - alphas) / alphas).sqrt().log().numpy()

    def schedule(self, scheduler: Any, num_steps: int, size: tuple[int, int]) -> Schedule:
        """Flux's pipeline spaces the noise levels itself."""
        if not self.pipe.evenly_spaced:
            return {}
        return {"sigmas": np.linspace(1.0, 1.0 / num_steps, num_steps).tolist()}

    def predict(self, latents: Tensor, step: Step, condition: Condition) -> Tensor:
        """The velocity at z_s, from the network's epsilon at the timestep with the same signal-to-noise ratio."""
        s = step.sigma
        level = np.log(s / (1 - s)) if s < 1 else np.inf
        # Beyond the noisiest timestep the network takes pure noise for that one, as it does when it draws.
        timestep = float(np.interp(level, self._levels, np.arange(len(self._levels))))
        alpha = float(np.exp(np.interp(timestep, np.arange(len(self._alphas)), np.log(self._alphas))))
        z = latents / (s**2 + (1 - s) ** 2) ** 0.5
        eps = super().predict(z, Step(1.0, 0.0, 0.0, timestep), condition)
        x0 = (z - (1 - alpha) ** 0.5 * eps) / alpha**0.5
        velocity: Tensor = (latents - x0) / s
        return velocity


def flow_editor(editor: Editor, shift: dict[str, Any], evenly_spaced: bool) -> Editor:
    """The same model behind a flow-matching sampler."""
    pipe = copy.copy(editor.pipe)
    pipe.__class__ = type("FlowViewPipeline", (type(editor.pipe),), {})
    # Past the pipeline's own bookkeeping, which takes components alone.
    vars(pipe).update(diffusion_scheduler=editor.pipe.scheduler, evenly_spaced=evenly_spaced)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(**shift)
    return Editor(pipe)


def renoisings(counts: list[int]) -> list[Renoising]:
    """The last prediction alone, and averages of the last two or three."""
    averages = [Renoising(k, average=(k + 1 - n, k + 1)) for k in counts for n in (2, 3) if k + 1 >= n]
    return [*(Renoising(k) for k in counts), *averages]


def main() -> None:
    """Print a Markdown table for each schedule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=32, help="number of held-out images")
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--iterations", type=int, nargs="+", default=[0, 1, 2, 3, 4, 6, 9])
    options = parser.parse_args()

    FAMILIES["FlowViewPipeline"] = FlowView
    held_out = renoise_mini.path("heldout")
    entries = [json.loads(line) for line in (held_out / "captions.jsonl").read_text().splitlines()][: options.limit]
    files, captions = [held_out / entry["file"] for entry in entries], [entry["caption"] for entry in entries]
    mini = Editor.from_pretrained("mini")
    z_0, picture = mini.encode(files), images.to_tensor(mini.fit(files))
    round_trip = mini.decode(z_0, "pt").cpu()
    print(f"{len(entries)} held-out images; round trip {psnr(round_trip, picture).mean():.1f} dB")
    for name in options.schedules:
        num_steps, shift, evenly_spaced = SCHEDULES[name]
        editor = flow_editor(mini, shift, evenly_spaced)
        print(f"\n{name}: {num_steps} steps\n")
        print("| settings | passes | most | against the round trip | 5 % | against the image | largest residual |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        rows = [(f"`{variant}`", presets[name].variant(variant, flow=True)) for variant in OWN_VARIANTS]
        for renoising in renoisings(options.iterations):
            averaged = (
                "" if renoising.average is None else f", average of {renoising.average[1] - renoising.average[0]}"
            )
            config = InversionConfig(num_steps=num_steps, renoising=renoising)
            rows.append((f"K = {renoising.iterations}{averaged}", config))
        for label, config in rows:
            inversion = editor.invert(latents=z_0, prompt=captions, config=config)
            again = editor.reconstruct(inversion, "pt").cpu()
            true = psnr(again, round_trip)
            print(
                f"| {label} | {inversion.passes.float().mean():.1f} | {inversion.network_passes} | {true.mean():.1f} | "
                f"{true.quantile(0.05):.1f} | {psnr(again, picture).mean():.1f} | "
                f"{float(inversion.residuals.mean(1).max()):.2g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
