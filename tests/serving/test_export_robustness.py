"""A reloaded export: bad images in a batch, thousands of hostile ones, and a killed exporter."""

import collections
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.serving.versions import publish_version, versions
from tests.layers import encoded_images
from tests.layers.structured_mutations import structured_mutations
from tests.peak_memory import peak_megabytes


@pytest.fixture(scope="module")
def exported(version_dirs) -> str:
    return version_dirs["fixed"]


@pytest.fixture(scope="module")
def serve(exported):
    model = tf.saved_model.load(exported)
    function = model.signatures["serving_default"]
    return lambda files: (
        {key: value.numpy() for key, value in function(tf.constant(files, tf.string)).items()}
        | {"model": model}
    )


def test_a_mixed_batch_of_64(serve):
    bad = list(encoded_images.bad_images().values())
    good = list(encoded_images.good_images(37, 45).values())
    count = 64 - len(good)
    assert count >= 14
    files = [*good, *(bad[k % len(bad)] for k in range(count))]
    order = np.random.default_rng(0).permutation(64)
    answer = serve([files[k] for k in order])
    place = np.argsort(order)
    valid = answer["valid"][place]
    np.testing.assert_array_equal(valid, [True] * len(good) + [False] * count)
    probabilities, labels = answer["probabilities"][place], answer["label"][place]
    assert not probabilities[len(good) :].any()
    assert set(labels[len(good) :]) == {b""}
    for number, file in enumerate(good):
        alone = serve([file])
        np.testing.assert_array_equal(alone["probabilities"][0], probabilities[number])
        assert alone["label"][0] == labels[number]
    together = serve(good)
    np.testing.assert_array_equal(together["probabilities"], probabilities[: len(good)])


@pytest.mark.parametrize(
    "count", [400, pytest.param(20_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_hostile_images_harm_no_neighbour(serve, count):
    originals = list(encoded_images.good_images(40, 50).values())
    good = list(encoded_images.good_images(30, 20, seed=3).values())[:8]
    expected = serve([*originals, *good])["probabilities"][len(originals) :]
    mutants = structured_mutations(originals, count, seed=count)
    seconds, reasons = [], collections.Counter()

    def serve_all() -> None:
        for start in range(0, count, 56):
            batch = mutants[start : start + 56]
            begin = time.process_time()
            answer = serve([*batch, *good])
            seconds.append(time.process_time() - begin)
            np.testing.assert_array_equal(answer["probabilities"][len(batch) :], expected)
            invalid = ~answer["valid"]
            assert not answer["probabilities"][invalid].any()
            assert np.isclose(answer["probabilities"][~invalid].sum(axis=1), 1).all()
            np.testing.assert_array_equal(answer["reason"] == b"", answer["valid"])
            reasons.update(reason.decode().split(":")[0] for reason in answer["reason"])

    peak = peak_megabytes(serve_all)
    print(f"{peak:.0f} MB, {max(seconds):.2f} s of processor time for a batch, {dict(reasons)}")
    assert peak < 300
    assert max(seconds) < 2  # processor time, which does not depend on the machine's load
    assert min(reasons["truncated or damaged"], reasons[""] - 8 * len(seconds)) > 0.1 * count
    assert reasons["too many pixels"] > 0.005 * count


def test_decompression_bombs_are_not_allocated(serve):
    serve(list(encoded_images.good_images(37, 45).values()) * 2)
    bad = list(encoded_images.bad_images().values())
    assert peak_megabytes(lambda: serve(bad)) < 300
    assert not serve(bad)["valid"].any()


PUBLISH_FOREVER = """
import shutil, sys
from covid_lm.serving.versions import publish_version
source, directory = sys.argv[1:]
print("ready", flush=True)
while True:
    publish_version(directory, lambda path: shutil.copytree(source, path))
"""


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_killed_at_any_moment_no_version_is_incomplete(exported, tmp_path):
    """Kill -9 at 50 random moments of publishing; a watcher reads every version that appears.

    `training/test_kill.py` kills whole exports, in which most of the time nothing is written.
    """
    generator = random.Random(0)
    expected = contents(pathlib.Path(exported))
    seen, unfinished = set(), 0

    def watch() -> None:
        for version in sorted(set(versions(str(tmp_path))) - seen):
            assert contents(tmp_path / str(version)) == expected
            if seen:
                shutil.rmtree(tmp_path / str(max(seen)))  # the next one is numbered after the last
            seen.add(version)

    for _ in range(50):
        command = [sys.executable, "-c", PUBLISH_FOREVER, exported, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "ready"
        deadline = time.monotonic() + generator.uniform(0, 1)
        while time.monotonic() < deadline:
            watch()
        process.kill()
        process.wait()
        unfinished += any(path.name.startswith(".") for path in tmp_path.iterdir())
        watch()
    print(f"{len(seen)} versions; {unfinished} of 50 kills while one was being written")
    assert min(len(seen), unfinished) >= 10
    publish_version(str(tmp_path), lambda path: shutil.copytree(exported, path))
    assert [path.name for path in tmp_path.iterdir() if not path.name.isdigit()] == []
