"""Small scans that cost little, and leaks planted in some files of one class.

Names, containers, modes and levels have the same distribution in both classes.
"""

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from covid_lm.auditing.checks import CHECKS
from covid_lm.auditing.features import container, pixels
from covid_lm.auditing.features.observations import Observation, observe, observe_all
from covid_lm.auditing.probes import Labels, ProbeResult, run_probe
from covid_lm.data.phantom.leaks import change_encoder_signature, draw_border_mark
from covid_lm.data.preview import gray_levels
from covid_lm.data.records import ImageRecord
from tests.conftest import encode

SIGNIFICANT = 0.05 / len(CHECKS)  # Bonferroni's level, which is stricter than Holm's
_BY_NAME = {check.name: check for check in CHECKS}


@dataclasses.dataclass(frozen=True)
class Scan:
    """A scan's pixels, uint8 [height, width, 3], and how they are saved."""

    pixels: np.ndarray
    image_format: str
    mode: str
    quality: int

    def payload(self, **options) -> bytes:
        image = Image.fromarray(self.pixels).convert(self.mode)
        buffer = io.BytesIO()
        image.save(buffer, self.image_format, quality=self.quality, compress_level=1, **options)
        return buffer.getvalue()


def draw_scan(rng: np.random.Generator, height: int, width: int) -> Scan:
    """A bright body with two dark lungs on a dark background, with noise."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body, lung, ground = rng.normal([150, 60, 14], [12, 10, 3])
    gray = np.full((height, width), ground)
    gray[x**2 / 0.72**2 + y**2 / rng.normal(0.62, 0.02) ** 2 < 1] = body
    for side in (-1, 1):
        gray[(x - side * 0.32) ** 2 / 0.2**2 + y**2 / 0.4**2 < 1] = lung
    gray = gray + rng.normal(0, 5, gray.shape)
    pixels = np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    image_format, mode = str(rng.choice(["PNG", "JPEG"])), str(rng.choice(["L", "RGB"]))
    return Scan(pixels, image_format, mode, int(rng.choice([75, 85, 95])))


def _edited(edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Scan], bytes]:
    return lambda scan: dataclasses.replace(scan, pixels=edit(scan.pixels)).payload()


def _letter(pixels: np.ndarray) -> np.ndarray:
    marked = pixels.copy()
    marked[8:16, 8:10] = marked[14:16, 8:14] = 255  # an L, inside the outer 6 pixels
    return marked


def _table(pixels: np.ndarray) -> np.ndarray:
    marked = pixels.copy()
    marked[-12:-7, 16:-16] = 90
    return marked


def _bars(pixels: np.ndarray) -> np.ndarray:
    marked = pixels.copy()
    marked[:, :8] = marked[:, -8:] = 12
    return marked


def _upsampled(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def _compressed(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(pixels, "JPEG", quality=60))))


def _reddish(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + np.array([6, 0, -4]), 0, 255).astype(np.uint8)


def _interlaced(scan: Scan) -> bytes:
    return scan.payload(progressive=True) if scan.image_format == "JPEG" else scan.payload()


# Leak to its check, to the files that can have it, and to the payload of such a file.
LEAKS: dict[str, tuple[str, Callable[[Scan], bool], Callable[[Scan], bytes]]] = {
    "container_bytes": (
        "container_bytes",
        lambda scan: True,
        lambda scan: change_encoder_signature(scan.payload()),
    ),
    "mode": (
        "mode",
        lambda scan: scan.image_format == "PNG",
        lambda scan: dataclasses.replace(scan, mode="RGBA").payload(),
    ),
    "border_mark": ("border", lambda scan: True, _edited(draw_border_mark)),
    "letter": ("marks", lambda scan: True, _edited(_letter)),
    "bars": ("padding", lambda scan: True, _edited(_bars)),
    "table": ("surroundings", lambda scan: True, _edited(_table)),
    "colour": ("colour", lambda scan: scan.mode == "RGB", _edited(_reddish)),
    "upsampling": ("history", lambda scan: True, _edited(_upsampled)),
    "double_jpeg": ("history", lambda scan: True, _edited(_compressed)),
    "progressive": ("encoder", lambda scan: scan.image_format == "JPEG", _interlaced),
}


def _few_features(template: Observation, record: ImageRecord) -> Observation:
    payload = record.read()
    image = Image.open(io.BytesIO(payload))
    return dataclasses.replace(
        template,
        record=record,
        format=container.image_format(image),
        mode=image.mode,
        bit_depth=container.bit_depth(payload, image.mode),
        first_bytes=container.first_bytes(payload),
        border=pixels.border_features(gray_levels(image)),
    )


class Scans:
    """A data set without leaks, of patients with two to four images each.

    Args:
        count: number of images, half of each class.
        seed: 0 or more.
        size: height and width in pixels.
        features: "all", or "few": of the first bytes, the mode and the border, which take a tenth
            of the time.
    """

    def __init__(
        self, count: int, seed: int, size: tuple[int, int] = (96, 112), features: str = "all"
    ):
        self.few = features == "few"
        rng = np.random.default_rng((seed, count))
        self.scans = [draw_scan(rng, *size) for _ in range(count)]
        sizes = rng.integers(2, 5, count)
        self.groups = np.repeat(np.arange(count), sizes)[:count]
        # Classes of equal size to within a patient's files, in random order of the patients.
        self.labels = (rng.permutation(count) % 2)[self.groups]
        self.order = rng.permutation(count)
        self.names = [rng.bytes(6).hex() for _ in range(count)]
        self.clean = self._observed(range(count), [scan.payload() for scan in self.scans])

    def _observed(self, indices: Sequence[int], payloads: Sequence[bytes]) -> list[Observation]:
        records = []
        for index, payload in zip(indices, payloads, strict=True):
            name = f"{self.names[index]}.{self.scans[index].image_format.lower()}"
            records.append(
                ImageRecord(
                    filename=name,
                    label=int(self.labels[index]),
                    split="train",
                    path=f"scans/{name}",
                    read=lambda payload=payload: payload,
                    patient=str(self.groups[index]),
                )
            )
        if self.few:
            template = observe(records[0]) if records else None
            return [_few_features(template, record) for record in records]
        seen, unreadable = observe_all(records)
        assert unreadable == []
        return seen

    def planted(self, leak: str, share: float) -> list[Observation]:
        """The files, of which a share of the positive ones (of all of them) have the leak."""
        _, possible, payload = LEAKS[leak]
        positive = int(self.labels.sum())
        chosen = [i for i in self.order if self.labels[i] == 1 and possible(self.scans[i])]
        chosen = chosen[: round(share * positive)]
        seen = [*self.clean]
        edited = self._observed(chosen, [payload(self.scans[i]) for i in chosen])
        for index, observation in zip(chosen, edited, strict=True):
            seen[index] = observation
        return seen

    def probe(self, check: str, seen: Sequence[Observation]) -> ProbeResult | None:
        """The result of one check."""
        target = Labels(self.labels, self.groups, np.zeros(len(seen), bool), 2)
        return run_probe(_BY_NAME[check].features(seen), target)

    def finds(self, check: str, seen: Sequence[Observation]) -> bool:
        """True if one check has a finding, corrected for all checks."""
        result = self.probe(check, seen)
        return result is not None and result.p_value < SIGNIFICANT
