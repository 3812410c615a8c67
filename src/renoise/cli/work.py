"""The work behind the commands: load, invert, reconstruct, measure, edit, with the network passes counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renoise.cli.options import DEFAULT_MODEL, InversionSettings, ModelChoice, Reporting
from renoise.cli.silence import quiet_libraries
from renoise.cli.terminal import Stage, Terminal
from renoise.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from renoise.config import InversionConfig
    from renoise.editor import Editor
    from renoise.inversion import Inversion


@dataclass(frozen=True)
class Quality:
    """How true a reconstruction is, as PSNR in dB.

    Attributes:
        image: against the image that the model saw.
        round_trip: against what the autoencoder alone makes of it; None where that is not known.
        bound: the autoencoder's round trip against the image: what `picture` can hardly exceed.
    """

    picture: float
    round_trip: float | None
    bound: float | None


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
        """Since the model was loaded."""
        return time.perf_counter() - self._started

    def stage(self, description: str) -> AbstractContextManager[Stage]:
        """Show what is being done, for as long as it is done."""
        return self._terminal.stage(description)

    def config(self, settings: InversionSettings) -> InversionConfig:
        """The preset for the model, with what the command line says in place of its own."""
        from renoise.config import InversionConfig

        preset = InversionConfig.for_pipeline(self.editor.pipe, settings.preset or "paper")
        return settings.applied_to(preset, InversionConfig.for_pipeline(self.editor.pipe))

    def edit_guidance(self, config: InversionConfig, given: float | None) -> float:
        """The guidance scale of an edit: the one given, a guided inversion's own, or what suits the model."""
        return self.editor.edit_guidance(config) if given is None else given

    def note(self, text: str) -> None:
        """Say something in a line of its own, on standard error."""
        self._terminal.note(text)

    def invert(
        self,
        picture: Image.Image,
        prompt: str,
        negative_prompt: str | None,
        config: InversionConfig,
        *,
        fit: str = "crop",
    ) -> Inversion:
        """The noise of an image."""
        with self._terminal.stage("inverting") as stage:
            inversion = self.editor.invert(
                picture, prompt, config=config, negative_prompt=negative_prompt, fit=fit, progress=stage
            )
            self.passes["inversion"] += inversion.network_passes
        return inversion

    def reconstruct(self, inversion: Inversion, *, force: bool = False) -> Tensor:
        """The image drawn again from the noise alone, (1, 3, H, W) in [0, 1]."""
        with self._terminal.stage("reconstructing") as stage:
            pixels: Tensor = self.editor.reconstruct(inversion, "pt", progress=stage, force=force)
            self.passes["reconstruction"] += stage.passes
        return pixels

    def edit(
        self,
        inversion: Inversion,
        targets: list[str],
        *,
        guidance_scale: float,
        true_cfg_scale: float | None,
        negative_prompt: str | None,
        force: bool = False,
    ) -> list[Image.Image]:
        """The image drawn with each of the prompts, in the shape in which it is written.

        One after the other: they need the memory of a single image, and none depends on its neighbours.
        """
        from renoise import images

        edited = []
        for number, target in enumerate(targets, start=1):
            name = "editing" if len(targets) == 1 else f"editing {number}/{len(targets)}"
            with self._terminal.stage(name) as stage:
                pixels = self.editor.edit(
                    inversion,
                    target,
                    guidance_scale=guidance_scale,
                    true_cfg_scale=true_cfg_scale,
                    negative_prompt=negative_prompt,
                    output_type="pt",
                    progress=stage,
                    force=force,
                )
                self.passes["editing"] += stage.passes
            edited += [images.unfit(image, inversion.fits[0]) for image in images.to_pictures(pixels)]
        return edited

    def quality(self, inversion: Inversion, reconstruction: Tensor, picture: Image.Image) -> Quality:
        """Compare a reconstruction with the image and with the autoencoder's round trip, as the model sees them."""
        from renoise import images
        from renoise.quality import psnr

        again = reconstruction.cpu()
        fitted = images.refit(picture, inversion.fits[0], inversion.size)
        truth = images.to_tensor([fitted])
        against_picture = float(psnr(again, truth))
        with self._terminal.stage("measuring"):
            # It was fitted already, in whatever way.
            round_trip = self.editor.decode(self.editor.encode(fitted, fit="keep"), "pt").cpu()
        if round_trip.shape != again.shape:
            # Another model, by force, whose latent grid is a coarser one.
            return Quality(against_picture, None, None)
        return Quality(against_picture, float(psnr(again, round_trip)), float(psnr(round_trip, truth)))


@contextmanager
def working(choice: ModelChoice, reporting: Reporting) -> Iterator[Work]:
    """A loaded model to work with, on a terminal that shows how it goes, among libraries that keep quiet.

    Raises:
        ModelError: if the model cannot be found or loaded.
        ConfigError: if the device is not there.
        SchedulerError: if the sampler is unknown, or is made for another kind of model.
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

            editor = Editor.from_pretrained(
                name, dtype=choice.dtype, device=choice.device, lora=list(choice.lora) or None, sampler=choice.sampler
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
            f"{path} holds {inversion.batch_size} images, and the command works on one; use renoise.Editor in Python"
        )
    return inversion
