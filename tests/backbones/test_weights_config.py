"""Config and vocabulary of a checkpoint: read, used, or refused with one line."""

import pytest

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.weights.read import load_weights, read_config, vocabulary_file
from tests.backbones import generated_checkpoints as generated
from tests.backbones.conftest import CONFIG, the_line

AGAIN = "fetch the model's own file again"


@pytest.mark.parametrize("name", ["config.json", "bert_config.json"])
def test_read_config(tmp_path, name):
    generated.write_config(tmp_path, CONFIG, name)
    assert read_config(tmp_path) == CONFIG


@pytest.mark.parametrize(
    ("hidden_act", "activation"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_approximate"),
        ("gelu_pytorch_tanh", "gelu_approximate"),
        ("relu", "relu"),
    ],
)
def test_config_values_are_used(tmp_path, hidden_act, activation):
    more = {"hidden_act": hidden_act, "layer_norm_eps": 1e-5, "type_vocab_size": 3}
    generated.write_config(tmp_path, CONFIG, hidden_dropout_prob=0.2, **more)
    config = read_config(tmp_path)
    assert config.activation == activation
    assert (config.layer_norm_epsilon, config.num_segments, config.dropout) == (1e-5, 3, 0.2)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"hidden_act": "swish"},
            "hidden_act 'swish' is not supported; use a model with one of gelu, gelu_new, "
            "gelu_pytorch_tanh, relu",
        ),
        ({"model_type": "albert"}, "albert is not a BERT; give a directory that holds one"),
        (
            {"model_type": None, "architectures": ["AlbertModel"]},
            "AlbertModel is not a BERT; give a directory that holds one",
        ),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type 'relative_key' is not supported; use a model with 'absolute'",
        ),
        (
            {"hidden_size": None},
            f"hidden_size is None, not a whole number from 1 to 65536; {AGAIN}",
        ),
        ({"vocab_size": 0}, f"vocab_size is 0, not a whole number from 1 to 1048576; {AGAIN}"),
        (
            {"vocab_size": 2**20 + 1},
            f"vocab_size is 1048577, not a whole number from 1 to 1048576; {AGAIN}",
        ),
        (
            {"architectures": 5, "model_type": None},
            "5 is not a BERT; give a directory that holds one",
        ),
        (
            {"hidden_act": []},
            "hidden_act [] is not supported; use a model with one of gelu, gelu_new, "
            "gelu_pytorch_tanh, relu",
        ),
        ({"layer_norm_eps": "1e-12"}, f"layer_norm_eps is '1e-12', not in [0, 1); {AGAIN}"),
        (
            {"num_attention_heads": 5},
            f"hidden_size 32 is no multiple of num_attention_heads 5; {AGAIN}",
        ),
    ],
)
def test_unusable_config(tmp_path, change, line):
    generated.write_config(tmp_path, CONFIG, **change)
    assert the_line(read_config, tmp_path) == f"{tmp_path}/config.json: {line}"


def test_damaged_config(tmp_path):
    path = tmp_path / "config.json"
    for content, problem in (
        ('{"hidden_size": 3', "Expecting ',' delimiter: line 1 column 18 (char 17)"),
        ("[]", "list"),
        (
            "[" * 10**5,
            "maximum recursion depth exceeded while decoding a JSON array from a unicode ",
        ),
        (f'{{"vocab_size": {"9" * 5000}}}', "Exceeds the limit (4300 digits) for integer string "),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        line = the_line(read_config, tmp_path)
        assert line.startswith(f"{path}: damaged, not a JSON object ({problem}")
        assert line.endswith("; restore it")
    path.write_text("{}")
    assert the_line(read_config, tmp_path) == f"{path}: num_hidden_layers is missing; {AGAIN}"


def test_vocabulary(tmp_path):
    generated.write_config(tmp_path, CONFIG)
    path = tmp_path / "vocab.txt"
    advice = "put the vocabulary that came with the model there"
    assert the_line(vocabulary_file, tmp_path) == f"{path}: no such file; {advice}"
    path.write_text("".join(f"word{i}\n" for i in range(49)), encoding="utf-8")
    assert the_line(vocabulary_file, tmp_path) == (
        f"{path}: 49 words, but {tmp_path}/config.json says vocab_size 50; {advice}"
    )
    path.write_text("\n".join(["\u2028", *(f"word{i}" for i in range(49))]), encoding="utf-8")
    assert vocabulary_file(tmp_path) == str(path)


def test_a_backbone_of_another_config(tmp_path):
    generated.write_config(tmp_path, CONFIG)
    backbone = build_backbone(BackboneConfig(2, 32, 2, 64, 50, 16))
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{tmp_path}/config.json: num_heads is 4, but the backbone has 2; "
        "build the backbone from this config"
    )
