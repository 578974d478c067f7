"""Suite `soak`: an export under four callers for minutes, a tenth of the images unusable.

It answers an operator's questions: does memory grow after the first minute, does any call fail,
and do the answers stay the same?
"""

import array
import itertools
import json
import os
import sys
import tempfile
import threading
import time

import numpy as np

from covid_lm.benchmark.cases import CALLERS, Options
from covid_lm.benchmark.contenders import set_tensorflow_threads
from covid_lm.benchmark.raw_image_contenders import read_images
from covid_lm.benchmark.raw_images import write_raw_images
from covid_lm.benchmark.worker import run_child

BAD_EVERY = 10
WARM_UP_SECONDS = 60
SAMPLE_SECONDS = 5.0
BAD_IMAGES = (b"", b"junk", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0")


def run(options: Options) -> dict:
    """Soak the exports of all backbones in `options`, one after another.

    Returns:
        "notes", and "cases", one for each backbone: what `soak` returns, with "suite", "backbone",
        "dtype", "batch_size" and empty "figures".

    Raises:
        InputError: there is no usable data set.
        RunError: the process of an export failed.
    """
    cases = []
    for backbone in options.backbones:
        with tempfile.TemporaryDirectory() as directory:
            images = write_raw_images(directory, backbone, "float32", options.data_dir)
            arguments = directory, str(options.minutes * 60), str(options.threads)
            answer = json.loads(run_child(f"soak of {backbone}", __name__, *arguments))
        case = {"suite": "soak", "backbone": backbone, "dtype": "float32", "batch_size": 1}
        cases.append({**case, "figures": {}, **answer})
    return {"notes": [images], "cases": cases}


def soak(directory: str, seconds: float, threads: int) -> dict:
    """Call `serving_default` of the export that `write_raw_images` wrote, with one image a call.

    Returns:
        "seconds", "calls", "bad_calls"; "errors", the calls that raised; "wrong", the answers that
        differ from the first one for the same image, or that call a bad image valid; "p50" and
        "p99", seconds of a call; "bytes", resident memory every five seconds; "growth", its median
        in the last minute minus that in the second minute, None for less than three minutes.
    """
    calls = _Calls(directory, threads)
    end = time.monotonic() + seconds
    callers = [threading.Thread(target=calls.call_until, args=(end,)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    memory = []
    while (left := end - time.monotonic()) > 0:
        memory.append(_resident_bytes())
        time.sleep(min(SAMPLE_SECONDS, left))
    for caller in callers:
        caller.join()
    p50, p99 = np.percentile(calls.latencies, [50, 99])
    return {
        "seconds": seconds,
        "calls": len(calls.latencies),
        **calls.counts,
        "p50": float(p50),
        "p99": float(p99),
        "bytes": memory,
        "growth": memory_growth(memory),
    }


class _Calls:
    """Calls of an export by several threads, with their latencies and counts."""

    def __init__(self, directory: str, threads: int):
        import tensorflow as tf

        set_tensorflow_threads(threads)
        self.model = tf.saved_model.load(os.path.join(directory, "export"))
        self.images, self.names = read_images(os.path.join(directory, "images"))
        self.expected = [self.answer(*pair) for pair in zip(self.images, self.names, strict=True)]
        self.counts = {"bad_calls": 0, "errors": 0, "wrong": 0}
        self.latencies = array.array("d")  # a list of floats would grow by more than the export
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def answer(self, image: bytes, name: bytes) -> tuple[bool, bytes]:
        """Return whether the image is valid, and the bytes of its probabilities."""
        import tensorflow as tf

        outputs = self.model.signatures["serving_default"](
            image_bytes=tf.constant([image]), filename=tf.constant([name])
        )
        return bool(outputs["valid"][0]), outputs["probabilities"].numpy().tobytes()

    def call_until(self, end: float) -> None:
        """Call with one image after another until `time.monotonic()` reaches `end`."""
        while time.monotonic() < end:
            turn = next(self._turns)
            bad = turn % BAD_EVERY == BAD_EVERY - 1
            place = turn % len(self.images)
            image = BAD_IMAGES[turn // BAD_EVERY % len(BAD_IMAGES)] if bad else self.images[place]
            start = time.perf_counter()
            try:
                answer = self.answer(image, self.names[place])
            except Exception:  # any kind: all count as errors
                answer = None
            spent = time.perf_counter() - start
            right = answer is not None and (
                not answer[0] if bad else answer == self.expected[place]
            )
            with self._lock:
                self.latencies.append(spent)
                self.counts["bad_calls"] += bad
                self.counts["errors"] += answer is None
                self.counts["wrong"] += answer is not None and not right


def memory_growth(memory: list[int]) -> float | None:
    """Median of the last minute's samples minus that of the second minute's, None if too few."""
    minute = round(WARM_UP_SECONDS / SAMPLE_SECONDS)
    if len(memory) < 3 * minute:
        return None
    return float(np.median(memory[-minute:]) - np.median(memory[minute : 2 * minute]))


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(soak(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
