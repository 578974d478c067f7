"""Suite `soak`: an export under four callers for minutes, a tenth of the images unusable.

It shows an operator if memory grows, if a call fails, and if the answers stay the same.
"""

import array
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covid_lm.benchmark.cases import CALLERS, Options
from covid_lm.benchmark.contenders import set_tensorflow_threads
from covid_lm.benchmark.raw_image_contenders import read_images
from covid_lm.benchmark.raw_images import write_raw_images
from covid_lm.benchmark.rounds import latencies
from covid_lm.environment import run_child
from covid_lm.serving.predict import ExportedModel

BAD_EVERY = 10
WARM_UP_SECONDS = 60
SAMPLE_SECONDS = 5.0
BAD_IMAGES = (b"", b"junk", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0")


def run(options: Options) -> dict:
    """Soak an export of each backbone in turn; return "notes", and "cases" as `soak` does.

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
        What `rounds.latencies` returns, and "seconds"; "bad_calls"; "errors", the calls that
        raised; "wrong", the answers that differ from the first one for the same image, or that
        call a bad image valid; "bytes", resident memory every five seconds; "growth", see
        `memory_growth`.
    """
    calls = _Calls(directory, threads)
    end = time.monotonic() + seconds
    memory = []
    with ThreadPoolExecutor(CALLERS) as pool:
        running = [pool.submit(calls.call_until, end) for _ in range(CALLERS)]
        while (left := end - time.monotonic()) > 0:
            memory.append(_resident_bytes())
            time.sleep(min(SAMPLE_SECONDS, left))
        for caller in running:
            caller.result()
    measured = {**latencies(calls.seconds), **calls.counts}
    return {**measured, "seconds": seconds, "bytes": memory, "growth": memory_growth(memory)}


class _Calls:
    """Calls of an export by several threads, with their latencies and counts."""

    def __init__(self, directory: str, threads: int):
        set_tensorflow_threads(threads)
        self.model = ExportedModel(os.path.join(directory, "export"))
        images, names = read_images(os.path.join(directory, "images"))
        self.files = list(zip(map(os.fsdecode, names), images, strict=True))
        self.expected = [prediction for file in self.files for prediction in self.model([file])]
        self.counts = {"bad_calls": 0, "errors": 0, "wrong": 0}
        self.seconds = array.array("d")  # a list of floats would grow by more than the export
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def call_until(self, end: float) -> None:
        """Call with one image after another until `time.monotonic()` reaches `end`."""
        while time.monotonic() < end:
            turn = next(self._turns)
            bad = turn % BAD_EVERY == BAD_EVERY - 1
            place = turn % len(self.files)
            name, image = self.files[place]
            if bad:
                image = BAD_IMAGES[turn // BAD_EVERY % len(BAD_IMAGES)]
            start = time.perf_counter()
            try:
                (answer,) = self.model([(name, image)])
            except Exception:  # any kind: all count as errors
                answer = None
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds.append(spent)
                self.counts["bad_calls"] += bad
                if answer is None:
                    self.counts["errors"] += 1
                elif not answer.error if bad else answer != self.expected[place]:
                    self.counts["wrong"] += 1


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
