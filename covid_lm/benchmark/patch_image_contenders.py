"""Contenders that classify images by a layout of patches, in place of our export.

Frameworks are imported inside functions, so that a worker process loads only the one it needs.
"""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from PIL import Image

from covid_lm.backbones.configs import PatchConfig
from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import CLASSES, Step, build_vit
from covid_lm.benchmark.onnx_contenders import onnx_runtime_session
from covid_lm.benchmark.raw_image_contenders import images_step
from covid_lm.files import read_json

CORE, TOKENIZER = "core.onnx", "tokenizer.json"  # written by `serving.core_export`
SPECIALS = ("[PAD]", "[CLS]", "[SEP]")


def pillow_vit(case: Case) -> Step:
    """Build a step of Pillow, decoding in threads, and transformers' `ViTModel` of the same shape.

    Its weights are random: those of our encoder don't fit it.
    """
    import torch

    torch.set_num_threads(case.threads)
    decode = _decoder(case)
    vit = build_vit(case)
    dense = torch.nn.Linear(vit.config.hidden_size, CLASSES)
    model = torch.nn.ModuleDict({"vit": vit, "dense": dense})
    dtype = getattr(torch, case.dtype)
    model.eval().to(dtype)

    @torch.inference_mode()
    def answer(images, names):
        pixels = torch.from_numpy(decode(images)).permute(0, 3, 1, 2).to(dtype) / 255
        logits = dense(vit(pixel_values=pixels).last_hidden_state.mean(dim=1))
        return {"probabilities": torch.softmax(logits.float(), dim=-1).numpy()}

    return images_step(case, answer)


def onnx_core(case: Case) -> Step:
    """Build a step of Pillow, decoding in threads, and our own core in an ONNX Runtime session."""
    decode = _decoder(case)
    run = onnx_runtime_session(os.path.join(case.material, CORE), case.threads)
    settings = read_json(os.path.join(case.material, TOKENIZER))
    value_ids = np.array(settings["value_ids"], np.int32)
    specials = np.array([settings[word] for word in SPECIALS], np.int32)
    patches = cast(PatchConfig, case.config.patches)

    def answer(images, names):
        token_ids = patch_tokens(value_ids[decode(images)], patches, specials)
        shape = token_ids.shape[:2]
        inputs = {"token_ids": token_ids, "segment_ids": np.zeros(shape, np.int32)}
        inputs["segment_ids"][:, -1] = 1
        return {"probabilities": run({**inputs, "padding_mask": np.ones(shape, np.int32)})}

    return images_step(case, answer)


def patch_tokens(values: np.ndarray, patches: PatchConfig, specials: np.ndarray) -> np.ndarray:
    """Arrange [CLS], patches, [SEP] and the [SEP] of an absent name.

    Args:
        values: ids of the pixels' values, int32 [batch, side, side, channels].
        specials: ids of [PAD], [CLS] and [SEP].

    Returns:
        int32 [batch, patches + 3, bytes of a patch].
    """
    grid, side, channels = patches.grid, patches.patch_size, patches.channels
    blocks = values.reshape(-1, grid, side, grid, side, channels).transpose(0, 1, 3, 5, 2, 4)
    pad, cls, sep = specials
    tokens = np.full([len(values), grid**2 + 3, patches.num_bytes], pad, np.int32)
    tokens[:, 1:-2] = blocks.reshape(len(values), grid**2, -1)
    tokens[:, 0, 0], tokens[:, -2, 0], tokens[:, -1, 0] = cls, sep, sep
    return tokens


def _decoder(case: Case) -> Callable[[list[bytes]], np.ndarray]:
    """Make a function from images to pixels of the layout, uint8 [batch, side, side, channels]."""
    side, _, channels = cast(PatchConfig, case.config.patches).geometry
    pool = ThreadPoolExecutor(case.threads)

    def decode_one(image: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(image)).convert("RGB" if channels == 3 else "L")
        pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
        return pixels.reshape(side, side, channels)

    def decode(images):
        return np.stack(list((map if len(images) == 1 else pool.map)(decode_one, images)))

    return decode
