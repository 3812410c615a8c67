"""Methods of others, behind the interface of `renoise.evaluation.methods`, to compare with."""

from renoise.evaluation.outside.ddim_inverse import DDIMInverse
from renoise.evaluation.outside.edit_friendly import EditFriendly
from renoise.evaluation.outside.negative_prompt import NegativePrompt
from renoise.evaluation.outside.null_prompt import NullPrompt

__all__ = ["DDIMInverse", "EditFriendly", "NegativePrompt", "NullPrompt"]
