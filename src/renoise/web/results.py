"""What a request gave, as files that the page shows and offers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from renoise.escaping import shown
from renoise.web import takeaway
from renoise.web.forms import Source
from renoise.web.happenings import Edited, Inverted
from renoise.web.takeaway import Folder
from renoise.web.views import overlay

RECONSTRUCTION = "reconstruction"
_CAPTION = 90


@dataclass(frozen=True)
class Drawn:
    """One edit as files.

    Attributes:
        caption: its number and its target prompt.
        path: of the edit.
        mask: of what the edit could change, white; None where that cannot be told.
        changed: of the edit, darkened where it changed nothing; None likewise.
    """

    caption: str
    path: str
    mask: str | None = None
    changed: str | None = None


@dataclass(frozen=True)
class Results:
    """All files of a request so far.

    Attributes:
        original: the image before; None where an inversion file did not keep it.
        reconstruction: the image drawn again; None before there is one.
        inversion: the inversion's file; None likewise.
        edits: the edits.
        given_mask: the mask that was given; None without one.
    """

    original: str | None = None
    reconstruction: str | None = None
    inversion: str | None = None
    edits: tuple[Drawn, ...] = ()
    given_mask: str | None = None

    @property
    def downloads(self) -> list[str]:
        """The files to take away."""
        masks = [drawn.mask for drawn in self.edits]
        files = [*(drawn.path for drawn in self.edits), *masks, self.given_mask, self.reconstruction, self.inversion]
        return [file for file in files if file is not None]

    @property
    def captions(self) -> list[str]:
        """What the image before can be compared with."""
        first = [] if self.original is None or self.reconstruction is None else [RECONSTRUCTION]
        return [*first, *(drawn.caption for drawn in self.edits)]

    def pair(self, caption: str | None, *, changed: bool = False) -> tuple[str, str] | None:
        """Return the image before, or without one the reconstruction, and what it is compared with.

        Args:
            caption: one of `captions`; None is the last edit, or the reconstruction before there is one.
            changed: show what an edit changed.
        """
        before = self.original or self.reconstruction
        if before is None or self.reconstruction is None:
            return None
        found = next((drawn for drawn in self.edits if drawn.caption == caption), None)
        if found is None and caption is None and self.edits:
            found = self.edits[-1]
        if found is None:
            return before, self.reconstruction
        return before, (found.changed or found.path) if changed else found.path

    def gallery(self, *, changed: bool = False) -> list[tuple[str, str]]:
        """Return the edits with their captions."""
        return [((one.changed or one.path) if changed else one.path, one.caption) for one in self.edits]


class Writer:
    """Writes the files of one request.

    Args:
        parent: the folder of the server's files; a folder of its own is made in it.
        source: what is edited.
        mask: the mask that was given; None without one.
    """

    def __init__(self, parent: Path, source: Source, mask: Image.Image | None = None) -> None:
        self._folder = Folder(parent)
        self._stem = takeaway.stem(Path(source.name).stem)
        given = None if mask is None else self._folder.write_image(mask, "mask")
        self.results = Results(given_mask=given)

    def inverted(self, happening: Inverted) -> Results:
        """Write an inversion, its image and its reconstruction."""
        known = happening.known
        write = self._folder.write_image
        self.results = replace(
            self.results,
            original=None if known.original is None else write(known.original, f"{self._stem}-original"),
            reconstruction=write(known.reconstruction, f"{self._stem}-reconstruction"),
            inversion=self._folder.write_inversion(known.inversion, self._stem),
        )
        return self.results

    def edited(self, happening: Edited) -> Results:
        """Write an edit with its settings in it, and what it changed."""
        name = f"{happening.number:02d}-{takeaway.stem(happening.target)}"
        path = self._folder.write_image(happening.image, name, {"target": happening.target, **happening.record})
        mask, changed = None, None
        if happening.changed is not None:
            mask = self._folder.write_image(happening.changed, f"mask-{name}")
            changed = self._folder.write_image(overlay(happening.image, happening.changed), f"changed-{name}")
        caption = f"{happening.number}. {shown(happening.target, _CAPTION)}"
        self.results = replace(self.results, edits=(*self.results.edits, Drawn(caption, path, mask, changed)))
        return self.results
