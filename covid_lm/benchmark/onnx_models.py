"""Hugging Face's model of a case as an ONNX file, for ONNX Runtime and OpenVINO.

A child process writes it (`python -m covid_lm.benchmark.onnx_models DIR CASE`), so that the
processes that are measured load neither PyTorch nor transformers.
"""

import json
import os
import sys

import numpy as np

from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import CLASSES, hugging_face_config

FILE = "model.onnx"
INPUTS = ("input_ids", "token_type_ids", "attention_mask")  # int64 [batch, tokens]


def write_onnx(directory: str, case: Case) -> None:
    """Write `BertModel` and a dense layer on its first position, from ids to logits, with torch.

    The weights are those that `raw_image_models` wrote to the directory, or random ones if there
    are none. They are float32; the number of tokens is fixed, the batch is not.
    """
    import torch
    from transformers import BertModel

    path = os.path.join(directory, "hugging_face")
    if os.path.exists(path):
        bert = BertModel.from_pretrained(path, add_pooling_layer=False, attn_implementation="sdpa")
        arrays = np.load(os.path.join(directory, "dense.npz"))
        kernel, bias = (torch.from_numpy(arrays[name]) for name in ("kernel", "bias"))
    else:
        bert = BertModel(hugging_face_config(case), add_pooling_layer=False)
        kernel, bias = torch.randn(bert.config.hidden_size, CLASSES), torch.zeros(CLASSES)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert
            self.register_buffer("kernel", kernel)
            self.register_buffer("bias", bias)

        def forward(self, input_ids, token_type_ids, attention_mask):
            hidden = self.bert(
                input_ids=input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask
            ).last_hidden_state
            return hidden[:, 0] @ self.kernel + self.bias

    size, batch = [2, case.length], torch.export.Dim("batch")
    torch.onnx.export(
        Logits().eval(),
        kwargs={name: torch.ones(size, dtype=torch.int64) for name in INPUTS},
        f=os.path.join(directory, FILE),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes={name: {0: batch} for name in INPUTS},
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    write_onnx(sys.argv[1], Case(**json.loads(sys.argv[2])))
