"""Other authors' methods, behind the interface of `renoise.evaluation.methods`, to compare with."""

from renoise.evaluation.outside.ddim_inverse import DDIMInverse
from renoise.evaluation.outside.edit_friendly import EditFriendly
from renoise.evaluation.outside.unguided import NegativePrompt, NullPrompt

__all__ = ["DDIMInverse", "EditFriendly", "NegativePrompt", "NullPrompt"]
