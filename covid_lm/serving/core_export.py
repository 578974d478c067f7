"""A run's core as an ONNX or LiteRT file, with all that NumPy needs to make its inputs; verified.

Keras' exporters write the core in a child process: `python -m covid_lm.serving.core_export RUN_DIR
DIRECTORY FORMAT`, for ONNX with KERAS_BACKEND=torch. On the TensorFlow backend that exporter needs
tf2onnx, which writes a file that ONNX Runtime refuses (Expand to a negative size).
"""

import dataclasses
import functools
import io
import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from covid_lm.data.records import ImageRecord
from covid_lm.environment import run_child, startup_lines_held
from covid_lm.errors import RunError, one_line, reason
from covid_lm.files import atomic_directory, read_json, write_json, write_text
from covid_lm.layers import symbols
from covid_lm.layers.token_encoder import symbol_token_ids
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.serving.saved_model import TOLERANCES, recomputed

MODULE = "covid_lm.serving.core_export"
TOKENIZER, EXAMPLE, README = "tokenizer.json", "predict.py", "README.md"
MOST_SAMPLES = 16  # of a run's images, with which an export is verified


@dataclasses.dataclass(frozen=True)
class CoreFormat:
    """A file format of Keras' exporters.

    Attributes:
        title: the program that runs the file.
        package: its name for pip.
        file: name of the core's file.
        keras_backend: that the exporter needs.
        note: what a user of the file must know, for its README.
    """

    title: str
    package: str
    file: str
    keras_backend: str
    note: str


FORMATS = {
    "onnx": CoreFormat("ONNX Runtime", "onnxruntime", "core.onnx", "torch", ""),
    "litert": CoreFormat(
        "LiteRT",
        "ai-edge-litert",
        "core.tflite",
        "tensorflow",
        """\
  It has LiteRT's built-in operations only. The inputs are [1, length] until they are resized
  (`resize_tensor_input`); a signature runner, as in the example, does so by itself.
""",
    ),
}
README_TEXT = """\
# An image classifier for {title}

`python {example} IMAGE ...` prints the class probabilities of image files. It needs `numpy`,
`pillow` and `{package}`.

- `{file}`: token ids to probabilities. Inputs `token_ids`, `segment_ids` and `padding_mask`, int32
  [batch, length]; of a model of patches, `token_ids` has a third dimension, the bytes of a patch.
{note}\
- `{tokenizer}`: the image's size and colours, the ids of the 256 values of a byte and of the
  special words, the positions that are kept at the start (`head`) and at the end (`tail`), the
  number of [MASK] for the name (null: one for each byte of the name), and the classes.
- `{example}`: all steps from a file to probabilities, as an example for other languages. Pillow's
  JPEG decoder can differ by a level of a pixel from the one the model was trained with.
"""


def export_core(
    classifier: TokenClassifier,
    run_dir: str,
    directory: str,
    records: Sequence[ImageRecord],
    format_name: str,
) -> float:
    """Writes a directory with the core, the tokenizer's tables and an example, verified.

    The example must compute the classifier's probabilities from images as PNG: JPEG decoders differ
    by a level.

    Args:
        classifier: that of the run.
        directory: replaced completely or not at all.
        records: images of the run, of which the first are compared.
        format_name: a key of `FORMATS`.

    Returns:
        The largest absolute difference of probabilities.

    Raises:
        RunError: the exporter failed, or the probabilities differ; nothing is written then.
    """
    kind = FORMATS[format_name]
    images = _as_png(records[:MOST_SAMPLES])
    expected = recomputed(classifier.serving_copy("float32"), images)
    with atomic_directory(directory) as staged:
        title, backend = f"export for {kind.title}", kind.keras_backend
        run_child(title, MODULE, run_dir, staged, format_name, keras_backend=backend)
        example = os.path.join(os.path.dirname(__file__), "core_predict.py")
        shutil.copyfile(example, os.path.join(staged, EXAMPLE))
        names = {"example": EXAMPLE, "tokenizer": TOKENIZER, **dataclasses.asdict(kind)}
        write_text(os.path.join(staged, README), README_TEXT.format_map(names))
        try:
            with startup_lines_held():
                answers = _answers(staged, kind, images)
        except Exception as error:  # the exceptions of the formats' programs have no common class
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


def _answers(directory: str, kind: CoreFormat, images: Sequence[ImageRecord]) -> np.ndarray:
    """The example's probabilities, each image by itself and all at once, [2, images, classes]."""
    example = runpy.run_path(os.path.join(directory, EXAMPLE))  # leaves no compiled file there
    settings = read_json(os.path.join(directory, TOKENIZER))
    core = example["load"](Path(directory, kind.file))
    inputs = []
    for image in images:
        pixels = example["decode"](io.BytesIO(image.read()), settings)
        inputs.append(example["tokenize"](pixels, os.fsencode(image.filename), settings))
    batch = {key: np.concatenate([x[key] for x in inputs]) for key in inputs[0]}
    return np.stack([np.concatenate([core(x) for x in inputs]), core(batch)])


def write_core(run_dir: str, directory: str, format_name: str) -> None:
    """Writes the core and `tokenizer.json` of a run; Keras must have the format's backend."""
    copy = cast(TokenClassifier, load_classifier(run_dir)).serving_copy("float32")
    core = copy.core
    options = {}
    if format_name == "onnx":
        # The exporter takes the shapes of a call; its batch dimension stays free.
        core({x.name: np.ones([1, *x.shape[1:]], np.int32) for x in core.inputs})
    else:  # without operations of TensorFlow, which not every LiteRT has
        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    path = os.path.join(directory, FORMATS[format_name].file)
    core.export(path, format=format_name, verbose=False, **options)
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
    try:
        write_core(*sys.argv[1:])
    except Exception as error:  # the exporters' exceptions have no common class
        # `run_child` reports this line. TensorFlow's converter appends the graph to its message.
        sys.exit(one_line(next(iter(str(error).splitlines()), "") or repr(error)))
