"""Prints the class probabilities of image files as JSON lines: python predict.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def resize(values, size):
    """Resizes the first axis of float32 [side, ...] by TensorFlow's antialiased triangle filter."""
    one = np.float32(1)  # all in float32 and in its order, or a value of .5 is rounded otherwise
    step = one / (np.float32(size) / np.float32(len(values)))
    centers = (np.arange(size, dtype=np.float32) + 0.5) * step
    distances = np.arange(len(values), dtype=np.float32) + 0.5 - centers[:, None]
    shares = np.maximum(one - np.abs(distances * (one / max(step, one))), 0)
    shares *= one / np.cumsum(shares, axis=1)[:, -1:]
    return np.stack([sum(row[k] * values[k] for k in np.flatnonzero(row)) for row in shares])


def decode(file, settings):
    """Pixels of an image file as the model reads them, integers [height, width, channels]."""
    picture = ImageOps.exif_transpose(Image.open(file))
    if picture.mode.startswith("I"):  # 16-bit gray, of which the high byte is kept
        picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    values = np.asarray(picture.convert("RGB"), np.float32)
    for size in settings["image_size"]:  # rows, then columns
        values = resize(values, size).swapaxes(0, 1)
    rgb = np.clip(np.rint(values), 0, 255).astype(int)
    return rgb if settings["color"] == "rgb" else (rgb @ [[19595], [38470], [7471]] + 2**15) >> 16


def tokenize(pixels, name, settings):
    """Inputs of the core, [1, ...]: [CLS] values [SEP] masked name [SEP], trimmed or padded."""
    side, head, tail, masks = map(settings.get, ("patch_size", "head", "tail", "name_length"))
    words = np.array(settings["value_ids"])[pixels].transpose(2, 0, 1)  # plane by plane
    if side:  # a word is a patch, with planes of its own
        blocks = [len(words), -1, side, words.shape[2] // side, side]
        words = words.reshape(blocks).transpose(1, 3, 0, 2, 4)
    words = words.reshape(-1, words[0, 0].size if side else 1)
    sep = len(words) + 1
    end = sep + 1 + (min(len(name), 1024) if masks is None else masks)
    ids = np.full([max(end + 1, head + tail), words.shape[1]], settings["[PAD]"], np.int32)
    ids[1:sep], ids[sep:end, 0] = words, settings["[MASK]"]
    ids[[0, sep, end], 0] = [settings[word] for word in ("[CLS]", "[SEP]", "[SEP]")]
    places = np.r_[:head, len(ids) - tail : len(ids)]
    inputs = {"token_ids": ids[places] if side else ids[places, 0]}
    inputs |= {"segment_ids": (places > sep) & (places <= end), "padding_mask": places <= end}
    return {key: value[None].astype(np.int32) for key, value in inputs.items()}


def load(path):
    """The core in a file, a function from inputs to probabilities [n, classes]."""
    if path.suffix == ".onnx":
        from onnxruntime import InferenceSession

        session = InferenceSession(path)
        return lambda inputs: session.run(None, inputs)[0]
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    return lambda inputs: run(**inputs)["output_0"]


if __name__ == "__main__":
    settings = json.loads(Path(__file__).with_name("tokenizer.json").read_text("utf-8"))
    core = load(next(Path(__file__).parent.glob("core.*")))
    for path in map(Path, sys.argv[1:]):
        inputs = tokenize(decode(path, settings), bytes(Path(path.name)), settings)
        answer = zip(settings["classes"], core(inputs)[0].tolist(), strict=True)
        print(json.dumps({"file": str(path), "probabilities": dict(answer)}))
