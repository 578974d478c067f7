"""Frames of DICOM files as PNG files of 8 bits.

Grayscale values are rescaled (slope and intercept, or a lookup table), then windowed by the file's
own window or lookup table, or by a given window. Without either, the smallest value becomes black
and the largest white. MONOCHROME1 is inverted: there, large values are dark.
"""

import io
from typing import Any

import numpy as np

from covid_lm.data.deep_images import full_range_levels, png, to_levels, windowed_levels
from covid_lm.data.dicom import count_frames, errors_in_one_line, parsed
from covid_lm.data.windows import NotConverted, Window, check_size
from covid_lm.errors import reason

TRANSFORMS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
GRAYSCALE = (
    *("BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)
# Markers of JPEG: starts of frames, and the header of a hierarchical image.
_DECLARES_SIZE = frozenset({*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC})
_JPEG_2000 = b"\xff\x4f\xff\x51"


def frame_as_png(content: bytes, frame: int | None, window: Window | None) -> bytes:
    """One frame of a DICOM file as a PNG file of 8 bits.

    Args:
        frame: its number from 0; the middle one for None.
        window: instead of the file's own.

    Raises:
        NotConverted: damaged, without an image or such a frame, or an encoding that isn't read.
    """
    with errors_in_one_line():
        dataset = parsed(io.BytesIO(content))
        frames = count_frames(dataset, len(content))
        index = frames // 2 if frame is None else frame
        if not 0 <= index < frames:
            raise NotConverted(f"no frame {index + 1}; it has {frames}")
        _check_pixels(dataset, index, frames)
        return png(_levels(dataset, index, window))


def _check_pixels(dataset: Any, index: int, frames: int) -> None:
    """Refuses an image that would take more memory than its header or the limit says."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    width, height = int(dataset.Columns), int(dataset.Rows)
    check_size(width, height)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax == RLELossless:
        return
    size = codestream_size(get_frame(dataset.PixelData, index, number_of_frames=frames))
    if size is None:
        raise NotConverted("damaged DICOM (a compressed frame has no size)")
    if not 0 < size[0] * size[1] <= 4 * width * height:  # decoders take as much as it declares
        raise NotConverted(
            f"damaged DICOM (a frame of {size[0]} x {size[1]} pixels, not {width} x {height})"
        )


def _levels(dataset: Any, index: int, window: Window | None) -> np.ndarray:
    """Levels of a frame, uint8 [height, width] or [height, width, 3]."""
    from pydicom.pixels import apply_color_lut, pixel_array

    kind = str(dataset.get("PhotometricInterpretation", ""))
    bits = int(dataset.get("BitsStored", dataset.get("BitsAllocated", 8)))
    samples = int(dataset.get("SamplesPerPixel", 1))
    values = pixel_array(dataset, index=index)
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        return to_levels(values, 0, np.iinfo(values.dtype).max)
    if samples > 1:
        return to_levels(values, 0, 2**bits - 1)
    levels = _gray_levels(values, _grayscale_settings(dataset, index), bits, window)
    return 255 - levels if kind == "MONOCHROME1" else levels


def _gray_levels(values: np.ndarray, settings: Any, bits: int, window: Window | None) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    rescaled = apply_modality_lut(values, settings)
    if window is not None:
        return windowed_levels(rescaled, window)
    if settings.get("VOILUTSequence"):
        top = 2 ** int(settings.VOILUTSequence[0].LUTDescriptor[2]) - 1
        return to_levels(apply_voi_lut(rescaled, settings), 0, top)
    if settings.get("WindowCenter") is not None and settings.get("WindowWidth") is not None:
        try:
            windowed = apply_voi_lut(rescaled, settings)
            with np.errstate(over="ignore"):
                ends = apply_voi_lut(np.array([-1e30, 1e30]), settings)
        except ValueError as error:
            raise NotConverted(f"unusable window ({reason(error)}); give --window") from None
        return to_levels(windowed, ends[0], ends[1])
    if bits <= 8 and rescaled is values and not settings.get("PixelRepresentation"):
        return to_levels(values, 0, 2**bits - 1)
    return full_range_levels(rescaled)


def _grayscale_settings(dataset: Any, index: int) -> Any:
    """The attributes that apply to a frame: its own before those that frames share."""
    from pydicom import Dataset

    places = [dataset]
    for name, item in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", index),
    ):
        groups = dataset.get(name) or []
        if item < len(groups):
            places += [groups[item][key][0] for key in TRANSFORMS if groups[item].get(key)]
    settings = Dataset()
    settings.file_meta = dataset.file_meta
    for place in places:
        for keyword in GRAYSCALE:
            if keyword in place:
                settings[keyword] = place[keyword]
    return settings


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, JPEG-LS or JPEG 2000 frame; None for another or a damaged one."""
    start = frame.find(_JPEG_2000, 0, 4096)
    if start >= 0:
        width, height, components = (
            int.from_bytes(frame[start + k : start + k + n]) for k, n in ((8, 4), (12, 4), (40, 2))
        )
        return (width, height) if 0 < components <= 4 else None
    place = 2 if frame.startswith(b"\xff\xd8") else len(frame)
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in _DECLARES_SIZE:
            height, width = (int.from_bytes(frame[place + k : place + k + 2]) for k in (5, 7))
            return (width, height) if 0 < frame[place + 9] <= 4 else None
        place += 2 + int.from_bytes(frame[place + 2 : place + 4])
    return None
