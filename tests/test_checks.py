"""Checks of tensors from outside or from a network: each error says what was expected and what came."""

from __future__ import annotations

import pytest
import torch

from renoise import ConfigError, NumericalError
from renoise.checks import dtype_name, require_finite, require_latents, require_noise, require_numbers


def test_latents_and_noises_that_fit_pass() -> None:
    require_latents(torch.zeros(2, 4, 8, 6), 4, multiple=2)
    require_noise(torch.zeros(3, 2, 4, 8, 8), (3, 2, 4, 8, 8))
    require_finite(torch.zeros(3), "a latent")


@pytest.mark.parametrize(
    ("latents", "found"),
    [
        (torch.zeros(4, 8, 8), r"\(4, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"\(1, 3, 8, 8\)"),
        (torch.zeros(0, 4, 8, 8), r"\(0, 4, 8, 8\)"),
        ([[0.0]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_latent_is_refused(latents: object, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"\(B, 4, h, w\), not {found}"):
        require_latents(latents, 4)


def test_sides_have_to_fit_the_networks_patches() -> None:
    with pytest.raises(ConfigError, match="multiples of 2"):
        require_latents(torch.zeros(1, 4, 8, 7), 4, multiple=2)


def test_noises_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(num_steps, B, C, h, w\) = \(3, 1, 4, 8, 8\), not \(2, 1, 4, 8, 8\)"):
        require_noise(torch.zeros(2, 1, 4, 8, 8), (3, 1, 4, 8, 8))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_an_error(value: float) -> None:
    tensor = torch.zeros(1, 4, 8, 8)
    tensor[0, 2, 3, 4] = value
    with pytest.raises(NumericalError, match=r"NaN or infinity in the latent \(network in float16\); use float32"):
        require_finite(tensor, "the latent", "network in float16", "use float32")


def test_precisions_have_the_names_that_people_use() -> None:
    assert [dtype_name(t) for t in (torch.float16, torch.bfloat16)] == ["float16", "bfloat16"]


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.zeros(1, 4, 8, 8, dtype=torch.complex64), "complex"),
        (torch.zeros(1, 4, 8, 8, device="meta"), "without numbers"),
        (torch.zeros(1, 4, 8, 8).to_sparse(), "sparse"),
    ],
)
def test_tensors_without_real_numbers_in_memory_are_refused(tensor: torch.Tensor, kind: str) -> None:
    words = f"latents must be a dense tensor of real numbers, not one that is {kind}"
    with pytest.raises(ConfigError, match=words):
        require_numbers(tensor, "latents")
    with pytest.raises(ConfigError, match=words):
        require_latents(tensor, 4)
