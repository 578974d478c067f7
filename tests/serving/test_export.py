"""The export: same outputs as the live model, in TensorFlow alone, too, and its contents."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from covid_lm.backbones.configs import backbone_config
from covid_lm.backbones.vocabulary import read_vocabulary
from covid_lm.errors import RunError
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.serving import saved_model
from covid_lm.serving.graph_check import forbidden_ops
from covid_lm.serving.saved_model import export_classifier, write_saved_model
from covid_lm.serving.signatures import in_parts
from tests.serving.conftest import IMAGES, NAMES, RECORDS
from tests.serving.tiny_model import CLASSES, tiny_classifier


@pytest.fixture(scope="module")
def classifier(classifiers):
    return classifiers["masked"]


@pytest.fixture(scope="module")
def tokens(live):
    return live["masked"][0]


@pytest.fixture(scope="module")
def probabilities(live):
    return live["masked"][1]


@pytest.fixture(scope="module")
def exported(version_dirs):
    return version_dirs["masked"]


@pytest.fixture(scope="module")
def model(exported):
    return tf.saved_model.load(exported)


def inputs() -> dict[str, tf.Tensor]:
    return {"image_bytes": tf.constant(IMAGES), "filename": tf.constant(NAMES)}


def example(**features: bytes) -> bytes:
    proto = tf.train.Example()
    for name, value in features.items():
        proto.features.feature[f"image/{name}"].bytes_list.value.append(value)
    return proto.SerializeToString()


def test_contract_of_the_signatures(model):
    described = {
        name: (
            {k: v.dtype.name for k, v in function.structured_input_signature[1].items()},
            {k: (v.dtype.name, v.shape.rank) for k, v in function.structured_outputs.items()},
        )
        for name, function in model.signatures.items()
    }
    both = {"image_bytes": "string", "filename": "string"}
    assert described == {
        "serving_default": (
            both,
            {
                "probabilities": ("float32", 2),
                "label": ("string", 1),
                "valid": ("bool", 1),
                "reason": ("string", 1),
            },
        ),
        "classify": ({"inputs": "string"}, {"classes": ("string", 2), "scores": ("float32", 2)}),
        "embed": (both, {"embedding": ("float32", 2)}),
        "tokenize": (
            both,
            dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), ("int32", 2)),
        ),
        "explain": (
            both,
            {
                "attribution": ("float32", 3),
                "label": ("string", 1),
                "valid": ("bool", 1),
                "reason": ("string", 1),
            },
        ),
    }


def test_serving_default_equals_the_live_model(model, probabilities):
    answer = model.signatures["serving_default"](**inputs())
    np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-6)
    assert np.ptp(probabilities[:, 0]) > 1e-3  # the images do differ
    expected = [CLASSES[k].encode() for k in probabilities.argmax(axis=1)]
    assert answer["label"].numpy().tolist() == expected
    assert answer["valid"].numpy().all()


def test_each_image_of_a_batch_of_any_size(model, probabilities):
    for count in range(len(IMAGES)):
        part = {name: values[:count] for name, values in inputs().items()}
        answer = model.signatures["serving_default"](**part)["probabilities"]
        np.testing.assert_allclose(answer, probabilities[:count], atol=1e-6)


def test_parts_of_a_batch(classifier):
    seen = []

    def function(inputs):
        blocks = classifier.encoder._blocks.count
        tf.py_function(lambda x: seen.append((int(x), blocks)), [tf.shape(inputs["a"])[0]], [])
        return {"sum": inputs["a"] + inputs["b"][:, 0], "twice": 2 * inputs["b"]}

    specs = {"a": tf.TensorSpec([None], tf.int32), "b": tf.TensorSpec([None, 2], tf.int32)}
    whole = in_parts(function, classifier.encoder, specs)
    for count in range(6):
        seen.clear()
        a, b = tf.range(count), tf.reshape(tf.range(2 * count), [count, 2])
        answer = whole({"a": a, "b": b})
        np.testing.assert_array_equal(answer["sum"], a + b[:, 0])
        np.testing.assert_array_equal(answer["twice"], 2 * b)
        halves = [(count // 2, 1), ((count + 1) // 2, 1)]
        assert sorted(seen) == (halves if count > 1 else [(count, 2)])


def test_tokenize_gives_vocabulary_ids(model, tokens):
    answer = model.signatures["tokenize"](**inputs())
    for key, values in tokens.items():
        np.testing.assert_array_equal(answer[key], values)


def test_embed_equals_the_live_model(model, tokens, classifier):
    answer = model.signatures["embed"](**inputs())["embedding"]
    expected = classifier.embedding.predict(tokens, verbose=0)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_classify_reads_examples_and_isolates_bad_ones(model, probabilities):
    examples = [
        example(encoded=IMAGES[0], filename=b"a.png"),
        b"\xff not an example",
        example(),
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image/encoded": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
                }
            )
        ).SerializeToString(),
        example(encoded=IMAGES[1], filename=b"Bb.jpg"),
    ]
    answer = model.signatures["classify"](inputs=tf.constant(examples))
    np.testing.assert_allclose(answer["scores"].numpy()[[0, 4]], probabilities[:2], atol=1e-6)
    assert not answer["scores"].numpy()[1:4].any()
    assert answer["classes"].numpy().tolist() == [[c.encode() for c in CLASSES]] * 5


def test_a_bad_image_is_marked_and_changes_nothing_else(model):
    serve = model.signatures["serving_default"]
    mixed = [IMAGES[0], b"", IMAGES[1], b"text", IMAGES[2]]
    names = tf.constant([NAMES[0], "b", NAMES[1], "t", NAMES[2]])
    answer = {k: v.numpy() for k, v in serve(image_bytes=mixed, filename=names).items()}
    np.testing.assert_array_equal(answer["valid"], [True, False, True, False, True])
    assert answer["label"][1] == answer["label"][3] == b""
    assert answer["reason"].tolist() == [b"", b"empty", b"", b"not an image", b""]
    assert not answer["probabilities"][[1, 3]].any()
    replaced = [IMAGES[0], IMAGES[5], IMAGES[1], IMAGES[5], IMAGES[2]]
    others = serve(image_bytes=replaced, filename=names)["probabilities"].numpy()
    np.testing.assert_array_equal(answer["probabilities"][[0, 2, 4]], others[[0, 2, 4]])
    embedding = model.signatures["embed"](image_bytes=mixed, filename=names)["embedding"].numpy()
    np.testing.assert_array_equal(embedding.any(axis=1), answer["valid"])


def test_an_empty_batch(model):
    empty = tf.constant([], tf.string)
    answers = {
        name: signature(**dict.fromkeys(signature.structured_input_signature[1], empty))
        for name, signature in model.signatures.items()
    }
    assert {x.shape[0] for answer in answers.values() for x in answer.values()} == {0}
    assert answers["serving_default"]["probabilities"].shape == (0, 3)
    assert answers["classify"]["scores"].shape == (0, 3)
    assert answers["explain"]["attribution"].shape[0] == 0


def test_a_model_that_ignores_names_has_no_such_input(version_dirs):
    model = tf.saved_model.load(version_dirs["fixed"])
    serve = model.signatures["serving_default"]
    assert set(serve.structured_input_signature[1]) == {"image_bytes"}
    assert serve(image_bytes=tf.constant(IMAGES))["valid"].numpy().all()


@pytest.mark.slow
def test_a_model_without_a_name_segment_has_no_such_input(tmp_path):
    path = str(tmp_path / "model")
    write_saved_model(tiny_classifier("absent", "gray22").serving_copy("float32"), path, {})
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    assert set(serve.structured_input_signature[1]) == {"image_bytes"}
    assert serve(image_bytes=tf.constant(IMAGES))["valid"].numpy().all()


def test_assets(exported, classifier):
    assets = os.path.join(exported, "assets")
    with open(os.path.join(assets, "labels.txt"), encoding="utf-8") as file:
        assert tuple(file.read().split()) == CLASSES
    with open(os.path.join(assets, "vocab.txt"), encoding="utf-8") as file:
        assert tuple(file.read().splitlines()) == classifier.vocabulary
    with open(os.path.join(f"{assets}.extra", "config.json"), encoding="utf-8") as file:
        assert json.load(file) == {"run": 1}


def test_every_weight_is_stored_once_and_unreachable_rows_not_at_all(exported, classifier):
    reachable = classifier.preprocessor().token_encoder.reachable_token_ids
    assert len(reachable) < 0.6 * len(classifier.vocabulary)
    unread = ("pooled_dense", "token_embedding", "seed")
    exported_values = len(reachable) * 64 + sum(
        int(np.prod(v.shape))
        for v in classifier.logits.variables
        if not any(name in v.path for name in unread)
    )
    variables = os.path.join(exported, "variables", "variables.data-00000-of-00001")
    assert 1 <= os.path.getsize(variables) / (4 * exported_values) <= 1.05
    saved = tf.train.load_checkpoint(os.path.join(exported, "variables", "variables"))
    shapes = [tuple(shape) for shape in saved.get_variable_to_shape_map().values()]
    assert (len(reachable), 64) in shapes
    assert (len(classifier.vocabulary), 64) not in shapes


def test_pruning_changes_no_bit(classifier, tokens):
    constants = {key: tf.constant(values) for key, values in tokens.items()}
    answers = [
        model.core(model.core_inputs(constants), training=False).numpy()
        for model in (classifier, classifier.serving_copy("float32"))
    ]
    np.testing.assert_array_equal(*answers)


def test_bfloat16_weights_take_half_the_space(classifier, probabilities, exported, tmp_path):
    directory = str(tmp_path / "model")
    path, difference = export_classifier(
        classifier, directory, RECORDS, probabilities, {}, dtype="bfloat16"
    )
    assert difference < 0.01  # of the live model's copy in bfloat16
    sizes = [
        os.path.getsize(os.path.join(p, "variables", "variables.data-00000-of-00001"))
        for p in (path, exported)
    ]
    assert sizes[0] < 0.55 * sizes[1]
    assert _constants(path).count((64, 64)) == 6  # kernels; stored once for three signatures
    outputs = tf.saved_model.load(path).signatures["serving_default"](**inputs())
    assert outputs["probabilities"].dtype == tf.float32
    assert 0 < np.max(np.abs(outputs["probabilities"] - probabilities)) < 0.03


def test_the_first_layer_is_looked_up_in_tables_that_are_stored_once(live, tmp_path):
    classifier = tiny_classifier(num_layers=2)
    probabilities = predict_tokens(classifier, live["masked"][0])
    path, difference = export_classifier(classifier, str(tmp_path), RECORDS, probabilities, {})
    assert difference < 3e-6
    reachable = classifier.preprocessor().token_encoder.reachable_token_ids
    # One copy for three signatures.
    assert _constants(path).count((2 * len(reachable), 192)) == 1


def _constants(path: str) -> list[tuple[int, ...]]:
    """Shapes of the constants in an export's functions."""
    graph = loader_impl.parse_saved_model(path).meta_graphs[0].graph_def
    return [
        tuple(size.size for size in node.attr["value"].tensor.tensor_shape.dim)
        for function in graph.library.function
        for node in function.node_def
        if node.op == "Const"
    ]


