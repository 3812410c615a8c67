"""The work behind the page: invert, reconstruct and edit with one `Editor`, one request after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image

from renoise import Editor, images, masks
from renoise.config import InversionConfig
from renoise.edit_rules import require_changes
from renoise.errors import Argument, ConfigError
from renoise.fingerprint import fingerprint
from renoise.images import to_tensor
from renoise.inversion import Inversion
from renoise.progress import Progress
from renoise.web.cache import Inversions, Known, key_of
from renoise.web.forms import EditRequest, Source
from renoise.web.happenings import Edited, Inverted, Pass, Remark
from renoise.web.hearing import hearing
from renoise.web.limits import Limits
from renoise.web.sentences import told
from renoise.web.views import Preview, preview_of
from renoise.web.worker import Job, Tell, Turns

# What inversions of the page keep for edits: the strength of an edit wants the source's walk.
EDIT_DATA = "float32"


@dataclass(frozen=True)
class Loaded:
    """How the model of the page was asked for, as the command line has it.

    Attributes:
        model: its name.
        options: further options of the command line that decide results, such as `--dtype float16`.
        preset: the model of a few steps that it was said to be; None if it was not said.
    """

    model: str
    options: Sequence[str] = ()
    preset: str | None = None


class Studio:
    """One model for many clients.

    Args:
        editor: works for one request at a time.
        limits: what a client may ask for.
        loaded: how the editor was loaded; None is by its name alone, and NAME stands for one that has none.

    Examples:
        >>> studio = Studio(Editor.from_pretrained("mini-turbo"))  # doctest: +SKIP
        >>> for happening in studio.edit(request).happenings():  # doctest: +SKIP
        ...     print(happening)
    """

    def __init__(self, editor: Editor, limits: Limits | None = None, loaded: Loaded | None = None) -> None:
        self.editor = editor
        self.limits = Limits() if limits is None else limits
        self.loaded = Loaded(editor.name or "NAME") if loaded is None else loaded
        self.inversions = Inversions(self.limits.cache_bytes)
        self._turns = Turns(self.limits.queue)

    def config(self, source: Source) -> InversionConfig:
        """Return the settings with which a source is inverted, or was.

        Raises:
            ConfigError: if the model cannot be inverted with them.
        """
        if source.inversion is not None:
            return source.inversion.config
        return self.editor.config(source.preset, num_steps=source.steps, iterations=source.iterations, seed=source.seed)

    def invert(self, source: Source) -> Job:
        """Find the noise of an image, and draw it again from that; a reconstruction asks for the same.

        Raises:
            BusyError: if the queue is full.
            ConfigError: if the source cannot be inverted.
        """
        config = self._checked(source)

        def work(tell: Tell) -> None:
            with _remarking(source, tell):
                self._inverted(source, config, None, tell)

        return Job(work, self._turns)

    def edit(self, request: EditRequest) -> Job:
        """Invert an image unless it is known, and draw each edit.

        Raises:
            BusyError: if the queue is full.
            ConfigError: if the request cannot be met.
        """
        source = request.source
        config = self._checked(source)
        guidance = self.editor.edit_guidance(config) if request.guidance is None else request.guidance
        unguided = self.editor.model.backbone.unguided
        if request.negative_prompt is not None and guidance <= unguided:
            raise ConfigError(
                Argument("negative_prompt"),
                f" has no effect with a guidance scale of {guidance:g}",
                remedy=("give ", Argument("guidance_scale", unguided + 0.5), " or more"),
            )
        changes = require_changes(None, request.strength, request.keep, request.mask)
        if source.inversion is not None:
            changes.require_known(known=source.inversion.for_edits)
        inverting = request.negative_prompt if self.editor.is_guided(config) else None

        def work(tell: Tell) -> None:
            with _remarking(source, tell):
                inversion = self._inverted(source, config, inverting, tell, request.mask).inversion
                if self.is_plain(request):
                    inversion = inversion.alone()
                self._edits(request, inversion, guidance, tell)

        return Job(work, self._turns)

    def is_plain(self, request: EditRequest) -> bool:
        """Tell whether an edit is plain sampling, as `renoise edit` has it where no knob of an edit is given."""
        source = request.source
        if any(knob is not None for knob in (request.strength, request.keep, request.mask)):
            return False
        return not (self.config(source).walking.direct if source.inversion is None else source.inversion.for_edits)

    def _checked(self, source: Source) -> InversionConfig:
        """Return the settings of a source once it is clear that the model can work on it."""
        config = self.config(source)
        if source.inversion is None:
            self.editor.timesteps(config)
        if source.inversion is not None or source.fit == "keep":
            self._require_own_size(source)
        return config

    def _require_own_size(self, source: Source) -> None:
        """Refuse what is much larger than the model's own images, because the network would work on all of it."""
        if source.inversion is not None:
            (height, width), remedy = source.inversion.size, "invert a smaller image"
        else:
            assert source.image is not None  # forms let nothing else through
            (width, height), remedy = source.image.size, "take another way to fit it, such as crop, or a smaller image"
        most = self.limits.kept_area * math.prod(self.editor.size)
        if width * height > most:
            raise ConfigError(
                f"the image has {width} x {height} pixels, and at most {most:,} are edited in their own size",
                argument="fit",
                remedy=remedy,
            )

    def _inverted(
        self,
        source: Source,
        config: InversionConfig,
        negative_prompt: str | None,
        tell: Tell,
        mask: Image.Image | None = None,
    ) -> Known:
        """Return what is known of the source, by looking it up, reading it or inverting it, and tell of it."""
        if source.inversion is not None:
            known, passes, before = self._given(source.inversion, tell), 0, True
        else:
            assert source.image is not None  # forms let nothing else through
            key = key_of(
                source.image, source.prompt, negative_prompt, config, source.fit, fingerprint(self.editor.pipe)
            )
            found = self.inversions.get(key)
            before = found is not None
            known = self._made(source, config, negative_prompt, mask, tell) if found is None else found
            passes = 0 if before else known.inversion.network_passes
            self.inversions.put(key, known)
        timesteps = self.editor.timesteps(known.inversion.config, known.inversion.size)
        tell(Inverted(known, passes, before, timesteps))
        return known

    def _made(
        self,
        source: Source,
        config: InversionConfig,
        negative_prompt: str | None,
        mask: Image.Image | None,
        tell: Tell,
    ) -> Known:
        """Invert an image."""
        started = time.perf_counter()
        prepared = self.editor.prepare(source.image, source.fit)
        if mask is not None:  # one that does not fit is refused before the network works
            masks.read(mask, prepared.fits, self.editor.model.pixels(prepared.latents))
        preview = Preview.fitted(prepared.latents, to_tensor(prepared.images))
        inversion = self.editor.invert(
            prepared,
            source.prompt,
            config=config,
            negative_prompt=negative_prompt,
            edit_data=EDIT_DATA,
            keep_residual_history=True,
            progress=_Teller(tell, "inverting", preview),
        )
        # What was kept for edits would make the reconstruction exact, and say nothing of noise that was solved for.
        drawn = inversion if config.walking.direct else inversion.alone()
        pixels = self.editor.reconstruct(drawn, "pt", progress=_Teller(tell, "reconstructing", preview))
        quality = self.editor.quality(prepared, pixels)[0]
        fit = inversion.fits[0]
        again = images.unfit(images.to_pictures(pixels)[0], fit)
        return Known(inversion, images.unfit(prepared.images[0], fit), again, quality, time.perf_counter() - started)

    def _given(self, inversion: Inversion, tell: Tell) -> Known:
        """Draw an inversion that was given as a file again."""
        started = time.perf_counter()
        progress = _Teller(tell, "reconstructing", preview_of(inversion))
        again = self.editor.reconstruct(inversion, progress=progress)
        original = None
        if inversion.images is not None:
            original = Image.fromarray(inversion.images[0].permute(1, 2, 0).numpy())
        drawn = again[0] if isinstance(again, list) else again
        return Known(inversion, original, drawn, None, time.perf_counter() - started)

    def _edits(self, request: EditRequest, inversion: Inversion, guidance: float, tell: Tell) -> None:
        """Draw the edits one after the other, so that those that are done stay if the work is stopped."""
        preview, count = preview_of(inversion), len(request.targets)
        masked = inversion.for_edits
        for number, target in enumerate(request.targets, start=1):
            work = "editing" if count == 1 else f"editing {number}/{count}"
            progress = _Teller(tell, work, preview)
            drawn: Any = self.editor.edit(
                inversion,
                [[target]] if inversion.batched else [target],
                strength=request.strength,
                keep=request.keep,
                mask=request.mask,
                guidance_scale=guidance,
                negative_prompt=request.negative_prompt,
                return_masks=masked,
                progress=progress,
            )
            (image, changed) = (_only(drawn[0]), _only(drawn[1])) if masked else (_only(drawn), None)
            tell(Edited(number, target, image, changed, progress.passes, self._record(request, inversion, guidance)))

    def _record(self, request: EditRequest, inversion: Inversion, guidance: float) -> dict[str, Any]:
        """Return the settings of an edit as JSON-able data."""
        changes = require_changes(None, request.strength, request.keep, request.mask)
        strength, keep = changes.settled(known=inversion.for_edits)
        return {
            "model": self.loaded.model,
            "prompt": inversion.prompts[0],
            "strength": strength,
            "keep": keep,
            "mask": request.mask is not None,
            "guidance_scale": guidance,
            "negative_prompt": request.negative_prompt,
            "fit": inversion.fits[0].mode,
            "seed": inversion.seed,
            "config": inversion.config.to_record(),
        }


class _Teller:
    """Tells of each network pass; it is what an editor takes as `progress`.

    Attributes:
        passes: network passes so far.
    """

    def __init__(self, tell: Tell, work: str, preview: Preview | None) -> None:
        self.passes = 0
        self._tell = tell
        self._work = work
        self._preview = preview

    def __call__(self, progress: Progress) -> None:
        self.passes = progress.done
        small = None if self._preview is None else self._preview.of(progress.latents)
        self._tell(
            Pass(
                self._work,
                progress.done,
                progress.total,
                progress.timestep,
                progress.step,
                progress.num_steps,
                small,
            )
        )


@contextmanager
def _remarking(source: Source, tell: Tell) -> Iterator[None]:
    """Tell of what the library warned of when the source was read, and of what it warns of now."""
    for text in source.remarks:
        tell(Remark(text))
    with hearing(lambda warning: tell(Remark(told(warning)))):
        yield


def _only(drawn: Any) -> Any:
    """Return the single image of a result, however its prompts were arranged."""
    while isinstance(drawn, list):
        (drawn,) = drawn
    return drawn
