"""The embedded data set: synthetic chest CT slices, without leaks unless one is planted.

    phantom() -> 400 images, "negative" and "positive" (ground-glass patches in the lungs)

Only the lesions depend on the label. Names, containers, patients and display windows have the same
distribution in both classes (`plan`). Planted leaks (`leaks`) test the audits, and models.
"""

import functools
import io

from PIL import Image

from covid_lm.data.phantom import leaks
from covid_lm.data.phantom.drawing import draw_slice
from covid_lm.data.phantom.leaks import LEAKS, plant_leak
from covid_lm.data.phantom.plan import CLASSES, PlannedImage, plan_images
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.errors import InputError

__all__ = ["LEAKS", "phantom"]

MIN_IMAGES = 16


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
            - `name_class`: the paper's names, `covid_PATIENT_SLICE` and `non-covid_PATIENT_SLICE`.
        leak_share: share of files that get the leak: of the test images of both classes for the
            two across splits, of all files for `name_class`, of the positive files for the others.
            `mode` changes PNG files only, so at most about half of these. 0.0 is the same as no
            leak.

    Raises:
        InputError: an invalid argument.
    """
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
    if leak is not None:
        plan = plant_leak(plan, leak, leak_share, seed)
    records = tuple(
        ImageRecord(
            filename=planned.filename,
            label=planned.label,
            split=planned.split,
            path=f"phantom(seed={seed})/{planned.filename}",
            read=functools.partial(bytes, _encode(planned)),
            patient=planned.patient,
        )
        for planned in plan
    )
    return ImageDataset("phantom", CLASSES, records).check()


def _encode(planned: PlannedImage) -> bytes:
    container, edit = planned.container, planned.edit
    pixels = draw_slice(planned.scene)
    if edit == "border_mark":
        pixels = leaks.draw_border_mark(pixels)
    size = container.width, container.height  # of a copy, the drawing can have another size
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(container.mode)
    if edit == "mode":
        image = image.convert("RGBA")
    buffer = io.BytesIO()
    # Each of the two formats ignores the option of the other.
    image.save(buffer, container.format, compress_level=1, quality=container.quality)
    payload = buffer.getvalue()
    if edit == "container_bytes":
        return leaks.change_encoder_signature(payload)
    return leaks.add_metadata(payload) if edit == "metadata" else payload
