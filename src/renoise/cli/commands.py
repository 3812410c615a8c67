"""What each command does, from checked options to the text on standard output.

The order is the same in all of them: everything that can be refused without the model is refused first, then the model
is loaded and works, and files are written last, each of them whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renoise.cli import destinations, report
from renoise.cli.compare import side_by_side
from renoise.cli.failures import UsageError
from renoise.cli.options import InversionSettings, ModelChoice, Reporting
from renoise.cli.silence import remarks
from renoise.cli.terminal import Terminal
from renoise.cli.work import Quality, Work, load_single_inversion, working

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from renoise.config import InversionConfig
    from renoise.inversion import Inversion

INVERSION_SUFFIX = ".safetensors"
# Of how many times the model's own area one should know beforehand.
_FAR_LARGER = 4
Panel = tuple[str, str, "Image.Image"]


def edit(
    source: Path,
    targets: Sequence[str],
    *,
    prompt: str | None,
    negative_prompt: str | None,
    negative_source: bool,
    guidance: float | None,
    true_cfg: float | None,
    output: str | None,
    compare: Path | None,
    original: Path | None,
    force: bool,
    model: ModelChoice,
    settings: InversionSettings,
    reporting: Reporting,
) -> str:
    """Invert an image, or take an inversion, and draw it with other prompts."""
    inverted = _is_inversion(source)
    if not targets:
        raise UsageError('say with --to what the edited image shall show, for example --to "a dog"')
    if inverted:
        _refuse_stored(source, prompt, settings, model)
    else:
        _require_prompt(prompt)
        _refuse_original(original, source)
    if negative_source and negative_prompt is not None:
        raise UsageError("--negative-source and --negative-prompt both name a negative prompt; give one of them")
    if negative_source and guidance is not None:
        _require_guidance(guidance, true_cfg)
    goal = destinations.for_edits(output, source, targets)
    _check_files([*goal.files, *_some(compare)], [source, *_some(original)], compare)
    picture = None if inverted and original is None else _read_picture(original or source, reporting)
    inversion = load_single_inversion(source) if inverted else None

    with working(model, reporting) as work:
        config = work.config(settings) if inversion is None else inversion.config
        scale = work.edit_guidance(config, guidance)
        if negative_source:
            _require_guidance(scale, true_cfg)
        if inversion is None:
            if picture is None or prompt is None:  # both were required above
                raise UsageError("an image and its --prompt are needed")
            inversion = _invert(work, picture, prompt, negative_prompt, config, settings)
        again, quality = _reconstruct_if_of_use(work, inversion, picture, compare, force)
        if negative_source:
            negative_prompt = _only(inversion.prompt)
        edited = work.edit(
            inversion,
            list(targets),
            guidance_scale=scale,
            true_cfg_scale=true_cfg,
            negative_prompt=negative_prompt,
            force=force,
        )
        panels = _panels(inversion, picture, again)
        panels += [("edit", target, image) for target, image in zip(targets, edited, strict=True)]
        seconds = work.seconds

    goal.prepare()
    _save_pictures(zip(goal.files, edited, strict=True))
    _save_comparison(compare, panels)
    document = report.document(
        "edit",
        source,
        inversion,
        work,
        outputs=[
            report.output(path, target, image) for path, target, image in zip(goal.files, targets, edited, strict=True)
        ],
        compare=compare,
        quality=quality,
        seconds=seconds,
        edit={
            "guidance": scale,
            "true_cfg": inversion.config.true_cfg_scale if true_cfg is None else true_cfg,
            "negative_prompt": inversion.negative_prompt if negative_prompt is None else negative_prompt,
        },
    )
    return _result(reporting, document, report.summary(work, quality, seconds, [*goal.files, *_some(compare)]))


def invert(
    source: Path,
    *,
    prompt: str | None,
    negative_prompt: str | None,
    output: str | None,
    compare: Path | None,
    model: ModelChoice,
    settings: InversionSettings,
    reporting: Reporting,
) -> str:
    """Invert an image into a file."""
    _require_prompt(prompt)
    if _is_inversion(source):
        raise UsageError(f"{source} is an inversion already, or a model; invert takes an image")
    path = Path(f"{source.stem}{INVERSION_SUFFIX}" if output is None else output)
    destinations.require_inversion_path(path)
    _check_files([path, *_some(compare)], [source], compare)
    picture = _read_picture(source, reporting)

    with working(model, reporting) as work:
        inversion = _invert(work, picture, prompt or "", negative_prompt, work.config(settings), settings)
        again = work.reconstruct(inversion)
        quality = work.quality(inversion, again, picture)
        panels = _panels(inversion, picture, again)
        seconds = work.seconds

    inversion.save(path)
    _save_comparison(compare, panels)
    document = report.document(
        "invert",
        source,
        inversion,
        work,
        outputs=[{"path": str(path)}],
        compare=compare,
        quality=quality,
        seconds=seconds,
    )
    return _result(reporting, document, report.summary(work, quality, seconds, [path, *_some(compare)]))


def reconstruct(
    source: Path,
    *,
    output: str | None,
    compare: Path | None,
    original: Path | None,
    force: bool,
    model: ModelChoice,
    reporting: Reporting,
) -> str:
    """Draw an inverted image again."""
    if not _is_inversion(source):
        raise UsageError(f"{source} is not an inversion ({INVERSION_SUFFIX}); make one with renoise invert")
    path = Path(f"{source.stem}.reconstructed.png" if output is None else output)
    destinations.require_picture_path(path)
    _check_files([path, *_some(compare)], [source, *_some(original)], compare)
    picture = None if original is None else _read_picture(original, reporting)
    inversion = load_single_inversion(source)

    with working(model, reporting) as work:
        again = work.reconstruct(inversion, force=force)
        quality = None if picture is None else work.quality(inversion, again, picture)
        panels = _panels(inversion, picture, again)
        drawn = _picture(inversion, again)
        seconds = work.seconds

    _save_pictures([(path, drawn)])
    _save_comparison(compare, panels)
    document = report.document(
        "reconstruct",
        source,
        inversion,
        work,
        outputs=[report.output(path, _only(inversion.prompt), drawn)],
        compare=compare,
        quality=quality,
        seconds=seconds,
    )
    return _result(reporting, document, report.summary(work, quality, seconds, [path, *_some(compare)]))


def _is_inversion(source: Path) -> bool:
    return source.suffix.lower() == INVERSION_SUFFIX


def _require_prompt(prompt: str | None) -> None:
    if prompt is None:
        raise UsageError('say with --prompt what the image shows, for example --prompt "a cat"; it may be empty: ""')


def _require_guidance(scale: float, true_cfg: float | None) -> None:
    if scale <= 1.0 and (true_cfg is None or true_cfg <= 1.0):
        raise UsageError(f"--negative-source has no effect with a guidance of {scale:g}; give --guidance above 1")


def _refuse_stored(source: Path, prompt: str | None, settings: InversionSettings, model: ModelChoice) -> None:
    given = [*([] if prompt is None else ["--prompt"]), *settings.given]
    given += [] if model.sampler is None else ["--sampler"]
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be given with {source}, which keeps its own; to change it, invert again"
        )


def _refuse_original(original: Path | None, source: Path) -> None:
    if original is not None:
        raise UsageError(f"--source is for inversions; {source} is the image itself")


def _check_files(outputs: Sequence[Path], inputs: Sequence[Path], compare: Path | None) -> None:
    if compare is not None:
        destinations.require_picture_path(compare)
    destinations.require_apart(outputs, inputs)


def _read_picture(path: Path, reporting: Reporting) -> Image.Image:
    from renoise import images

    with remarks(Terminal(reporting.quiet).note, debug=reporting.debug):
        return images.load(path)


def _invert(
    work: Work,
    picture: Image.Image,
    prompt: str,
    negative_prompt: str | None,
    config: InversionConfig,
    settings: InversionSettings,
) -> Inversion:
    height, width = work.editor.size
    if settings.fit == "keep" and picture.height * picture.width > _FAR_LARGER * height * width:
        work.note(
            f"--fit keep: the model is made for {width} x {height}; at {picture.width} x {picture.height} it is slow, "
            "takes much memory, and may draw things twice"
        )
    inversion = work.invert(picture, prompt, negative_prompt, config, fit=settings.fit or "crop")
    if settings.noise_correction and inversion.noise is None:
        work.note(f"--noise-correction has no effect: {inversion.scheduler['class']} adds no noise in its steps")
    return inversion


def _reconstruct_if_of_use(
    work: Work, inversion: Inversion, picture: Image.Image | None, compare: Path | None, force: bool
) -> tuple[Tensor | None, Quality | None]:
    """The reconstruction, if there is something to measure it with or a place to show it."""
    if picture is None and compare is None:
        return None, None
    again = work.reconstruct(inversion, force=force)
    return again, None if picture is None else work.quality(inversion, again, picture)


def _panels(inversion: Inversion, picture: Image.Image | None, again: Tensor | None) -> list[Panel]:
    """The source and the reconstruction with their labels, as far as they are there."""
    from renoise import images

    prompt = _only(inversion.prompt)
    fit, panels = inversion.fits[0], []
    if picture is not None:
        seen = images.refit(picture, fit, inversion.size)
        panels.append(("source", prompt, images.unfit(seen, fit)))
    if again is not None:
        panels.append(("reconstruction", prompt, _picture(inversion, again)))
    return panels


def _only(prompt: str | Sequence[str]) -> str:
    """The prompt of an inversion of one image."""
    return prompt if isinstance(prompt, str) else prompt[0]


def _picture(inversion: Inversion, pixels: Tensor) -> Image.Image:
    """What the model drew, in the shape in which it is shown and written."""
    from renoise import images

    return images.unfit(images.to_pictures(pixels)[0], inversion.fits[0])


def _save_pictures(pictures: Any) -> None:
    from renoise import images

    for path, picture in pictures:
        images.save(picture, path)


def _save_comparison(path: Path | None, panels: Sequence[Panel]) -> None:
    if path is not None:
        _save_pictures([(path, side_by_side(panels))])


def _some(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _result(reporting: Reporting, document: dict[str, Any], summary: str) -> str:
    if reporting.json:
        return report.as_json(document)
    return "" if reporting.quiet else summary
