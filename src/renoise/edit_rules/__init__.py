"""Rules by which an edit walks from the noise to the image.

At every sampler step the walk hands an edit rule what it needs and takes the next latent from it. A rule is a frozen
dataclass with a method `advance`; `renoise.Editor.edit` takes one as `rule`. docs/extending.md adds another one.
"""

from renoise.edit_rules.base import EditRule, EditStep, PlainSampling, SourceStep, TellingRule, require_rule
from renoise.edit_rules.changes import KEEP, Changes, require_changes
from renoise.edit_rules.masks import Masked
from renoise.edit_rules.structure import DEFAULT_STRENGTH, KeepNothing, KeepStructure

__all__ = [
    "DEFAULT_STRENGTH",
    "KEEP",
    "Changes",
    "EditRule",
    "EditStep",
    "KeepNothing",
    "KeepStructure",
    "Masked",
    "PlainSampling",
    "SourceStep",
    "TellingRule",
    "require_changes",
    "require_rule",
]
