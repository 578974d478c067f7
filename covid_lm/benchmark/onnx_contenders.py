"""Contenders that run an ONNX file: ONNX Runtime and OpenVINO, each with its own settings.

The runtimes are imported inside functions, so that a worker process loads only the one it needs.
"""

import os
import threading
from collections.abc import Callable

import numpy as np

from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step, token_data
from covid_lm.benchmark.onnx_models import FILE, INPUTS
from covid_lm.benchmark.raw_image_contenders import images_step, tokenize_by_table

Run = Callable[[dict[str, np.ndarray]], np.ndarray]  # input name to array -> logits


def onnx_runtime(case: Case) -> Step:
    """Build a step of an ONNX Runtime session of Hugging Face's model, in float32."""
    return _step(case, onnx_runtime_session(os.path.join(case.material, FILE), case.threads))


def openvino(case: Case) -> Step:
    """Build a step of Hugging Face's model compiled by OpenVINO, with its latency hint.

    Its arithmetic is the case's; by default it takes bfloat16 where the processor has it.
    """
    from openvino import Core

    precision = {"float32": "f32", "bfloat16": "bf16"}[case.dtype]
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": case.threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = Core().compile_model(os.path.join(case.material, FILE), "CPU", settings)
    requests = threading.local()  # a request serves one caller at a time

    def run(inputs):
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return requests.own.infer(inputs)[0]

    return _step(case, run)


def onnx_runtime_session(path: str, threads: int) -> Run:
    """Load an ONNX file in ONNX Runtime, with threads for the work within an operation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _step(case: Case, run: Run) -> Step:
    """Build a step from token ids to logits or, for serving, from images to probabilities.

    Images are decoded and tokenized as by the contender `pillow_hf_tuned`.
    """
    if case.task == "inference":
        arrays = token_data(case)
        values = (arrays[name] for name in ("token_ids", "segment_ids", "padding_mask"))
        ids = {name: value.astype(np.int64) for name, value in zip(INPUTS, values, strict=True)}
        return lambda: run(ids)
    tokenize = tokenize_by_table(case)

    def answer(images, names):
        logits = run(tokenize(images, names))
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return {"probabilities": powers / powers.sum(axis=-1, keepdims=True)}

    return images_step(case, answer)
