"""Suite `soak`: an export under four callers for minutes, a tenth of the images unusable.

What an operator wants to know: that memory stays where it is after the first minute, that nothing
fails, and that the answers stay the same.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

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
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(os.path.join(directory, "export"))
    images, names = read_images(os.path.join(directory, "images"))

    def ask(image: bytes, name: bytes) -> tuple[bool, bytes]:
        outputs = model.signatures["serving_default"](
            image_bytes=tf.constant([image]), filename=tf.constant([name])
        )
        return bool(outputs["valid"][0]), outputs["probabilities"].numpy().tobytes()

    expected = {name: ask(image, name) for image, name in zip(images, names, strict=True)}
    turns = itertools.count()
    counts = {"bad_calls": 0, "errors": 0, "wrong": 0}
    latencies: list[float] = []
    lock = threading.Lock()
    ends = time.monotonic() + seconds

    def call_on() -> None:
        while time.monotonic() < ends:
            turn = next(turns)
            bad = turn % BAD_EVERY == BAD_EVERY - 1
            image, name = images[turn % len(images)], names[turn % len(images)]
            if bad:
                image = BAD_IMAGES[turn // BAD_EVERY % len(BAD_IMAGES)]
            start = time.perf_counter()
            try:
                answer: Any = ask(image, name)
            except tf.errors.OpError:
                answer = None
            spent = time.perf_counter() - start
            right = answer is not None and (not answer[0] if bad else answer == expected[name])
            with lock:
                latencies.append(spent)
                counts["bad_calls"] += bad
                counts["errors"] += answer is None
                counts["wrong"] += answer is not None and not right

    callers = [threading.Thread(target=call_on) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    memory = []
    while (left := ends - time.monotonic()) > 0:
        memory.append(_resident_bytes())
        time.sleep(min(SAMPLE_SECONDS, left))
    for caller in callers:
        caller.join()
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "seconds": seconds,
        "calls": len(latencies),
        **counts,
        "p50": float(p50),
        "p99": float(p99),
        "bytes": memory,
        "growth": _growth(memory),
    }


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
