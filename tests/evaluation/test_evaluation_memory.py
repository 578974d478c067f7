"""Evaluation of a CIFAR-sized split in memory that does not grow with it."""

import resource

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.protocol_metrics import evaluate_protocols
from tests.conftest import encode
from tests.serving.tiny_model import tiny_classifier


def records(count: int) -> list[ImageRecord]:
    """Images of noise, generated when they are read."""

    def read(number: int) -> bytes:
        noise = np.random.default_rng(number).integers(0, 256, [32, 32, 3], dtype=np.uint8)
        return encode(noise)

    return [
        ImageRecord(
            filename=f"{number:05}.png",
            label=number % 3,
            split="test",
            path=str(number),
            read=lambda number=number: read(number),
        )
        for number in range(count)
    ]


@pytest.mark.slow
def test_ten_thousand_images_take_the_memory_of_a_thousand(capsys):
    classifier = tiny_classifier(protocol="fixed")
    peaks = []
    for count in (1_000, 10_000):
        evaluation = evaluate_protocols(classifier, records(count))
        assert evaluation.rows["fixed"]["n"] == count
        assert evaluation.own_probabilities.shape == (count, 3)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    # 10,000 decoded and tokenized images would be 92 MB; the bootstrap's weights are bounded.
    growth = peaks[1] - peaks[0]
    with capsys.disabled():
        print(f"\npeak {peaks[0] / 1e6:.0f} MB for 1,000 images, {growth / 1e6:+.0f} MB for 10,000")
    assert growth < 150e6
