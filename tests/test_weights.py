"""Telling numbers: of plain weights a value, of others what their bytes say, and never an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quantised import Wrapped
from renoise.weights import DIGEST_BYTES, described, is_matrix, is_plain, telling


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_a_plain_weight_tells_its_middle_value(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to(dtype), requires_grad=False)
    assert is_plain(weight)
    assert (telling(weight), described(weight)) == ([3.0], "(2, 2)")


def quantised(seed: int = 0) -> dict[str, Tensor]:
    codes = torch.randint(-128, 128, (8, 8), generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    scale = torch.rand(8, 1, generator=torch.Generator().manual_seed(seed))
    return {
        "integers": codes,
        "bytes": codes.view(torch.uint8),
        "subclass": codes.as_subclass(type("Blocks", (Tensor,), {})),
        "wrapper": Wrapped(codes, scale),
        "wrapper in a wrapper": Wrapped(Wrapped(codes, scale), scale),
        "transposed": codes.t(),
        "sparse": codes.float().to_sparse_csr().values().to(torch.int32),
    }


@pytest.mark.parametrize("sort", quantised())
def test_another_weight_tells_its_bytes(sort: str) -> None:
    weight = quantised()[sort]
    numbers = telling(weight)
    assert len(numbers) == DIGEST_BYTES
    assert all(0.0 <= number <= 255.0 for number in numbers)
    assert numbers == telling(quantised()[sort])
    assert numbers != telling(quantised(seed=1)[sort])
    assert described(weight) != str(tuple(weight.shape))


def test_one_changed_code_or_scale_makes_another_weight() -> None:
    codes, scale = torch.zeros(64, 64, dtype=torch.int8), torch.ones(64, 1)
    plain = telling(Wrapped(codes, scale))
    codes[17, 3] = 1
    changed = telling(Wrapped(codes, scale))
    assert changed != plain
    assert telling(Wrapped(codes, 2.0 * scale)) != changed


def test_packing_the_halves_of_bytes_anew_changes_nothing() -> None:
    halves = torch.randint(0, 16, (64,), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    packed = [
        rows[0] * 16 + rows[1] for rows in (halves.view(-1, 2).t(), halves.view(2, -1), halves.view(2, -1).flip(0))
    ]
    assert telling(packed[0]) == telling(packed[1]) == telling(packed[2])


class Broken(Tensor):
    """A weight with which nothing can be done."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class Opaque(Wrapped):
    """A wrapper whose inner tensors cannot be had."""

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        raise NotImplementedError


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(4, 4, device="meta"),
        torch.zeros(4, 4, device="meta", dtype=torch.int8),
        torch.zeros(0, 4),
        torch.zeros(0, 4, dtype=torch.int8),
        Opaque(torch.zeros(2, 2, dtype=torch.int8), torch.ones(1)),
        Wrapped(torch.zeros(2, 2, device="meta", dtype=torch.int8), torch.ones(1)),
        nn.UninitializedParameter(),
        torch.zeros(4, 4).to_sparse(),
    ],
    ids=lambda weight: type(weight).__name__,
)
def test_what_cannot_be_read_tells_nothing(weight: Tensor) -> None:
    assert telling(weight) == []
    assert isinstance(described(weight), str)
    assert isinstance(is_matrix(weight), bool)


def test_no_operation_of_a_weights_class_is_needed() -> None:
    weight = torch.ones(2, 2, dtype=torch.int8).as_subclass(Broken)
    assert isinstance(telling(weight), list)
    assert "Broken" in described(weight)
    assert isinstance(is_matrix(weight), bool)
