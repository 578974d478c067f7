"""Small labelled images whose properties a test sets."""

import functools

import numpy as np

from covid_lm.auditing.features.observations import observe
from covid_lm.data.records import ImageDataset, ImageRecord
from tests.conftest import encode


def noise(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """Coarse gray noise, another image for each seed: uint8 [height, width]."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, [5, 6], np.uint8)
    return np.kron(coarse, np.ones((height // 5, width // 6), np.uint8))


def record(name="a.png", label=0, split="train", payload=b"", patient=None, path=None):
    return ImageRecord(
        filename=name,
        label=label,
        split=split,
        path=path or f"data/{split}/{label}/{name}",
        read=functools.partial(bytes, payload),
        patient=patient,
    )


def observed(number: int, **settings):
    """The observation of noise image `number`."""
    settings.setdefault("payload", encode(noise(number)))
    settings.setdefault("name", f"{number:04}.png")
    return observe(record(**settings))


def noise_dataset(count: int = 60, classes=("negative", "positive"), name=None, **settings):
    """Noise without any relation to the label; every third image of a class is a test image."""
    names = name or (lambda number, label: f"{(number * 7919) % 10007:05}.png")
    records = [
        record(
            name=names(number, number % len(classes)),
            label=number % len(classes),
            split="test" if number // len(classes) % 3 == 2 else "train",
            payload=encode(noise(number)),
            **settings,
        )
        for number in range(count)
    ]
    return ImageDataset("noise", tuple(classes), tuple(records))
