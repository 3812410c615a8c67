"""Edit rules of other authors, and an earlier one of this project, to compare with `renoise.edit_rules`.

All of them want an inversion that kept the source's walk, and work with every sampler and family.
"""

from renoise.evaluation.outside.edit_rules.disagreement import Disagreement
from renoise.evaluation.outside.edit_rules.masks import AutomaticMask
from renoise.evaluation.outside.edit_rules.noises import ReleasedNoises
from renoise.evaluation.outside.edit_rules.predictions import Anchoring, Fusion, Gain

__all__ = ["Anchoring", "AutomaticMask", "Disagreement", "Fusion", "Gain", "ReleasedNoises"]
