"""Files as a model can read them: DICOM and deep gray images become 8-bit PNG files.

All readers of image files use `read_image_file`, in training, evaluation, prediction and audits.
What converts them is imported only if there is such a file: a client needs no numpy otherwise.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

from covid_lm.data import dicom
from covid_lm.data.dicom_frames import split_frame
from covid_lm.data.windows import NotConverted, Window
from covid_lm.errors import UnusableFile
from covid_lm.files import read_bytes
from covid_lm.layers.image_kinds import START_BYTES, TIFF, is_deep_gray_png, kind_of


class Conversion(NamedTuple):
    """Options of the conversion of files.

    Attributes:
        window: see `convert`.
        frames: of a DICOM file of several, one of `FRAMES`.
    """

    window: Window | None = None
    frames: str = "middle"


DEFAULT = Conversion()


def convert(
    content: bytes, path: str, window: Window | None = None, frame: int | None = None
) -> bytes:
    """The content of a file as a model can read it; unchanged unless it is DICOM or a deep image.

    Args:
        path: for messages; its extension tells a DICOM file that lacks its mark.
        window: of DICOM, gray 16-bit PNG and gray TIFF files of more than 8 bits.
        frame: of a DICOM file, from 0; the middle one for None.

    Raises:
        UnusableFile: damaged, too large, or an encoding that isn't read.
    """
    kind = kind_of(content[:START_BYTES])
    try:
        if dicom.is_dicom(kind, content, path):
            from covid_lm.data.dicom_pixels import frame_as_png

            return frame_as_png(content, frame, window)
        if frame is not None:
            raise NotConverted("no DICOM file, so it has no frames")
        if kind == TIFF or is_deep_gray_png(content):
            from covid_lm.data.deep_images import is_deep_tiff, reduce_image

            if kind != TIFF or is_deep_tiff(io.BytesIO(content)):
                return reduce_image(content, window)
    except NotConverted as error:
        raise UnusableFile(path, str(error)) from None
    return content


def read_image_file(path: str, window: Window | None = None) -> bytes:
    """Reads a file and converts it. `FILE!3` is the third frame of a DICOM file.

    Raises:
        OSError: as `read_bytes` and `convert`.
    """
    file, frame = split_frame(path)
    return convert(read_bytes(file), file, window, frame)


def read_and_convert(read: Callable[[], bytes], path: str, window: Window | None) -> bytes:
    """Converts what `read` returns, for members of archives."""
    return convert(read(), path, window)
