"""The forms in which files hold the change of a layer's weight: LoHa, LoKr, Tucker, full differences, and LoRA.

With the weight W of a layer, the formulas of the change are

- LoRA: B A, and for a convolution with Tucker's core T: sum over p, q of B[o, p] T[p, q] A[q, i] (LoCon);
- LoHa: (B1 A1) * (B2 A2), element by element (Hyeon-Woo et al., 2022, arXiv 2108.06098);
- LoKr: the Kronecker product of W1 and W2, each whole or a product of two factors (Yeh et al., 2024, arXiv 2309.14859);
- a full difference: the change itself.

All but the full difference are scaled by alpha over the rank; a LoKr of two whole factors is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Factors = Mapping[str, Tensor]

# The names that the ends of tensors' names stand for.
_ENDS = {
    **{f".hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f".lokr_{name}": f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")},
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".diff": "diff",
    ".diff_b": "bias",
    ".w_norm": "diff",
    ".b_norm": "bias",
    ".alpha": "alpha",
    ".dora_scale": "magnitudes",
}
# Marks of what diffusers does not read, or reads for some families only.
MARKS = (".hada_", ".lokr_", ".lora_mid.", ".diff", ".w_norm", ".b_norm", ".dora_scale", "lycoris_")


@dataclass(frozen=True)
class Form:
    """What a file holds of one layer, or of several that it holds as one.

    Attributes:
        kind: "hada", "lokr", "mid" (LoRA with Tucker's core), "pair" (LoRA) or "diff".
        factors: the factors of the change, by their names in the formulas of `whole`.
        scale: the number by which the change is multiplied.
        bias: the change of the bias, of shape (out,); None if there is none.
        magnitudes: those of a DoRA; None if it is none.
    """

    kind: str
    factors: Factors
    scale: float = 1.0
    bias: Tensor | None = None
    magnitudes: Tensor | None = None

    @property
    def outputs(self) -> int:
        """The number of rows of the change."""
        f, tucker = self.factors, 1 if {"hada_t1", "lokr_t2"} & set(self.factors) else 0
        if self.kind == "hada":
            return f["hada_w1_a"].shape[tucker]
        if self.kind == "lokr":
            first = f["lokr_w1"] if "lokr_w1" in f else f["lokr_w1_a"]
            second = f["lokr_w2"].shape[0] if "lokr_w2" in f else f["lokr_w2_a"].shape[tucker]
            return first.shape[0] * second
        rows = f.get("diff", self.bias) if self.kind == "diff" else f["up"]
        return 0 if rows is None else rows.shape[0]

    @property
    def rank(self) -> int:
        """The rank by which alpha is divided; 1 where there is none."""
        core = next(
            (self.factors[n] for n in ("hada_w1_b", "lokr_w2_b", "lokr_w1_b", "down") if n in self.factors), None
        )
        return 1 if core is None else core.shape[0]

    @property
    def changes_nothing(self) -> bool:
        """Whether the change is 0: it is as soon as one factor is."""
        held = self.bias is None or not bool(self.bias.any())
        return held and (not self.factors or any(not bool(factor.any()) for factor in self.factors.values()))

    def fits(self, shape: Sequence[int]) -> bool:
        """Tell whether the change has the shape (out, in, ...), without computing it."""
        try:
            made = whole(self.kind, {name: factor.to("meta") for name, factor in self.factors.items()}, shape)
        except (RuntimeError, IndexError, ValueError):  # factors that do not fit one another, or the shape
            return False
        return tuple(made.shape) == tuple(shape) and (self.bias is None or self.bias.shape == (shape[0],))


class Read(NamedTuple):
    """What a file holds.

    Attributes:
        forms: the forms by the names of their layers, as the file writes them.
        left: the names of tensors that belong to no form.
        incomplete: a layer whose factors are not complete; None if there is none.
    """

    forms: dict[str, Form]
    left: list[str]
    incomplete: str | None


def read(tensors: Mapping[str, Tensor]) -> Read:
    """Read the forms of all the layers in a file.

    Args:
        tensors: the tensors of the file, by name.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    left: list[str] = []
    for name, tensor in tensors.items():
        end = next((end for end in sorted(_ENDS, key=len, reverse=True) if name.endswith(end)), None)
        if end is None:
            left.append(name)
        else:
            layers.setdefault(name.removesuffix(end), {})[_ENDS[end]] = tensor
    forms: dict[str, Form] = {}
    for layer, found in layers.items():
        form = _form(found)
        if form is None:
            return Read({}, [], layer)
        forms[layer] = form
    return Read(forms, left, None)


def _form(found: dict[str, Tensor]) -> Form | None:
    """Return the form that some factors make together; None if they make none."""
    factors = dict(found)
    alpha, bias, magnitudes = (factors.pop(name, None) for name in ("alpha", "bias", "magnitudes"))
    kind = next((kind for kind, complete in _COMPLETE.items() if complete(set(factors))), None)
    if kind is None or (not factors and bias is None):
        return None
    # Of these alone a vector is a change: that of a norm's weight.
    if any(factor.ndim < (1 if name == "diff" else 2) for name, factor in factors.items()):
        return None
    form = Form(kind, factors, 1.0, bias, magnitudes)
    scaled = alpha is not None and kind != "diff" and not {"lokr_w1", "lokr_w2"} <= set(factors)
    return Form(kind, factors, float(alpha) / form.rank, bias, magnitudes) if scaled and alpha is not None else form


def _is_lokr(names: set[str]) -> bool:
    first = names & {"lokr_w1", "lokr_w1_a", "lokr_w1_b"}
    second = names - first
    halves = {"lokr_w2_a", "lokr_w2_b"}
    return first in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}) and second in ({"lokr_w2"}, halves, {*halves, "lokr_t2"})


