"""Contenders that start from image bytes: exports, and Pillow with Hugging Face's libraries.

Frameworks are imported inside functions, so that a worker process loads only the one it needs.
"""

import io
import itertools
import os
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step, set_tensorflow_threads, threads_within

IMAGES = 32  # number of images that the suites write

# Images and names to arrays. A tokenizer's arrays are transformers' inputs, int64 [batch, 512].
Answer = Callable[[list[bytes], list[bytes]], dict[str, np.ndarray]]
HEAD = TAIL = 256
SIDE = 32


def images_of_step(case: Case) -> int:
    """Return the number of images that a step reads; few where a model takes most of the time."""
    return IMAGES if case.task == "preprocessing" else max(case.batch_size, IMAGES // 4)


def export(case: Case) -> Step:
    """Build a step of an export's signature, loaded with TensorFlow only."""
    return _saved_model(case, "export")


def map_fn(case: Case) -> Step:
    """Build the same step with a plain `tf.map_fn` over `decode_image` and `tf.image.resize`."""
    return _saved_model(case, "map_fn")


def pillow_hf(case: Case) -> Step:
    """Build a step of Pillow and Hugging Face's fast tokenizer, used as in its documentation.

    Its input is a pair of sentences, the trimmed image and the name, already split into words.
    """
    tokenizer = _tokenizer(case)

    def tokenize(images, names):
        pixels = map(_decode, images)
        kept = map(_kept_values, pixels, names)
        image_words = [list(map(str, values.tolist())) for values in kept]
        name_words = [[tokenizer.mask_token] * len(name) for name in names]
        return dict(
            tokenizer(image_words, name_words, is_split_into_words=True, return_tensors="np")
        )

    return _python_step(case, tokenize)


def pillow_hf_tuned(case: Case) -> Step:
    """Build the fastest form of it that we know: decoding in threads, ids looked up in a table."""
    return _python_step(case, tokenize_by_table(case))


def tokenize_by_table(case: Case) -> Answer:
    """Make the tokenizer of `pillow_hf_tuned`."""
    tokenizer = _tokenizer(case)
    value_ids = np.array(tokenizer.convert_tokens_to_ids([str(value) for value in range(256)]))
    pool = ThreadPoolExecutor(case.threads)

    def tokenize(images, names):
        decode = map if len(images) == 1 else pool.map
        token_ids = np.full([len(images), HEAD + TAIL], tokenizer.mask_token_id)
        segment_ids = np.zeros_like(token_ids)
        for row, (pixels, name) in enumerate(zip(decode(_decode, images), names, strict=True)):
            end = HEAD + TAIL - len(name) - 2
            token_ids[row, 1:end] = value_ids[_kept_values(pixels, name)]
            token_ids[row, end] = tokenizer.sep_token_id
            segment_ids[row, end + 1 :] = 1
        token_ids[:, 0], token_ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
        mask = np.ones_like(token_ids)
        return {"input_ids": token_ids, "token_type_ids": segment_ids, "attention_mask": mask}

    return tokenize


def _tokenizer(case: Case) -> Any:
    from transformers import BertTokenizerFast

    return BertTokenizerFast(os.path.join(case.material, "hugging_face", "vocab.txt"))


def _decode(image: bytes) -> np.ndarray:
    """Decode an image to uint8 [32, 32, 3]."""
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _kept_values(pixels: np.ndarray, name: bytes) -> np.ndarray:
    """Return the values of the three planes that the trim keeps with a name of up to 254 bytes."""
    values = pixels.transpose(2, 0, 1).reshape(-1)  # [3 * 32 * 32]
    return np.concatenate([values[: HEAD - 1], values[len(values) - (TAIL - 2 - len(name)) :]])


def _saved_model(case: Case, variant: str) -> Step:
    import tensorflow as tf

    set_tensorflow_threads(case.threads, threads_within(case))
    model = tf.saved_model.load(os.path.join(case.material, variant))
    signature = "tokenize" if case.task == "preprocessing" else "serving_default"

    function = model.signatures[signature]
    wanted = function.structured_input_signature[1]  # no file name where the model reads none

    def answer(images, names, model=model):  # the signature alone keeps no variables alive
        inputs = {"image_bytes": tf.constant(images), "filename": tf.constant(names)}
        outputs = function(**{name: inputs[name] for name in wanted})
        return {key: value.numpy() for key, value in outputs.items()}

    return images_step(case, answer)


def _python_step(case: Case, tokenize: Answer) -> Step:
    """Build a step of a tokenizer and, for serving, of `BertModel` and a dense layer in PyTorch."""
    if case.task == "preprocessing":
        return images_step(case, tokenize)
    import torch
    from transformers import BertModel

    torch.set_num_threads(case.threads)
    dtype = getattr(torch, case.dtype)
    path = os.path.join(case.material, "hugging_face")
    bert = BertModel.from_pretrained(path, add_pooling_layer=False, attn_implementation="sdpa")
    bert.eval().to(dtype)
    dense = np.load(os.path.join(case.material, "dense.npz"))
    kernel, bias = (torch.from_numpy(dense[name]).to(dtype) for name in ("kernel", "bias"))

    @torch.inference_mode()
    def answer(images, names):
        inputs = {key: torch.from_numpy(ids) for key, ids in tokenize(images, names).items()}
        logits = bert(**inputs).last_hidden_state[:, 0] @ kernel + bias
        return {"probabilities": torch.softmax(logits.float(), dim=-1).numpy()}

    return images_step(case, answer)


def images_step(case: Case, answer: Answer) -> Step:
    """Build a step that reads all images in batches or, for callers, the next batch."""
    images, names = read_images(os.path.join(case.material, "images"))
    stride = len(images) // images_of_step(case)
    images, names = images[::stride], names[::stride]
    size = case.batch_size
    starts = range(0, len(images), size)
    batches = [(images[start : start + size], names[start : start + size]) for start in starts]
    if case.callers:
        turns = itertools.cycle(batches)
        return lambda: answer(*next(turns))
    return lambda: [answer(*batch) for batch in batches]


def read_images(directory: str) -> tuple[list[bytes], list[bytes]]:
    """Read the images of a directory and their names, sorted by name."""
    files = sorted(pathlib.Path(directory).iterdir())
    return [file.read_bytes() for file in files], [os.fsencode(file.name) for file in files]
