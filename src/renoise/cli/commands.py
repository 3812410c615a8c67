"""What the commands that invert and draw do, from checked options to the text on standard output.

The order is the same in all of them: everything that can be refused without the model is refused first, then the model
is loaded and works, and files are written last, each of them whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from renoise.cli import destinations, report
from renoise.cli import options as o
from renoise.cli.edit_options import Change
from renoise.cli.failures import UsageError
from renoise.cli.options import Files, ModelChoice, Reporting, Settings
from renoise.cli.silence import remarks
from renoise.cli.terminal import Terminal
from renoise.cli.work import Work, load_single_inversion, working

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from renoise.config import InversionConfig
    from renoise.inversion import Inversion
    from renoise.model import Prepared
    from renoise.quality import Quality
    from renoise.sheets import Panel

INVERSION_SUFFIX = ".safetensors"
# Images of more than so many times the model's area are warned of.
_FAR_LARGER = 4


def edit(
    source: o.Source,
    change: Change,
    settings: Settings,
    model: ModelChoice,
    files: Files,
    original: o.Original = None,
    force: o.Force = False,
    save_mask: o.SaveMask = None,
    *,
    reporting: Reporting,
) -> str:
    """Draw an image with other prompts, write the edits, and return what it took: `renoise edit`."""
    inverted, targets = _is_inversion(source), change.to or []
    if not targets:
        raise UsageError('say with --to what the edited image shall show, for example --to "a dog"')
    if inverted:
        _refuse_stored(source, settings)
    else:
        _require_prompt(settings.prompt)
        _refuse_original(original, source)
    if change.negative_source and change.negative_prompt is not None:
        raise UsageError("--negative-source and --negative-prompt both name a negative prompt; give one of them")
    if change.guidance is not None and (least := _unguided(model.name or o.DEFAULT_MODEL)) is not None:
        _require_guided(change, change.guidance, None if inverted else settings.inversion_guidance, least)
    if change.strength is not None and change.strengths is not None:
        raise UsageError("--strength and --strengths are given; give one of them")
    edits = [(target, strength) for target in targets for strength in change.shares]
    goal = destinations.for_edits(files.output, source, targets, change.shares)
    mask_files = destinations.for_masks(save_mask, len(edits))
    _check_files([*goal.files, *mask_files], [source, *_some(original), *_some(change.mask)], files.compare)
    mask = None if change.mask is None else _read_mask(change.mask, reporting)
    seen = None if original is None else _read_image(original, reporting)
    taken = load_single_inversion(source) if inverted else _read_image(source, reporting)
    from renoise.edit_rules import require_changes
    from renoise.inversion import Inversion

    told = save_mask is not None
    changes = require_changes(None, change.shares[0], change.keep, mask, told)
    if isinstance(taken, Inversion):
        changes.require_known(known=taken.for_edits)
    if isinstance(taken, Inversion) and change.negative_source and taken.prompt_embeds is not None:
        raise UsageError(
            f"{source} was inverted with embeddings in place of a prompt, so that --negative-source has no prompt to "
            "take; give --negative-prompt"
        )
    chosen = (settings.sampler, settings.spacing, settings.few_step_model)
    with working(model, reporting, *chosen, kept=inverted) as work:
        config = taken.config if isinstance(taken, Inversion) else settings.config(work.editor)
        if not inverted and work.editor.is_guided(config):
            config = config.overridden(guidance_rescale=change.guidance_rescale)
        guidance = work.editor.edit_guidance(config) if change.guidance is None else change.guidance
        _require_guided(
            change, guidance, None if inverted else config.guidance_scale, work.editor.model.backbone.unguided
        )
        prepared: Prepared | None = None
        if isinstance(taken, Inversion):
            inversion = taken
        else:
            # Without guidance the inversion has no use for it, and the edit is told below.
            counts = change.negative_prompt if work.editor.is_guided(config) else None
            data = "float32" if change.wants_source or told else None
            prepared, inversion = _invert(work, taken, config, settings, counts, data, mask)
        again, quality = None, None
        if not (prepared is None and seen is None and files.compare is None):
            again, prepared, quality = _draw_again(work, inversion, prepared, seen, force=force)
        negative = _only(inversion.prompt) if change.negative_source else change.negative_prompt
        edited = work.edit(
            inversion,
            edits,
            keep=change.keep,
            mask=mask,
            return_masks=told,
            guidance_scale=guidance,
            true_cfg_scale=change.true_cfg,
            negative_prompt=negative,
            guidance_rescale=change.guidance_rescale,
            force=force,
        )
        panels = _panels(inversion, prepared, again)
        panels += [_edit_panel(*edit, image) for edit, (image, _) in zip(edits, edited, strict=True)]
        seconds = work.seconds

    goal.prepare()
    drawn = [image for image, _ in edited]
    _save_images(zip(goal.files, drawn, strict=True))
    _save_images((path, white) for path, (_, white) in zip(mask_files, edited, strict=False) if white is not None)
    _save_comparison(files.compare, panels)
    known = inversion.for_edits
    settled = [changes.settled(known=known, strength=strength) for _, strength in edits]
    outputs = [
        {**report.output(path, target, image), "strength": strength, "mask": _named(mask_files, i)}
        for i, (path, (target, _), image, (strength, _)) in enumerate(
            zip(goal.files, edits, drawn, settled, strict=True)
        )
    ]
    decided = {
        "keep": settled[0][1],
        "mask": None if change.mask is None else str(change.mask),
        "guidance": guidance,
        "true_cfg": inversion.config.true_cfg_scale if change.true_cfg is None else change.true_cfg,
        "negative_prompt": inversion.negative_prompt if negative is None else negative,
    }
    run = report.Run("edit", source, inversion, work, outputs, files.compare, quality, seconds, decided)
    return run.told(reporting)


def invert(
    source: o.Image,
    settings: Settings,
    model: ModelChoice,
    files: Files,
    reporting: Reporting,
    negative_prompt: o.NegativePrompt = None,
    guidance_rescale: o.GuidanceRescale = None,
    edit_data: o.EditData = None,
    moved: o.MovedStrength = None,
) -> str:
    """Invert an image, write the inversion, and return what it took: `renoise invert`."""
    _require_prompt(settings.prompt)
    if _is_inversion(source):
        raise UsageError(f"{source} is an inversion already, or a model; invert takes an image")
    path = Path(f"{source.stem}{INVERSION_SUFFIX}" if files.output is None else files.output)
    destinations.require_inversion_path(path)
    _check_files([path], [source], files.compare)
    image = _read_image(source, reporting)

    with working(model, reporting, settings.sampler, settings.spacing, settings.few_step_model) as work:
        config = settings.config(work.editor).overridden(guidance_rescale=guidance_rescale)
        encoded, inversion = _invert(work, image, config, settings, negative_prompt, edit_data)
        again, prepared, quality = _draw_again(work, inversion, encoded)
        panels = _panels(inversion, prepared, again)
        seconds = work.seconds

    inversion.save(path)
    _save_comparison(files.compare, panels)
    outputs = [{"path": str(path), "file_size": path.stat().st_size}]
    return report.Run("invert", source, inversion, work, outputs, files.compare, quality, seconds).told(reporting)


def reconstruct(
    source: o.InversionFile,
    model: ModelChoice,
    files: Files,
    original: o.Original = None,
    force: o.Force = False,
    *,
    reporting: Reporting,
) -> str:
    """Draw an inverted image again, write it, and return what it took: `renoise reconstruct`."""
    if not _is_inversion(source):
        raise UsageError(f"{source} is not an inversion ({INVERSION_SUFFIX}); make one with renoise invert")
    path = Path(f"{source.stem}.reconstructed.png" if files.output is None else files.output)
    destinations.require_image_path(path)
    _check_files([path], [source, *_some(original)], files.compare)
    seen = None if original is None else _read_image(original, reporting)
    inversion = load_single_inversion(source)

    with working(model, reporting, kept=True) as work:
        again, prepared, quality = _draw_again(work, inversion, None, seen, force=force)
        panels = _panels(inversion, prepared, again)
        drawn = panels[-1][2]
        seconds = work.seconds

    _save_images([(path, drawn)])
    _save_comparison(files.compare, panels)
    outputs = [report.output(path, _only(inversion.prompt), drawn)]
    return report.Run("reconstruct", source, inversion, work, outputs, files.compare, quality, seconds).told(reporting)


def _is_inversion(source: Path) -> bool:
    return source.suffix.lower() == INVERSION_SUFFIX


def _require_prompt(prompt: str | None) -> None:
    if prompt is None:
        raise UsageError('say with --prompt what the image shows, for example --prompt "a cat"; it may be empty: ""')


def _require_guided(change: Change, guidance: float, inversion_guidance: float | None, unguided: float) -> None:
    """Refuse a negative prompt where nothing is guided, so that it would count nowhere.

    Args:
        change: what is asked for.
        guidance: the guidance scale of the edit.
        inversion_guidance: that of the inversion, if there is one.
        unguided: the model's scale for no guidance.
    """
    if not change.negative_source and change.negative_prompt is None:
        return
    scales = [guidance, None if change.negative_source else inversion_guidance]
    true = change.true_cfg is not None and change.true_cfg > 1.0
    if not true and all(scale is None or scale <= unguided for scale in scales):
        option = "--negative-source" if change.negative_source else "--negative-prompt"
        raise UsageError(f"{option} has no effect with a guidance of {guidance:g}; give --guidance above {unguided:g}")


def _unguided(model: str) -> float | None:
    """Return the scale that is no guidance for a model of the catalogue; None before another one is loaded."""
    from renoise.backbones import families_by_name
    from renoise.loading import catalogue

    entry = catalogue.find(model)
    return None if entry is None else families_by_name()[entry.family].unguided


def _refuse_stored(source: Path, settings: Settings) -> None:
    if settings.given:
        raise UsageError(
            f"{', '.join(settings.given)} cannot be given with {source}, which keeps its own; to change it, invert "
            "again"
        )


def _refuse_original(original: Path | None, source: Path) -> None:
    if original is not None:
        raise UsageError(f"--source is for inversions; {source} is the image itself")


def _check_files(outputs: Sequence[Path], inputs: Sequence[Path], compare: Path | None) -> None:
    if compare is not None:
        destinations.require_image_path(compare)
    destinations.require_apart([*outputs, *_some(compare)], inputs)


def _read_image(path: Path, reporting: Reporting) -> Image.Image:
    from renoise import images

    with remarks(Terminal(reporting.quiet).note, debug=reporting.debug):
        return images.load(path)


def _read_mask(path: Path, reporting: Reporting) -> Image.Image:
    from renoise import masks

    with remarks(Terminal(reporting.quiet).note, debug=reporting.debug):
        (mask,) = masks.load(path)
    return mask


def _invert(
    work: Work,
    image: Image.Image,
    config: InversionConfig,
    settings: Settings,
    negative_prompt: str | None,
    edit_data: str | None = None,
    mask: Image.Image | None = None,
) -> tuple[Prepared, Inversion]:
    """Invert an image, and say what the user may not expect of it."""
    height, width = work.editor.size
    if settings.fit == "keep" and image.height * image.width > _FAR_LARGER * height * width:
        work.note(
            f"--fit keep: the model is made for {width} x {height}; at {image.width} x {image.height} it is slow, "
            "takes much memory, and may draw things twice"
        )
    fit = settings.fit or "crop"
    prepared, inversion = work.invert(image, settings.prompt or "", negative_prompt, config, fit, edit_data, mask)
    if settings.noise_correction and inversion.noise is None:
        from renoise.remarks import on_noise_correction

        # The library says so, too, but not where the preset has the same correction.
        warnings.warn(on_noise_correction(inversion.scheduler["class"]), stacklevel=1)
    return prepared, inversion


def _draw_again(
    work: Work,
    inversion: Inversion,
    prepared: Prepared | None,
    seen: Image.Image | None = None,
    *,
    force: bool = False,
) -> tuple[Tensor, Prepared | None, Quality | None]:
    """Draw the reconstruction, and measure it if there is an image to measure it with.

    Args:
        work: draws and measures.
        inversion: what is drawn.
        prepared: its image, if it was inverted just now.
        seen: its image, if it was inverted before.
        force: draw it with another model, too.

    Returns:
        The reconstruction (1, 3, H, W), the image as the model sees it, and the quality.
    """
    again = work.reconstruct(inversion, force=force)
    if seen is not None:
        prepared = work.prepare_like(inversion, seen)
    return again, prepared, None if prepared is None else work.quality(prepared, again)


def _panels(inversion: Inversion, prepared: Prepared | None, again: Tensor | None) -> list[Panel]:
    """Return the source and the reconstruction with their labels, as far as they are there, as they are written."""
    from renoise import images

    shown = {} if prepared is None else {"source": prepared.images[0]}
    shown |= {} if again is None else {"reconstruction": images.to_pictures(again)[0]}
    prompt, fit = _only(inversion.prompt), inversion.fits[0]
    return [(title, prompt, images.unfit(image, fit)) for title, image in shown.items()]


def _edit_panel(target: str, strength: float | None, image: Image.Image) -> Panel:
    return "edit" if strength is None else f"edit, strength {strength:g}", target, image


def _named(files: Sequence[Path], index: int) -> str | None:
    return str(files[index]) if files else None


def _only(prompt: str | Sequence[str]) -> str:
    """Return the prompt of an inversion of one image."""
    return prompt if isinstance(prompt, str) else prompt[0]


def _save_images(images_at: Iterable[tuple[Path, Image.Image]]) -> None:
    from renoise import images

    for path, image in images_at:
        images.save(image, path)


def _save_comparison(path: Path | None, panels: Sequence[Panel]) -> None:
    if path is not None:
        from renoise.sheets import side_by_side

        _save_images([(path, side_by_side(panels))])


def _some(path: Path | None) -> list[Path]:
    return [] if path is None else [path]