TENSORFLOW_ALONE = """
import sys
for name in ("covid_lm", "keras_nlp", "keras_hub", "tensorflow_text", "keras"):
    sys.modules[name] = None
import json, numpy as np, tensorflow as tf
path, images = sys.argv[1:]
data = np.load(images, allow_pickle=True)
image_bytes, names = data["image_bytes"], data["names"]
serve = tf.saved_model.load(path).signatures["serving_default"]
v2 = serve(image_bytes=tf.constant(image_bytes), filename=tf.constant(names))
v2 = v2["probabilities"].numpy()
v1 = tf.compat.v1
with v1.Session(graph=tf.Graph()) as session:
    meta = v1.saved_model.loader.load(session, ["serve"], path)
    signature = meta.signature_def["serving_default"]
    feed = {signature.inputs["image_bytes"].name: image_bytes,
            signature.inputs["filename"].name: names}
    v1 = session.run(signature.outputs["probabilities"].name, feed)
print(json.dumps([v2.tolist(), v1.tolist()]))
"""


def test_a_process_with_tensorflow_alone_loads_it(exported, probabilities, tmp_path):
    images = tmp_path / "images.npz"
    np.savez(
        images,
        image_bytes=np.array(IMAGES, object),
        names=np.array([n.encode() for n in NAMES], object),
    )
    process = subprocess.run(
        [sys.executable, "-c", TENSORFLOW_ALONE, exported, str(images)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    for result in json.loads(process.stdout.splitlines()[-1]):
        np.testing.assert_allclose(result, probabilities, atol=1e-6)


def test_no_op_leaves_the_graph(exported):
    assert forbidden_ops(exported) == []


def test_a_planted_file_op_is_found_however_deep(tmp_path):
    class Planted(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def serve(self, names):
            return {
                "out": tf.map_fn(
                    lambda name: tf.cond(
                        tf.strings.length(name) > 3, lambda: tf.io.read_file(name), lambda: name
                    ),
                    names,
                )
            }

    planted = Planted()
    path = str(tmp_path / "planted")
    tf.saved_model.save(planted, path, signatures={"serving_default": planted.serve})
    assert forbidden_ops(path) == ["ReadFile"]


@pytest.fixture
def written_already(exported, monkeypatch):
    """Takes the finished export as what was written, to check what is made of it."""

    def copy(classifier, path, extra):
        shutil.copytree(exported, path)

    monkeypatch.setattr(saved_model, "write_saved_model", copy)


@pytest.mark.usefixtures("written_already")
def test_an_export_that_differs_is_not_published(classifier, probabilities, tmp_path):
    directory = str(tmp_path / "model")
    with pytest.raises(RunError, match=r"not published, the export's probabilities differ by"):
        export_classifier(classifier, directory, RECORDS, probabilities + 0.01, {})
    assert os.listdir(directory) == []


@pytest.mark.usefixtures("written_already")
def test_a_graph_that_reads_files_is_not_published(
    classifier, probabilities, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_model, "forbidden_ops", lambda path: ["ReadFile"])
    directory = str(tmp_path / "model")
    with pytest.raises(RunError, match="not published, its graph holds ReadFile"):
        export_classifier(classifier, directory, RECORDS, probabilities, {})
    assert os.listdir(directory) == []


@pytest.mark.slow
def test_size_at_the_shape_of_rbt3(tmp_path, chinese_vocabulary_file):
    vocabulary = read_vocabulary(chinese_vocabulary_file)
    config = TokenClassifierConfig(CLASSES, "rbt3", backbone_config("rbt3"))
    classifier = TokenClassifier(config, vocabulary)
    write_saved_model(classifier.serving_copy("float32"), str(tmp_path / "pruned"), {})
    write_saved_model(classifier, str(tmp_path / "whole"), {})

    def size(part: str) -> list[int]:
        """Bytes of the files of the pruned and of the whole export."""
        return [
            sum(path.stat().st_size for path in (tmp_path / name).rglob(part))
            for name in ("pruned", "whole")
        ]

    variables, graphs = size("variables.*"), size("saved_model.pb")
    # Both graphs hold the first layer's tables and the embeddings of the reachable words.
    assert variables[0] <= 0.58 * variables[1]
    assert max(graphs) <= 16_500_000
    print(f"rbt3 shape: variables {variables} bytes, graphs {graphs} bytes")
