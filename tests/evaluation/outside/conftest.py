"""Latents that methods of others invert."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


@pytest.fixture
def z_0() -> Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
