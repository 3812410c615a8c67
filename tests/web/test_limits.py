from __future__ import annotations

from typing import Any

import pytest

from renoise import ConfigError
from renoise.web.limits import Limits


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"pixels": -1}, {"targets": 1.5}, {"cache_bytes": 2**60}])
def test_a_limit_that_is_none_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Limits(**wrong)
