"""The rows of the run `frontier`: what a reconstruction costs and gives, by every way to invert that there is."""

from __future__ import annotations

from dataclasses import replace

from renoise import Renoising
from renoise.evaluation.methods import ReNoise
from renoise.evaluation.outside import DDIMInverse, EditFriendly, NegativePrompt, NullPrompt
from renoise.evaluation.rows import Presets, Row

# The presets that others described; every other one is this project's.
OF_OTHERS = ("paper", "released", "reverse")
# The numbers of renoising iterations, with the last prediction alone.
ITERATIONS = (1, 2, 4, 9)


def own_presets(presets: Presets) -> Presets:
    """Return the presets of this project, by their variants."""
    return {variant: preset for variant, preset in presets.items() if variant not in OF_OTHERS}


def frontier_rows(presets: Presets) -> tuple[Row, ...]:
    """Return the rows for a model: this project's presets, reversing, the paper's iteration, and others' methods."""
    paper, plain = presets["paper"], presets["paper"].reversing()
    iterating = f"the paper's iteration, K = {', '.join(map(str, ITERATIONS))}"
    own = own_presets(presets)
    ours = f"this project's presets: {', '.join(own)}"
    return (
        *(Row(f"preset {variant}", ReNoise(preset), series=ours) for variant, preset in own.items()),
        Row("sampler reversing", ReNoise(plain)),
        *(
            Row(f"the paper's iteration, K = {k}", ReNoise(replace(plain, renoising=Renoising(k))), series=iterating)
            for k in ITERATIONS
        ),
        Row("the paper's preset", ReNoise(paper)),
        Row("DDIM inversion of diffusers", DDIMInverse(paper.num_steps)),
        Row("edit-friendly DDPM inversion", EditFriendly(paper.num_steps, scheduler=None, seed=paper.seed)),
        Row("negative-prompt inversion", NegativePrompt(plain)),
        Row("null-prompt inversion", NullPrompt(plain)),
    )
