"""Pictures as the model sees them, and as what they are to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from renoise import images
from renoise.editor import Editor
from renoise.evaluation import data
from renoise.evaluation.edit_metrics import fit_mask
from renoise.evaluation.judges import Judges

# What a picture is drawn as: with a target prompt, or with its own for None.
Targets = tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures that are worked on at a time.

    Attributes:
        examples: the pictures in their data set.
        targets: what each of them is drawn as, equally many.
        truth: the fitted pictures, (B, 3, H, W) in [0, 1].
        z_0: encoded, (B, C, h, w).
        round_trip: encoded and decoded, which bounds a reconstruction, (B, 3, H, W).
        masks: where an edit may change them, boolean (H, W); None where the data does not say.
        structure: their self-similarities (B, T, T); None without a judge of edits that needs them.
    """

    examples: Sequence[data.Example]
    targets: Sequence[Targets]
    truth: Tensor
    z_0: Tensor
    round_trip: Tensor
    masks: Sequence[Tensor | None]
    structure: Tensor | None

    @classmethod
    def of(cls, editor: Editor, examples: Sequence[data.Example], targets: Sequence[Targets], judges: Judges) -> Batch:
        """Fitted to a model and encoded.

        Raises:
            ImageError: if a picture cannot be read.
            ConfigError: if a mask does not fit its picture.
            NumericalError: if the autoencoder overflows.
        """
        pictures = [images.load(e.picture) for e in examples]
        fitted = editor.fit(pictures)
        truth = images.to_tensor(fitted)
        masks = [
            None if e.mask is None else fit_mask(e.mask, (p.height, p.width), editor.size)
            for e, p in zip(examples, pictures, strict=True)
        ]
        structure = None if judges.dino is None else judges.dino.self_similarity(truth)
        z_0 = editor.encode(fitted)
        return cls(examples, targets, truth, z_0, editor.decode(z_0, "pt").cpu(), masks, structure)

    def with_targets(self, targets: Mapping[str, Targets]) -> list[Batch]:
        """The pictures that have any of these targets, by their names, in batches with equally many each."""
        own = [targets[e.name] for e in self.examples]
        counts = sorted({len(t) for t in own} - {0})
        wholes = ([i for i, t in enumerate(own) if len(t) == count] for count in counts)
        return [self._part(wanted, [own[i] for i in wanted]) for wanted in wholes]

    @property
    def drawings(self) -> int:
        """How many pictures are drawn, of all pictures and targets."""
        return sum(map(len, self.targets))

    def divided(self) -> list[Batch]:
        """Every picture alone, or, of a single picture, every target alone."""
        if len(self.examples) > 1:
            return [self._part([i], [own]) for i, own in enumerate(self.targets)]
        return [replace(self, targets=[(target,)]) for target in self.targets[0]]

    def _part(self, wanted: list[int], targets: Sequence[Targets]) -> Batch:
        return Batch(
            [self.examples[i] for i in wanted],
            targets,
            self.truth[wanted],
            self.z_0[wanted],
            self.round_trip[wanted],
            [self.masks[i] for i in wanted],
            None if self.structure is None else self.structure[wanted],
        )
