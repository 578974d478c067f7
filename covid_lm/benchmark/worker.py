"""One turn of a contender, in a process of its own that ends before the next turn begins.

Two contenders are never alive at once: a process that only holds its memory slows a PyTorch
training step in another process by up to a third.
"""

import dataclasses
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from covid_lm.benchmark import (
    cache_contender,
    contenders,
    masked_lm_contenders,
    onnx_contenders,
    patch_image_contenders,
    raw_image_contenders,
)
from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step
from covid_lm.environment import run_child

MODULE = "covid_lm.benchmark.worker"
HUGGING_FACE = ("torch", "transformers")
ONNX = (*HUGGING_FACE, "onnx", "onnxscript")  # to write the file


SIZE = 2048
PRODUCT_FLOPS = 2 * SIZE**3


def tensorflow_product(case: Case) -> Step:
    """Build a product of two [2048, 2048] matrices in the case's dtype, in TensorFlow.

    Each thread between operations computes its rows of it, as the contender's do its images.
    """
    import tensorflow as tf

    left = tf.cast(tf.random.normal([SIZE, SIZE]), case.dtype)
    right = tf.cast(tf.random.normal([SIZE, SIZE]), case.dtype)

    @tf.function
    def product():
        return [half @ right for half in tf.split(left, case.threads)]

    return product


def torch_product(case: Case) -> Step:
    """Build the same product in PyTorch."""
    import torch

    left, right = torch.randn(2, SIZE, SIZE).to(getattr(torch, case.dtype))
    return lambda: left @ right


@dataclasses.dataclass(frozen=True)
class Contender:
    """A contender's builder, the optional packages it needs, and its library's matrix product."""

    build: Callable[[Case], Step]
    needs: tuple[str, ...] = ()
    product: Callable[[Case], Step] | None = None


CONTENDERS = {
    "covid_lm": Contender(contenders.covid_lm, product=tensorflow_product),
    "keras_hub": Contender(contenders.keras_hub),
    "hugging_face": Contender(contenders.hugging_face, HUGGING_FACE, torch_product),
    "hugging_face_vit": Contender(contenders.hugging_face_vit, HUGGING_FACE, torch_product),
    "unfixed": Contender(contenders.unfixed, product=tensorflow_product),
    "no_look_up": Contender(contenders.no_look_up, product=tensorflow_product),
    "gray22": Contender(contenders.gray22),
    "covid_lm_mlm": Contender(masked_lm_contenders.covid_lm_mlm),
    "hugging_face_mlm": Contender(masked_lm_contenders.hugging_face_mlm, HUGGING_FACE),
    "hf_mlm_tuned": Contender(masked_lm_contenders.hf_mlm_tuned, HUGGING_FACE),
    "pixel_cache": Contender(cache_contender.pixel_cache),
    "export": Contender(raw_image_contenders.export),
    "map_fn": Contender(raw_image_contenders.map_fn),
    "pillow_hf": Contender(raw_image_contenders.pillow_hf, HUGGING_FACE),
    "pillow_hf_tuned": Contender(raw_image_contenders.pillow_hf_tuned, HUGGING_FACE),
    "pillow_vit": Contender(patch_image_contenders.pillow_vit, HUGGING_FACE),
    "onnx_core": Contender(patch_image_contenders.onnx_core, (*ONNX, "onnxruntime")),
    "onnx_runtime": Contender(onnx_contenders.onnx_runtime, (*ONNX, "onnxruntime")),
    "openvino": Contender(onnx_contenders.openvino, (*ONNX, "openvino")),
}


def turn(contender: str, case: Case) -> dict:
    """Run `measure_here` for a key of `CONTENDERS` in a new process, and wait for its end.

    Raises:
        RunError: the process failed; with the last line of its error output.
    """
    request = json.dumps({"contender": contender, "case": dataclasses.asdict(case)})
    on_gpu = case.device == "gpu"
    output = run_child(
        f"benchmark of {contender}",
        *(MODULE, request),
        threads=case.threads,
        on_gpu=on_gpu,
        keras_backend="jax" if on_gpu else "tensorflow",
    )
    return json.loads(output)


def measure_here(contender: Contender, case: Case) -> dict:
    """Build a contender's step in this process, call it to warm up, and time its calls.

    It is called once or, for callers, once for each of the images, as a server warms up.

    Returns:
        "calls", the seconds of each call, at least `case.min_calls` and in all at least
        `case.min_seconds`; "seconds", their median; "peak_bytes" of the process; for inference
        "product_seconds", the median of the library's matrix product, where it has one.
    """
    step = contender.build(case)
    for _ in range(raw_image_contenders.IMAGES if case.callers else 1):
        step()
    calls = timed_calls(step, case)
    result = {
        "seconds": statistics.median(calls),
        "calls": calls,
        "peak_bytes": _peak_bytes(case),
    }
    if case.task == "inference" and case.device == "cpu" and contender.product:
        product = contender.product(case)
        product()
        short = dataclasses.replace(case, min_seconds=case.min_seconds / 5)
        result["product_seconds"] = statistics.median(timed_calls(product, short))
    return result


def _peak_bytes(case: Case) -> int:
    """Peak memory of this process, or of its GPU."""
    if case.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if "torch" in sys.modules:
        import torch

        return torch.cuda.max_memory_allocated()
    from covid_lm.benchmark import jax_steps

    return jax_steps.peak_bytes()


def timed_calls(step: Step, case: Case) -> list[float]:
    """Time calls of a step by the case's callers, in seconds each."""
    calls: list[float] = []
    start = time.perf_counter()

    def call_repeatedly() -> None:
        while len(calls) < case.min_calls or time.perf_counter() - start < case.min_seconds:
            begin = time.perf_counter()
            step()
            calls.append(time.perf_counter() - begin)

    if case.callers <= 1:
        call_repeatedly()  # in the main thread, whose number of threads PyTorch has set
    else:
        with ThreadPoolExecutor(case.callers) as pool:
            for running in [pool.submit(call_repeatedly) for _ in range(case.callers)]:
                running.result()
    return calls


def main(request: str) -> None:
    """Measure what the request says and print the result, as JSON, on the last line."""
    # Libraries may print; only the result goes to the real standard output.
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        values = json.loads(request)
        result = measure_here(CONTENDERS[values["contender"]], Case(**values["case"]))
        output.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
