"""A contender in a process of its own: neither its threads nor its memory touch the others'.

The process reads one JSON line with its contender and case, builds the step, runs it once and
answers `{"built": true}`; after that it answers each line, a number of steps, with
`{"seconds": ..., "calls": [...], "peak_bytes": ...}`, the median time of a step, that of each, and
its memory so far. It sleeps while it waits.
"""

import contextlib
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from covid_lm.benchmark import (
    contenders,
    masked_lm_contenders,
    raw_image_contenders,
)
from covid_lm.benchmark.cases import Case
from covid_lm.environment import child_environment
from covid_lm.errors import RunError

BUILDERS = {
    "covid_lm": contenders.covid_lm,
    "keras_hub": contenders.keras_hub,
    "hugging_face": contenders.hugging_face,
    "covid_lm_mlm": masked_lm_contenders.covid_lm_mlm,
    "hugging_face_mlm": masked_lm_contenders.hugging_face_mlm,
    "hf_mlm_tuned": masked_lm_contenders.hf_mlm_tuned,
    "tensorflow_product": contenders.tensorflow_product,
    "torch_product": contenders.torch_product,
    "export": raw_image_contenders.export,
    "map_fn": raw_image_contenders.map_fn,
    "pillow_hf": raw_image_contenders.pillow_hf,
    "pillow_hf_tuned": raw_image_contenders.pillow_hf_tuned,
}
NEEDS = {
    "hugging_face": ("torch", "transformers"),
    "hugging_face_mlm": ("torch", "transformers"),
    "hf_mlm_tuned": ("torch", "transformers"),
    "torch_product": ("torch",),
    "pillow_hf": ("torch", "transformers"),
    "pillow_hf_tuned": ("torch", "transformers"),
}
TURN_SECONDS = 1.0


class Worker:
    """The parent's end of a worker process; a context manager that ends it.

    The process starts at once, so that several are built side by side.

    Args:
        contender: a key of `BUILDERS`.
        case: what to measure.
    """

    def __init__(self, contender: str, case: Case):
        self.contender = contender
        self._case = case
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "covid_lm.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                **process_environment(),
                "OMP_NUM_THREADS": str(case.threads),
                "RAYON_NUM_THREADS": str(case.threads),
            },
        )
        self._write({"contender": contender, "case": dataclasses.asdict(case)})

    def built(self) -> None:
        """Waits until the step is built and has run once.

        Raises:
            RunError: the process failed, with the last line of what it said.
        """
        self._read()

    def warm_up(self) -> None:
        """Runs one more step, alone, to tell how many make a turn; raises as `built`."""
        seconds = self._ask(1)["seconds"]
        self._steps = max(self._case.calls, round(TURN_SECONDS / seconds))

    def turn(self) -> dict:
        """Runs about a second of steps, at least as many as the case asks for.

        Returns:
            "seconds" of a step (median), "calls" (of every one) and "peak_bytes" of the process.
        """
        return self._ask(self._steps)

    def _ask(self, steps: int) -> dict:
        self._write(steps)
        return self._read()

    def _write(self, question: dict | int) -> None:
        assert self._process.stdin is not None
        # A process that is gone says why when it is read from.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        try:
            return json.loads(self._process.stdout.readline())
        except ValueError:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["no message"]
            raise RunError(f"benchmark of {self.contender} failed: {said[-1]}") from None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # what a process that is gone has not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()


def process_environment() -> dict[str, str]:
    """Of a process that finds this package, computes on the CPU and takes Keras' TensorFlow."""
    return {**child_environment("tensorflow"), "CUDA_VISIBLE_DEVICES": ""}


def serve() -> None:
    """The worker process: answers the lines of its standard input until that ends."""
    # Libraries may print; the answers get the real standard output to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict) -> None:
        print(json.dumps(message), file=answers, flush=True)

    request = json.loads(sys.stdin.readline())
    case = Case(**request["case"])
    step = BUILDERS[request["contender"]](case)
    step()
    answer({"built": True})
    for line in sys.stdin:
        calls = _calls(step, json.loads(line), case.callers)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer({"seconds": statistics.median(calls), "calls": calls, "peak_bytes": peak_bytes})


def _calls(step: contenders.Step, count: int, callers: int) -> list[float]:
    if callers == 1:
        return [_seconds(step) for _ in range(count)]
    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(lambda _: _seconds(step), range(count)))


def _seconds(step: contenders.Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve()
