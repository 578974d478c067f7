"""A run's core as an ONNX file, with all that NumPy needs to make its inputs; verified.

Keras' exporter runs on its PyTorch backend, in a child process:
`KERAS_BACKEND=torch python -m covid_lm.serving.onnx_export RUN_DIR DIRECTORY`. On the TensorFlow
backend it needs tf2onnx, which writes a file that ONNX Runtime refuses (Expand to a negative size).
"""

import functools
import io
import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from covid_lm.data.records import ImageRecord
from covid_lm.environment import run_child
from covid_lm.errors import RunError, reason
from covid_lm.files import atomic_directory, read_json, write_json, write_text
from covid_lm.layers import symbols
from covid_lm.layers.token_encoder import symbol_token_ids
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.serving.saved_model import TOLERANCES, recomputed

MODULE = "covid_lm.serving.onnx_export"
CORE, TOKENIZER, EXAMPLE, README = "core.onnx", "tokenizer.json", "predict.py", "README.md"
MOST_SAMPLES = 16  # of a run's images, with which an export is verified
README_TEXT = f"""\
# An image classifier for ONNX Runtime

`python {EXAMPLE} IMAGE ...` prints the class probabilities of image files. It needs `numpy`,
`pillow` and `onnxruntime`.

- `{CORE}`: token ids to probabilities. Inputs `token_ids`, `segment_ids` and `padding_mask`, int32
  [batch, length]; of a model of patches, `token_ids` has a third dimension, the bytes of a patch.
- `{TOKENIZER}`: the image's size and colours, the ids of the 256 values of a byte and of the
  special words, the positions that are kept at the start (`head`) and at the end (`tail`), the
  number of [MASK] for the name (null: one for each byte of the name), and the classes.
- `{EXAMPLE}`: all steps from a file to probabilities, as an example for other languages. Pillow's
  JPEG decoder can differ by a level of a pixel from the one the model was trained with.
"""


def export_onnx(
    classifier: TokenClassifier, run_dir: str, directory: str, records: Sequence[ImageRecord]
) -> float:
    """Writes a directory with the core, the tokenizer's tables and an example, verified.

    The example must compute the classifier's probabilities from images as PNG: JPEG decoders differ
    by a level.

    Args:
        classifier: that of the run.
        directory: replaced completely or not at all.
        records: images of the run, of which the first are compared.

    Returns:
        The largest absolute difference of probabilities.

    Raises:
        RunError: the exporter failed, or the probabilities differ; nothing is written then.
    """
    images = _as_png(records[:MOST_SAMPLES])
    expected = recomputed(classifier.serving_copy("float32"), images)
    with atomic_directory(directory) as staged:
        run_child("export to ONNX", MODULE, run_dir, staged, keras_backend="torch")
        example = os.path.join(os.path.dirname(__file__), "onnx_predict.py")
        shutil.copyfile(example, os.path.join(staged, EXAMPLE))
        write_text(os.path.join(staged, README), README_TEXT)
        try:
            answers = _answers(staged, images)
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise RunError(f"{directory}: not written, the example: {reason(error)}") from error
        difference = float(np.max(np.abs(answers - expected)))
        if not difference <= TOLERANCES["float32"]:
            raise RunError(
                f"{directory}: not written, the example's probabilities differ by "
                f"{difference:.2e} from the model's (at most {TOLERANCES['float32']:.0e} allowed)"
            )
    return difference


def _as_png(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The images that Pillow reads, as PNG, and two whose channels differ, of other sizes."""
    pictures = []
    for record in records:
        try:
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(record.read())))
            pictures.append((record.filename, picture.convert("RGB")))
        except OSError:  # a kind that Pillow doesn't know
            continue
    random = np.random.default_rng(0)
    for height, width in ((37, 90), (211, 150)):
        values = random.integers(0, 256, [height, width, 3]) // [1, 2, 4]
        pictures.append((f"{height}x{width}.png", Image.fromarray(values.astype(np.uint8))))
    return [
        ImageRecord(name, 0, "test", name, functools.partial(_png, picture))
        for name, picture in pictures
    ]


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _answers(directory: str, images: Sequence[ImageRecord]) -> np.ndarray:
    """The example's probabilities, each image by itself and all at once, [2, images, classes]."""
    example = runpy.run_path(os.path.join(directory, EXAMPLE))  # leaves no compiled file there
    settings = read_json(os.path.join(directory, TOKENIZER))
    session = example["onnxruntime"].InferenceSession(os.path.join(directory, CORE))
    inputs = []
    for image in images:
        pixels = example["decode"](io.BytesIO(image.read()), settings)
        inputs.append(example["tokenize"](pixels, os.fsencode(image.filename), settings))
    batch = {key: np.concatenate([x[key] for x in inputs]) for key in inputs[0]}
    alone = np.concatenate([session.run(None, x)[0] for x in inputs])
    return np.stack([alone, session.run(None, batch)[0]])


def write_core(run_dir: str, directory: str) -> None:
    """Writes `core.onnx` and `tokenizer.json` of a run; Keras must have the PyTorch backend."""
    copy = cast(TokenClassifier, load_classifier(run_dir)).serving_copy("float32")
    core = copy.core
    # The exporter takes the shapes of a call; its batch dimension stays free.
    core({x.name: np.ones([1, *x.shape[1:]], np.int32) for x in core.inputs})
    core.export(os.path.join(directory, CORE), format="onnx", verbose=False)
    write_json(os.path.join(directory, TOKENIZER), tokenizer(copy))


def tokenizer(copy: TokenClassifier) -> dict:
    """The content of `tokenizer.json` for a serving copy; ids are rows of its embedding table."""
    preprocessor = copy.preprocessor()
    name = preprocessor.file_name_input  # never `visible`: a test phase hides the characters
    lengths = {"absent": 0, "fixed": name.fixed_length}
    ids = cast(np.ndarray, copy.embedding_rows)[symbol_token_ids(copy.vocabulary)].tolist()
    return {
        "classes": copy.config.classes,
        "image_size": preprocessor.image_input.image_size,
        "color": preprocessor.image_input.color,
        "patch_size": preprocessor.concatenation.patch_size,
        "head": preprocessor.trim.head,
        "tail": preprocessor.trim.tail,
        "name_length": lengths.get(name.policy),  # null: as the name is, at most 1024 bytes
        "value_ids": ids[: symbols.NAME_OFFSET],
        "[PAD]": ids[symbols.PAD],
        "[CLS]": ids[symbols.CLS],
        "[SEP]": ids[symbols.SEP],
        "[MASK]": ids[symbols.MASK],
    }


if __name__ == "__main__":
    write_core(*sys.argv[1:])
