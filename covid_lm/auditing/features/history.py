"""Features of an image's history: earlier scaling and JPEG compression, by spectra.

Upsampling leaves no energy at high frequencies. JPEG rounds the coefficients of 8 x 8 blocks to
multiples of a step, and their histogram keeps gaps even if the image is saved in another format;
a second compression adds a second period (Popescu and Farid 2004, "Statistical tools for digital
forensics", IH 2004, LNCS 3200).
"""

from collections.abc import Mapping

import numpy as np
from scipy import fft

SIDE = 256
BLOCK = 8
MAX_COEFFICIENT = 64
COEFFICIENTS = ((0, 1), (1, 0), (1, 1))
BANDS = ((0.125, 0.25), (0.25, 0.375), (0.375, 0.5))  # cycles per pixel
PERIODS = np.arange(2, 21)  # longer ones are the histogram's shape
STRONG = 0.85  # of the strongest period
CLEAR = 0.3
_LEVELS = np.arange(-MAX_COEFFICIENT, MAX_COEFFICIENT + 1)
_WAVES = np.exp(2j * np.pi * _LEVELS / PERIODS[:, None])


def history_features(gray: np.ndarray) -> dict[str, float]:
    """Energy at high frequencies, and the strongest period of three coefficients.

    Args:
        gray: uint8 [height, width]; at most 256 x 256 around the centre are used, cut on the grid
            of JPEG's blocks.
    """
    starts = [max(side - SIDE, 0) // 2 // BLOCK * BLOCK for side in gray.shape]
    part = gray[starts[0] : starts[0] + SIDE, starts[1] : starts[1] + SIDE].astype(np.float32)
    return {**_band_energies(part), **_coefficient_periods(part)}


def _band_energies(part: np.ndarray) -> dict[str, float]:
    """Energy of two bands of frequencies across and down, in powers of ten of a lower band's."""
    features = {}
    for axis, name in ((1, "across"), (0, "down")):
        length = part.shape[axis]
        window = np.hanning(length).astype(np.float32)
        shaped = (part - part.mean()) * (window if axis == 1 else window[:, None])
        energy = (np.abs(fft.rfft(shaped, axis=axis)) ** 2).mean(axis=1 - axis)
        bands = [energy[int(low * length) : int(high * length)].sum() + 1e-3 for low, high in BANDS]
        features[f"middle frequencies {name}"] = float(np.log10(bands[1] / bands[0]))
        features[f"high frequencies {name}"] = float(np.log10(bands[2] / bands[0]))
    return features


def _coefficient_periods(part: np.ndarray) -> dict[str, float]:
    """Strength and length of the strongest period in the histograms of DCT coefficients."""
    rows, columns = (side // BLOCK for side in part.shape)
    features = {}
    blocks = part[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    transformed = fft.dctn(blocks, axes=(1, 3), norm="ortho")
    for down, across in COEFFICIENTS:
        values = np.rint(transformed[:, down, :, across]).astype(int).ravel()
        inside = values[(np.abs(values) <= MAX_COEFFICIENT) & (values != 0)]
        histogram = np.bincount(inside + MAX_COEFFICIENT, minlength=len(_LEVELS))
        strengths = np.abs(_WAVES @ histogram) / max(len(inside), 1)
        # Multiples of 6 are multiples of 3 and 2, too: the longest of the strong periods counts.
        best = np.flatnonzero(strengths >= STRONG * strengths.max())[-1]
        name = f"of coefficient {down},{across}"
        features[f"periodicity {name}"] = float(strengths[best])
        features[f"period {name}"] = float(PERIODS[best])
    return features


def period_facts(features: Mapping[str, float]) -> tuple[str, ...]:
    """Clear periods as statements, such as "period of coefficient 0,1 is 9"."""
    names = [f"of coefficient {down},{across}" for down, across in COEFFICIENTS]
    return tuple(
        f"period {name} is {features[f'period {name}']:.0f}"
        for name in names
        if features[f"periodicity {name}"] >= CLEAR
    )
