"""Embeddings by a SavedModel: near duplicates that pixels don't show, and clusters."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covid_lm.auditing.audit_report import html_report, json_report, text_summary
from covid_lm.auditing.command import run_audit
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.auditing.findings import FACTOR_SIGNIFICANCE
from covid_lm.auditing.model.embeddings import close_pairs, cluster_names, load_embedder
from covid_lm.data.phantom.dataset import phantom
from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError
from tests.audit.schema_check import violations
from tests.audit.synthetic import noise_dataset, record
from tests.audit.test_command import schema
from tests.conftest import encode, random_picture

SIDE = 8


def pixel_model(path, name: str = "embed", width: int = SIDE**2, only_shape: bool = False) -> str:
    """A SavedModel of 8 x 8 gray levels, or of the size of an image only."""

    def vector(image_bytes):
        image = tf.io.decode_image(image_bytes, 3, tf.float32, expand_animations=False)
        if only_shape:
            return tf.cast(tf.shape(image), tf.float32)[:width]
        gray = tf.image.resize(tf.reduce_mean(image, 2, keepdims=True), (SIDE, SIDE), "area")
        return tf.reshape(gray - tf.reduce_mean(gray), [-1])[:width]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def embed(image_bytes):
        vectors = tf.map_fn(vector, image_bytes, fn_output_signature=tf.float32)
        return {"features": tf.ensure_shape(vectors, [None, width])}

    module = tf.Module()
    module.embed = embed
    tf.saved_model.save(module, str(path), signatures={name: embed})
    return str(path)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory) -> str:
    return pixel_model(tmp_path_factory.mktemp("pixels"))


def cropped(payload: bytes) -> bytes:
    image = Image.open(io.BytesIO(payload)).convert("RGB")
    image = image.crop((3, 3, image.width - 3, image.height - 3))
    return encode(np.asarray(image), "JPEG", quality=70)


def with_copies(dataset: ImageDataset, count: int) -> ImageDataset:
    """The data set with cropped copies of training images as test images of others."""
    originals = dataset.split("train")[:count]
    copies = [
        record(f"{k:08x}.jpg", r.label, "test", cropped(r.read()), f"new{k}")
        for k, r in enumerate(originals)
    ]
    return ImageDataset(dataset.name, dataset.classes, (*dataset.records, *copies))


def points(seed: int, count: int = 300, dimensions: int = 20) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_close_pairs_are_found_unless_they_are_of_one_group():
    vectors = points(0)
    for k in range(4):
        vectors[100 + k] = vectors[k] + 0.2 * points(1)[k]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = np.arange(300)
    assert close_pairs(vectors, groups) == [(k, 100 + k) for k in range(4)]
    groups[101] = groups[1]
    assert close_pairs(vectors, groups) == [(0, 100), (2, 102), (3, 103)]


def test_points_that_are_independent_are_rarely_close():
    found = [len(close_pairs(points(seed), np.arange(300))) for seed in range(20)]
    assert sum(found) <= 1  # 0.2 are expected


def test_clusters_are_named_by_size():
    vectors = np.repeat(np.eye(3, 8, dtype=np.float32), [50, 30, 10], axis=0)
    names = cluster_names(vectors + points(2, 90, 8) / 10, 0)
    assert [names[0], names[60], names[85]] == ["01", "02", "03"]
    assert [len(set(names[part])) for part in (slice(50), slice(50, 80), slice(80, 90))] == [1] * 3


def test_cropped_copies_across_splits_are_found_and_counted_as_one_group(pixels):
    dataset = with_copies(noise_dataset(120), 4)
    report = audit_dataset(dataset, permutations=99, embed=load_embedder(pixels))
    paths = [observation.record.path for observation in report.observations]
    found = {(paths[p.first], paths[p.second]) for p in report.duplicates if p.by_embedding}
    originals = [r.path for r in dataset.split("train")[:4]]
    assert found == {*zip(originals, [r.path for r in dataset.records[120:]], strict=True)}
    finding = next(f for f in report.findings if f.check == "embedding_duplicates")
    assert finding.severity == "medium"
    assert finding.summary.startswith("4 of 44 test images are closer to an image in another")
    assert report.embedded.recognized == report.embedded.copies == 64
    assert report.embedded.dimensions == SIDE**2
    view = text_summary(report), html_report(report)
    assert all("recognizes 64 of 64 copies cropped by 3%" in text for text in view)
    assert "cosine = " in view[0]
    content = json.loads(json.dumps(json_report(report)))
    assert [*violations(content, schema(), schema())] == []
    clusters = content["embedding"]["clusters"]
    assert sum(row["images"] for row in clusters) == 124
    assert sum(row["splits"].get("test", 0) for row in clusters) == 44


def test_a_model_that_recognizes_no_copies_gives_clusters_only(tmp_path):
    embed = load_embedder(pixel_model(tmp_path, width=2, only_shape=True))
    report = audit_dataset(noise_dataset(64), permutations=99, embed=embed)
    assert report.embedded.recognized < 0.9 * report.embedded.copies
    assert "too few to search for near duplicates; 1 cluster(s)" in text_summary(report)
    assert not any(pair.by_embedding for pair in report.duplicates)


def test_an_export_and_its_clusters(finished_run, image_folder, tmp_path, capsys):
    model = finished_run.model_dir
    assert run_audit("folder", image_folder, output=str(tmp_path), embedding=model) == 0
    printed = capsys.readouterr().out
    assert 'INFO   factor "embedding cluster" [L3.3 sampling bias]' in printed
    assert "embedding: 64 dimensions; recognizes " in printed
    report = json.loads((tmp_path / "audit.json").read_text())
    row = next(probe for probe in report["probes"] if probe["kind"] == "embedding")
    assert row["check"] == "factor:embedding cluster"
    assert row["adjusted_p_value"] < FACTOR_SIGNIFICANCE
    assert [cluster["class_counts"] for cluster in report["embedding"]["clusters"]] in (
        [[21, 0], [0, 21]],
        [[0, 21], [21, 0]],
    )


def test_models_that_give_no_vectors(pixels, tmp_path):
    other = pixel_model(tmp_path / "other", "serving_default")
    with pytest.raises(InputError, match="has no signature 'embed' with the input 'image_bytes'"):
        load_embedder(other)
    with pytest.raises(InputError, match=r"^--embedding=absent: no such directory; "):
        run_audit("phantom", None, embedding="absent")
    assert load_embedder(pixels)([encode(random_picture(9, 9))] * 3).shape == (3, SIDE**2)


@pytest.mark.slow
def test_silence_of_the_embedding(pixels, slices_drawn_once):
    embed = load_embedder(pixels)
    findings = [
        (seed, finding.severity, finding.check)
        for seed in range(20)
        for finding in audit_dataset(phantom(seed=seed), permutations=999, embed=embed).findings
        if finding.severity in ("high", "medium")
    ]
    assert findings == []
