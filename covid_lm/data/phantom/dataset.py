"""The embedded data set: synthetic chest CT slices, without leaks unless one is planted.

    phantom() -> 400 images, "negative" and "positive" (ground-glass patches in the lungs)

Only the lesions depend on the label. Names, containers, patients and display windows have the same
distribution in both classes (`plan`). Planted leaks (`leaks`) test the audits, and models.
"""

import functools
import io

from PIL import Image

from covid_lm.data.phantom.anatomy import Lesion
from covid_lm.data.phantom.drawing import draw_slice
from covid_lm.data.phantom.leaks import (
    LEAKS,
    add_metadata,
    change_encoder_signature,
    draw_border_mark,
    plant_leak,
)
from covid_lm.data.phantom.plan import CLASSES, PlannedImage, plan_images
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.errors import InputError

__all__ = ["LEAKS", "lesions", "phantom"]

MIN_IMAGES = 16


def _plan(num_images: int, seed: int, leak: str | None, leak_share: float) -> list[PlannedImage]:
    if num_images < MIN_IMAGES:
        raise InputError(
            f"phantom num_images {num_images}: too few for three splits of two classes; "
            f"give {MIN_IMAGES} or more"
        )
    if seed < 0:
        raise InputError(f"phantom seed {seed}: negative; give 0 or more")
    if leak is not None and leak not in LEAKS:
        raise InputError(f"phantom leak {leak!r}: unknown; choose one of {', '.join(LEAKS)}")
    if not 0 <= leak_share <= 1:
        raise InputError(f"phantom leak_share {leak_share}: outside 0 to 1; give a share of files")
    plan = plan_images(num_images, seed)
    return plan if leak is None else plant_leak(plan, leak, leak_share, seed)


def _encode(planned: PlannedImage) -> bytes:
    container = planned.container
    pixels = draw_slice(planned.scene)
    if planned.edit == "border_mark":
        pixels = draw_border_mark(pixels)
    image = Image.fromarray(pixels)
    if image.size != (container.width, container.height):
        image = image.resize((container.width, container.height), Image.Resampling.BICUBIC)
    image = image.convert(container.mode)
    if planned.edit == "mode":
        image = image.convert("RGBA")
    png = container.format == "PNG"
    options = {"compress_level": 1} if png else {"quality": container.quality}
    buffer = io.BytesIO()
    image.save(buffer, container.format, **options)
    payload = buffer.getvalue()
    if planned.edit == "container_bytes":
        return change_encoder_signature(payload)
    return add_metadata(payload) if planned.edit == "metadata" else payload


def phantom(
    num_images: int = 400, seed: int = 0, leak: str | None = None, leak_share: float = 1.0
) -> ImageDataset:
    """Draws the data set in memory; the same arguments give the same bytes.

    The classes are balanced and split by patient into about 60/15/25% train, val and test. Images
    are 128 to 240 pixels high and 168 to 320 wide, gray or RGB, PNG or JPEG.

    Args:
        num_images: 16 or more; if odd, one more image is negative.
        seed: 0 or more.
        leak: one of `LEAKS`, or None.
            - `name_length`: the name is 6 characters longer.
            - `name_word`: the name begins with "covid", at the usual length.
            - `container_bytes`: another encoder's signature in the first 64 bytes.
            - `metadata`: an EXIF or PNG text entry.
            - `mode`: RGBA (opaque) in PNG files.
            - `border_mark`: a white line within the outer 6 pixels.
            - `duplicate_across_split`: a test image is a re-encoded copy of a training image of
              its class, with its own name and patient.
            - `patient_across_split`: a test image is another slice of a training patient.
        leak_share: share of the affected files that get the leak. The last two affect test images
            of both classes, `mode` positive PNG files, the others all positive files. 0.0 is the
            same as no leak.

    Raises:
        InputError: an invalid argument.
    """
    records = tuple(
        ImageRecord(
            filename=planned.filename,
            label=planned.label,
            split=planned.split,
            path=f"phantom(seed={seed})/{planned.filename}",
            read=functools.partial(bytes, _encode(planned)),
            patient=planned.patient,
        )
        for planned in _plan(num_images, seed, leak, leak_share)
    )
    return ImageDataset("phantom", CLASSES, records).check()


def lesions(
    num_images: int = 400, seed: int = 0, leak: str | None = None, leak_share: float = 1.0
) -> dict[str, tuple[Lesion, ...]]:
    """Returns the lesions of `phantom` with the same arguments, by file name, without drawing.

    A `Lesion` has centre and radii as fractions of the image's height and width, y downwards. A
    negative image has none.
    """
    plan = _plan(num_images, seed, leak, leak_share)
    return {planned.filename: planned.scene.lesions for planned in plan}
