"""How well an image was edited: what happened to the part that should stay, and how well the rest fits its prompt.

A mask says where an edit may change the image; the rest is the background. Its numbers are means over the pixels of
the background alone:

    MSE  = sum over background pixels and channels of (edit - image)^2 / their number       PSNR = -10 log10 MSE
    SSIM = the mean of its map there; its window of 11 x 11 looks a little into the mask at the border

The measures are those of PnP Inversion (Ju et al., 2024, arXiv 2310.01506). Its published code sets what is masked to 0
in both images and takes the mean over all pixels, which makes its MSE ours times the background's share of the
image, and its PSNR higher by -10 log10 of that share. LPIPS has no pixels, so that here too it compares images whose
mask is black, by AlexNet (the published code takes SqueezeNet).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from renoise import ConfigError
from renoise.evaluation import metrics
from renoise.evaluation.judges import Judges, structure_distance
from renoise.evaluation.measurement import finite


def fit_mask(mask: npt.NDArray[np.bool_], image: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Crop and resample a mask (h, w) as `Editor.fit` does with its image, to the nearest pixel.

    `image` and `size` are (height, width) of the image before and after it was fitted. The mask may have another size
    than the image, but must have its proportions.
    """
    height, width = mask.shape
    if height * image[1] != width * image[0]:
        raise ConfigError(
            f"a mask of {width} x {height} pixels does not fit its image of {image[1]} x {image[0]}",
            argument="mask",
            remedy="give both the same size",
        )
    whole = Image.fromarray(mask.astype(np.uint8) * 255)
    fitted = ImageOps.fit(whole, (size[1], size[0]), method=Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(fitted) > 0)


def mse_background(edit: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of images (B, 3, H, W) in [0, 1] outside masks (B, H, W), shape (B,).

    It is NaN where the mask covers everything.

    Examples:
        >>> mask = torch.tensor([[[True, False]]])
        >>> mse_background(torch.tensor([1.0, 0.5]).expand(1, 3, 1, 2), torch.zeros(1, 3, 1, 2), mask)
        tensor([0.2500])
    """
    return _mean_outside((edit.float() - image.float()).square(), mask)


def psnr_background(edit: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return the PSNR in dB of `mse_background`, shape (B,); it is infinite for equal backgrounds."""
    return -10.0 * torch.log10(mse_background(edit, image, mask))


def ssim_background(edit: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return the structural similarity of the backgrounds, shape (B,); it is NaN where the mask covers everything."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, values = structural_similarity_index_measure(
        edit.float(), image.float(), data_range=1.0, reduction="none", return_full_image=True
    )
    return _mean_outside(values, mask)


def _mean_outside(values: Tensor, mask: Tensor) -> Tensor:
    kept = (~mask)[:, None].expand_as(values)
    # 0 / 0 is NaN, as it should be. A product in place of `where` would let a NaN out of the mask.
    return torch.where(kept, values, 0.0).flatten(1).sum(dim=1) / kept.flatten(1).sum(dim=1)


def edit_numbers(
    edit: Tensor, image: Tensor, target: str, *, mask: Tensor | None, structure: Tensor | None, judges: Judges
) -> dict[str, float | None]:
    """Return everything that is measured of edits alone, by the names of a `Measurement`'s fields.

    The edit and the image before are (1, 3, H, W) in [0, 1]. The mask, boolean (H, W), is True where the edit may
    change the image; `structure` is the image's self-similarity (1, T, T). Both are None if they are not known.
    """
    numbers: dict[str, float | None] = {}
    if judges.dino is not None and structure is not None:
        numbers["structure_distance"] = float(structure_distance(judges.dino.self_similarity(edit), structure))
    if judges.clip is not None:
        numbers["clip_whole"] = float(judges.clip.similarity(edit, [target]))
    if mask is None:
        return numbers
    numbers["background"] = int((~mask).sum()) / mask.numel()
    if judges.clip is not None and mask.any():
        numbers["clip_edited"] = float(judges.clip.similarity(edit * mask, [target]))
    if mask.all():
        return numbers
    return numbers | {
        "mse_background": float(mse_background(edit, image, mask[None])),
        "psnr_background": min(float(psnr_background(edit, image, mask[None])), metrics.HIGHEST_PSNR),
        "ssim_background": finite(ssim_background(edit, image, mask[None])),
        "lpips_background": finite(metrics.lpips(edit * ~mask, image * ~mask)),
    }
