"""Contenders that start from image bytes: exports, and Pillow with Hugging Face's libraries.

Frameworks are imported inside functions, so that a worker process loads only the one it needs.
"""

import io
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from covid_lm.backbones.configs import backbone_config
from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step, hugging_face_model, set_tensorflow_threads

IMAGES = 32  # number of images that the suites write

Tokens = dict[str, np.ndarray]  # input_ids, token_type_ids, attention_mask, int64 [batch, 512]
Tokenize = Callable[[list[bytes], list[bytes]], Tokens]
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

    Image words and name words are a pair of sentences that are already split into words. The
    tokenizer adds [CLS] and [SEP] and returns ids, segment ids and mask for the model. Trimmed
    values are left out before they become words.
    """
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(os.path.join(case.material, "vocab.txt"))

    def tokenize(images: list[bytes], names: list[bytes]) -> Tokens:
        kept = [
            _kept_values(_decode(image), name) for image, name in zip(images, names, strict=True)
        ]
        image_words = [list(map(str, values.tolist())) for values in kept]
        name_words = [[tokenizer.mask_token] * len(name) for name in names]
        return dict(
            tokenizer(image_words, name_words, is_split_into_words=True, return_tensors="np")
        )

    return _python_step(case, tokenize)


def pillow_hf_tuned(case: Case) -> Step:
    """Build the fastest form of it that we know: decoding in threads, ids looked up in a table.

    The tokenizer is used only once, for the ids of "0" to "255".
    """
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(os.path.join(case.material, "vocab.txt"))
    value_ids = np.array(tokenizer.convert_tokens_to_ids([str(value) for value in range(256)]))
    pool = ThreadPoolExecutor(case.threads)

    def tokenize(images: list[bytes], names: list[bytes]) -> Tokens:
        decode = map if len(images) == 1 else pool.map
        token_ids = np.full([len(images), HEAD + TAIL], tokenizer.mask_token_id)
        segment_ids = np.zeros_like(token_ids)
        for row, (pixels, name) in enumerate(zip(decode(_decode, images), names, strict=True)):
            end = HEAD + TAIL - len(name) - 2
            token_ids[row, 1:end] = value_ids[_kept_values(pixels, name)]
            token_ids[row, end] = tokenizer.sep_token_id
            segment_ids[row, end + 1 :] = 1
        token_ids[:, 0], token_ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
        return {
            "input_ids": token_ids,
            "token_type_ids": segment_ids,
            "attention_mask": np.ones_like(token_ids),
        }

    return _python_step(case, tokenize)


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

    set_tensorflow_threads(case.threads)
    model = tf.saved_model.load(os.path.join(case.material, variant))
    signature = "tokenize" if case.task == "preprocessing" else "serving_default"

    def answer(images: list[bytes], names: list[bytes]) -> Tokens:
        # Through the model: a signature alone doesn't keep its variables alive.
        outputs = model.signatures[signature](
            image_bytes=tf.constant(images), filename=tf.constant(names)
        )
        return {key: value.numpy() for key, value in outputs.items()}

    return _step(case, answer)


def _python_step(case: Case, tokenize: Tokenize) -> Step:
    if case.task == "preprocessing":
        return _step(case, tokenize)
    import dataclasses

    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(case.threads)
    weights = load_file(os.path.join(case.material, "weights.safetensors"))
    vocabulary_size = len(weights["bert.embeddings.word_embeddings.weight"])
    config = dataclasses.replace(backbone_config(case.backbone), vocabulary_size=vocabulary_size)
    model = hugging_face_model(config, dropout=0.0)
    model.load_state_dict(weights)
    model.eval().to(getattr(torch, case.dtype))

    @torch.inference_mode()
    def answer(images: list[bytes], names: list[bytes]) -> Tokens:
        tokens = tokenize(images, names)
        inputs = {key: torch.from_numpy(array) for key, array in tokens.items()}
        embedding = model["bert"](**inputs).last_hidden_state[:, 0]
        logits = model["dense"](embedding).float()
        return {"probabilities": torch.softmax(logits, dim=-1).numpy()}

    return _step(case, answer)


def _step(case: Case, answer: Callable[[list[bytes], list[bytes]], Tokens]) -> Step:
    """Build a step that reads all images in batches or, for several callers, the next image."""
    images, names = read_images(os.path.join(case.material, "images"))
    stride = len(images) // images_of_step(case)
    images, names = images[::stride], names[::stride]
    if case.callers > 1:
        turns = itertools.cycle(zip(images, names, strict=True))

        def answer_next() -> Tokens:
            image, name = next(turns)
            return answer([image], [name])

        return answer_next
    size = case.batch_size
    starts = range(0, len(images), size)
    return lambda: [answer(images[i : i + size], names[i : i + size]) for i in starts]


def read_images(directory: str) -> tuple[list[bytes], list[bytes]]:
    """Read the images of a directory, sorted by name; return images and names as bytes."""
    images, names = [], []
    for filename in sorted(os.listdir(directory)):
        with open(os.path.join(directory, filename), "rb") as file:
            images.append(file.read())
        names.append(os.fsencode(filename))
    return images, names
