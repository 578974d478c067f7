"""Suite `soak`: an export under four callers for minutes, a tenth of the images unusable.

What an operator wants to know: that memory stays where it is after the first minute, that nothing
fails, and that the answers stay the same.
"""

import array
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np

from covid_lm.benchmark.cases import Options
from covid_lm.benchmark.raw_image_contenders import read_images
from covid_lm.benchmark.raw_images import raw_images
from covid_lm.benchmark.worker import process_environment
from covid_lm.errors import RunError

CALLERS = 4
BAD_EVERY = 10
WARM_UP_SECONDS = 60
SAMPLE_SECONDS = 5.0
BAD_IMAGES = (b"", b"junk", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0")


def run(options: Options) -> dict:
    """Soaks the export of every backbone in `options`, one after another.

    Returns:
        "suite", "notes", "tables" (the result in lines) and "cases", one for each backbone: what
        `soak` returns, with "backbone".

    Raises:
        RunError: the export failed as a whole.
    """
    cases = []
    for backbone in options.backbones:
        with raw_images(backbone, "float32", options.data_dir) as (directory, images):
            command = [sys.executable, "-m", "covid_lm.benchmark.soak"]
            command += [directory, str(options.minutes * 60), str(options.threads)]
            process = subprocess.run(
                command, env=process_environment(), capture_output=True, text=True
            )
        if process.returncode:
            said = process.stderr.strip().splitlines() or ["no message"]
            raise RunError(f"soak of {backbone} failed: {said[-1]}")
        answer = json.loads(process.stdout.splitlines()[-1])
        cases.append({"backbone": backbone, **answer})
    lines = [soak_line(case) for case in cases]
    return {"suite": "soak", "notes": [images], "cases": cases, "tables": lines}


def soak_line(case: dict) -> str:
    """A case in words."""
    growth = (
        "run too short for one" if case["growth"] is None else f"{case['growth'] / 1e6:+.1f} MB"
    )
    return (
        f"{case['backbone']}: {case['calls']} calls of {CALLERS} callers in {case['seconds']:.0f} "
        f"s, {case['bad_calls']} with a bad image; {case['errors']} errors, {case['wrong']} wrong "
        f"answers; p50 {1e3 * case['p50']:.1f} ms, p99 {1e3 * case['p99']:.1f} ms (p99/p50 "
        f"{case['p99'] / case['p50']:.2f}); memory {case['bytes'][-1] / 1e6:.0f} MB, growth after "
        f"the first minute {growth}"
    )


def soak(directory: str, seconds: float, threads: int) -> dict:
    """Calls `serving_default` of the export in `directory` (`raw_images`), an image a call.

    Returns:
        "seconds", "calls", "bad_calls"; "errors", calls that raised; "wrong", answers unlike the
        first one to the same image, or valid where the image is bad; "p50" and "p99", seconds of a
        call; "bytes", resident memory every five seconds; "growth", the median of it in the last
        minute less that in the second, None of a run under three minutes.
    """
    calls = _Calls(directory, threads)
    ends = time.monotonic() + seconds
    callers = [threading.Thread(target=calls.go_on, args=(ends,)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    memory = []
    while (left := ends - time.monotonic()) > 0:
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
        "growth": _growth(memory),
    }


class _Calls:
    """The export, what it is asked, and what came of it; several threads may `go_on` at once."""

    def __init__(self, directory: str, threads: int):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.model = tf.saved_model.load(os.path.join(directory, "export"))
        self.images, self.names = read_images(os.path.join(directory, "images"))
        self.expected = [self.ask(*pair) for pair in zip(self.images, self.names, strict=True)]
        self.counts = {"bad_calls": 0, "errors": 0, "wrong": 0}
        self.latencies = array.array("d")  # a list of floats would be what grows most
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def ask(self, image: bytes, name: bytes) -> tuple[bool, bytes]:
        """Whether the image is valid, and the bytes of its probabilities."""
        import tensorflow as tf

        outputs = self.model.signatures["serving_default"](
            image_bytes=tf.constant([image]), filename=tf.constant([name])
        )
        return bool(outputs["valid"][0]), outputs["probabilities"].numpy().tobytes()

    def go_on(self, ends: float) -> None:
        """Asks one image after another until `time.monotonic()` is `ends`."""
        while time.monotonic() < ends:
            turn = next(self._turns)
            bad = turn % BAD_EVERY == BAD_EVERY - 1
            place = turn % len(self.images)
            image = BAD_IMAGES[turn // BAD_EVERY % len(BAD_IMAGES)] if bad else self.images[place]
            start = time.perf_counter()
            try:
                answer = self.ask(image, self.names[place])
            except Exception:  # whatever it is: an operator counts it
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


def _growth(memory: list[int]) -> float | None:
    minute = round(WARM_UP_SECONDS / SAMPLE_SECONDS)
    if len(memory) < 3 * minute:
        return None
    return float(np.median(memory[-minute:]) - np.median(memory[minute : 2 * minute]))


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(soak(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
