"""The report of a run that edits."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from renoise.evaluation import pages
from renoise.evaluation.edit_summary import EditLine, EditSummary
from renoise.evaluation.measurement import Measurement
from renoise.evaluation.pages import Album
from renoise.evaluation.runs import about
from renoise.evaluation.summary import by_method

_EDITS_SHOWN = 24
_NOTES = (
    "Structure distance compares the keys of a DINO vision transformer; lower keeps more of the image's structure. "
    "The background is what lies outside the mask, and an edit is to keep it: PSNR and SSIM higher, MSE and LPIPS "
    "lower is better. Edits whose mask leaves no background are counted, and in none of these means. CLIP similarity "
    "is 100 times the cosine between edit and prompt, of all of the edit or of what its mask shows; higher is better. "
    "PSNR and SSIM against the image tell how much changed at all: an edit must change something. Passes of the "
    "inversion serve all edits of an image. Failed is the share of edits without an image. n/a: not available."
)


def page(folder: Path, run: str, measurements: Sequence[Measurement], summary: EditSummary) -> str:
    """The report as HTML.

    Args:
        folder: where the run's images lie; those that are missing are shown as "no image".
        run: its name.
        measurements: of its rows, at least one.
        summary: of these measurements.
    """
    rows = by_method(measurements)
    edits = pages.pictured(measurements)
    shown = edits[:_EDITS_SHOWN]
    sections = [
        pages.section("Numbers", _numbers("Numbers", summary.lines), pages.note(_NOTES)),
        pages.section(
            "Pictures",
            pages.note(f"The first {len(shown)} of {len(edits)} edits; under each what was measured of it."),
            pages.scroll("Pictures", _grid(Album(folder), rows, shown)),
        ),
    ]
    if summary.kinds:
        tables = (
            f"<details>\n<summary>{escape(kind)} "
            f'<span class="quiet">{lines[0].edits} edits</span></summary>\n{_numbers(kind, lines)}\n</details>'
            for kind, lines in summary.kinds.items()
        )
        sections.insert(1, pages.section("Numbers for each kind of edit", *tables))
    failed = [f"<h3>{escape(method)}</h3>\n{told}" for method, own in rows.items() if (told := _errors(own))]
    if failed:
        sections.append(pages.section("Edits without an image", *failed))
    facts = {"pictures": str(summary.pictures), "edits": f"{summary.edits} by each method"}
    return pages.page(f"{run}: {about(run)}", pages.facts(measurements, facts), sections)


_COLUMNS = (
    (("structure", "distance"), "structure_distance_mean", ".5f"),
    (("background", "PSNR (dB)"), "psnr_background_mean", ".2f"),
    (("background", "SSIM"), "ssim_background_mean", ".4f"),
    (("background", "MSE"), "mse_background_mean", ".5f"),
    (("background", "LPIPS"), "lpips_background_mean", ".4f"),
    (("edits without", "background"), "no_background", "d"),
    (("CLIP similarity,", "whole"), "clip_whole_mean", ".2f"),
    (("CLIP similarity,", "edited part"), "clip_edited_mean", ".2f"),
    (("PSNR against", "the image (dB)"), "psnr_to_source_mean", ".2f"),
    (("SSIM against", "the image"), "ssim_to_source_mean", ".4f"),
    (("failed",), "failures", ".1%"),
    (("inversion", "steps"), "num_inversion_steps", "d"),
    (("denoising", "steps"), "num_steps", "d"),
    (("renoising", "iterations"), "iterations", "d"),
    (("passes of", "inversion"), "passes_inversion", ".0f"),
    (("passes of", "denoising"), "passes_denoising", ".0f"),
    (("seconds", "an edit"), "seconds", ".2f"),
)


def _numbers(label: str, lines: Sequence[EditLine]) -> str:
    return pages.scroll(label, pages.numbers(_COLUMNS, lines))


def _errors(own: Sequence[Measurement]) -> str:
    return pages.errors(own, "an image")


def _grid(album: Album, rows: dict[str, list[Measurement]], edits: Sequence[Measurement]) -> str:
    measured = {(m.method, m.picture, m.target): m for own in rows.values() for m in own}
    grid = (_row(album, one, [measured.get((method, one.picture, one.target)) for method in rows]) for one in edits)
    return pages.pictures(("image and edit", *rows), grid)


def _row(album: Album, one: Measurement, measured: Sequence[Measurement | None]) -> tuple[str, list[str]]:
    said = f"{escape(one.picture)}<br>{escape(one.prompt)}<br>&rarr; {escape(one.target or '')}"
    return album.picture(one) + said, [_cell(album, m) for m in measured]


def _cell(album: Album, m: Measurement | None) -> str:
    if m is None:
        return "not measured"
    numbers = (
        (m.structure_distance, "structure {:.4f}"),
        (m.psnr_background, "background {:.2f} dB"),
        (m.clip_whole, "CLIP {:.2f}"),
        (m.psnr, "image {:.2f} dB"),
    )
    told = "<br>".join(text.format(value) for value, text in numbers if value is not None)
    return album.show(m, f"{m.picture}, edited to show {m.target} by: {m.method}") + told
