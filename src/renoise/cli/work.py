"""The work behind the commands: load, invert, reconstruct, measure, edit, with the network passes counted."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.cli.options import DEFAULT_MODEL, ModelChoice, Reporting
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Stage, Terminal
from renoise.errors import AssumedSamplingWarning, ConfigError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from renoise.config import InversionConfig
    from renoise.editor import Editor
    from renoise.inversion import Inversion
    from renoise.model import Prepared
    from renoise.quality import Quality


class Work:
    """An editor with its terminal and its counts.

    Attributes:
        editor: the loaded model.
        model: its name.
        passes: network passes by what they were for: inversion, reconstruction, editing.
        loading_seconds: how long loading took.
    """

    def __init__(self, editor: Editor, model: str, terminal: Terminal, loading_seconds: float) -> None:
        self.editor = editor
        self.model = model
        self.passes: Counter[str] = Counter()
        self.loading_seconds = loading_seconds
        self._terminal = terminal
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds since the model was loaded."""
        return time.perf_counter() - self._started

    def stage(self, description: str) -> AbstractContextManager[Stage]:
        """Show what is being done, for as long as it is done."""
        return self._terminal.stage(description)

    def note(self, text: str) -> None:
        """Say something in a separate line on standard error."""
        self._terminal.note(text)

    def invert(
        self,
        image: Image.Image,
        prompt: str,
        negative_prompt: str | None,
        config: InversionConfig,
        fit: str,
        edit_data: str | None = None,
        mask: Image.Image | None = None,
    ) -> tuple[Prepared, Inversion]:
        """Find the noise of an image; the prepared image serves all that is done with it afterwards.

        A mask that does not fit the image is refused before the network works.
        """
        from renoise import masks

        with self.stage("inverting") as stage:
            self.editor.timesteps(config)  # refuses what cannot be inverted before the autoencoder works for it
            prepared = self.editor.prepare(image, fit)
            if mask is not None:
                masks.read(mask, prepared.fits, self.editor.model.pixels(prepared.latents))
            inversion = self.editor.invert(
                prepared, prompt, config=config, negative_prompt=negative_prompt, edit_data=edit_data, progress=stage
            )
            self.passes["inversion"] += inversion.network_passes
        return prepared, inversion

    def prepare_like(self, inversion: Inversion, image: Image.Image) -> Prepared:
        """Bring the image of an inversion to the model as it was brought there then."""
        with self.stage("encoding"):
            return self.editor.prepare_like(inversion, image)

    def reconstruct(self, inversion: Inversion, *, force: bool = False) -> Tensor:
        """Draw the image again, as pixels (1, 3, H, W) in [0, 1]."""
        with self.stage("reconstructing") as stage:
            pixels: Tensor = self.editor.reconstruct(inversion, "pt", progress=stage, force=force)
            self.passes["reconstruction"] += stage.passes
        return pixels

    def quality(self, prepared: Prepared, reconstruction: Tensor) -> Quality:
        """Compare a reconstruction with its image and with the autoencoder's round trip."""
        with self.stage("measuring"):
            return self.editor.quality(prepared, reconstruction)[0]

    def edit(
        self, inversion: Inversion, edits: Sequence[tuple[str, float | None]], **options: Any
    ) -> list[tuple[Image.Image, Image.Image | None]]:
        """Draw the image with each of the prompts, in the shape in which it is written.

        The edits are drawn one after the other: they need the memory of a single image, and none depends on another.

        Args:
            inversion: of one image.
            edits: the prompts, each with its strength; None is the library's default.
            options: see `Editor.edit`.

        Returns:
            Each edit with its mask, which is None unless the options ask for masks.
        """
        edited: list[tuple[Image.Image, Image.Image | None]] = []
        for number, (target, strength) in enumerate(edits, start=1):
            with self.stage("editing" if len(edits) == 1 else f"editing {number}/{len(edits)}") as stage:
                drawn = self.editor.edit(inversion, [target], strength=strength, progress=stage, **options)
                (image,), (mask,) = drawn if options.get("return_masks") else (drawn, [None])
                edited.append((image, mask))
                self.passes["editing"] += stage.passes
        return edited


@contextmanager
def working(
    choice: ModelChoice,
    reporting: Reporting,
    sampler: str | None = None,
    spacing: str | None = None,
    preset: str | None = None,
    *,
    kept: bool = False,
) -> Iterator[Work]:
    """Load a model to work with, on a terminal that shows how it goes, among libraries that keep quiet.

    Args:
        choice: the model.
        reporting: how the command is to talk.
        sampler: a sampler in place of the model's own.
        spacing: a spacing of timesteps in place of the sampler's own.
        preset: the model of a few steps that it is.
        kept: whether it only draws inversions that were kept: these bring their sampler and their steps, so that
            nothing of a model's name counts.

    Raises:
        ModelError: if the model cannot be found or loaded.
        ConfigError: if the device is not there, or the preset is for models of another family.
        SchedulerError: if the sampler is unknown, or is made for another kind of model, or a spacing has no effect.
    """
    name = DEFAULT_MODEL if choice.name is None else choice.name
    with ExitStack() as stack:
        terminal = stack.enter_context(Terminal(reporting.quiet))
        if choice.name is None:
            terminal.note(f"using the bundled model {DEFAULT_MODEL} (name another with --model)")
        started = time.perf_counter()
        with terminal.stage(f"loading {name}"):
            stack.enter_context(quiet_libraries(terminal.note, debug=reporting.debug))
            from renoise.editor import Editor

            if kept:
                warnings.simplefilter("ignore", AssumedSamplingWarning)
            editor = Editor.from_pretrained(
                name,
                dtype=choice.dtype,
                device=choice.device,
                lora=choice.lora or None,
                sampler=sampler,
                spacing=spacing,
                preset=preset,
                compile=choice.compile,
            )
        yield Work(editor, name, terminal, time.perf_counter() - started)


def load_single_inversion(path: Path) -> Inversion:
    """Read an inversion of one image.

    Raises:
        StorageError: if it cannot be read.
        ConfigError: if it holds several images.
    """
    from renoise.inversion import Inversion

    inversion = Inversion.load(path)
    if inversion.batch_size != 1:
        raise ConfigError(
            f"{path} holds {inversion.batch_size} images, and the command works on one",
            remedy="use renoise.Editor in Python",
        )
    return inversion