_HADA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
# Which names of factors are all those of a form.
_COMPLETE: Mapping[str, Callable[[set[str]], bool]] = {
    "hada": lambda names: names in (_HADA, {*_HADA, "hada_t1", "hada_t2"}),
    "lokr": _is_lokr,
    "mid": lambda names: names == {"down", "mid", "up"},
    "pair": lambda names: names == {"down", "up"},
    "diff": lambda names: names in ({"diff"}, set()),
}


def whole(kind: str, factors: Factors, shape: Sequence[int]) -> Tensor:
    """Return a change at full strength, without its scale.

    Args:
        kind: the form, as in `Form`.
        factors: its factors.
        shape: the shape of the weight that is changed, (out, in) or (out, in, height, width).

    Raises:
        RuntimeError: if the factors do not fit one another or the shape.
    """
    f = factors
    if kind == "hada":
        return _half(f, "hada_w1", "hada_t1", shape) * _half(f, "hada_w2", "hada_t2", shape)
    if kind == "lokr":
        first = f["lokr_w1"] if "lokr_w1" in f else f["lokr_w1_a"] @ f["lokr_w1_b"]
        rows, columns = shape[0] // first.shape[0], shape[1] // first.shape[1]
        inner = (rows, columns, *shape[2:])
        second = f["lokr_w2"].reshape(inner) if "lokr_w2" in f else _half(f, "lokr_w2", "lokr_t2", inner)
        return torch.kron(first.reshape(*first.shape, *(1 for _ in shape[2:])), second.contiguous())
    if kind == "mid":
        return torch.einsum("op,pqhw,qi->oihw", f["up"].flatten(1), f["mid"], f["down"].flatten(1))
    if kind == "pair":
        return (f["up"].flatten(1) @ f["down"].flatten(1)).reshape(tuple(shape))
    return f["diff"].reshape(tuple(shape)) if f else torch.zeros(tuple(shape))


def _half(factors: Factors, name: str, core: str, shape: Sequence[int]) -> Tensor:
    """Return the product of two factors, around Tucker's core if there is one."""
    outer, inner = factors[f"{name}_a"], factors[f"{name}_b"]
    if core in factors:
        return torch.einsum("pqhw,po,qi->oihw", factors[core], outer, inner)
    return (outer @ inner).reshape(tuple(shape))
