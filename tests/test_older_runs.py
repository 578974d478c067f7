"""Finished runs, pre-trained weights and exports that an older commit made.

tests/fixtures/older_runs.tar.xz was made at commit aca75e6 by

    python tools/train.py --max_images=16 --epochs=1 --batch_size=8 --backbone=1x64 --name=run
        --protocol=masked --layout=gray22
    python tools/pretrain.py --max_images=16 --epochs=1 --batch_size=8 --backbone=1x64
        --name=pretraining --protocol=masked --layout=gray22

To keep it small, report.html, two sample images and the pre-training checkpoint were removed, and
the optimizer's moments in best.weights.h5 set to 0. older_runs.json holds what the code of that
commit computed from these files for the sample images. The tolerance is for other processors.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest

from covid_lm.evaluation.protocol_metrics import evaluate_protocols
from covid_lm.evaluation_run import evaluate_run
from covid_lm.export import export_run
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving.predict import image_files, predict_files
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import sample_records

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "older_runs.json").read_text())
FILES = sorted(EXPECTED["export"])
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def older(older_runs) -> str:
    return str(older_runs)


@pytest.fixture(scope="module")
def pretrained(older):
    """A classifier from the pre-trained weights, and the sample images' tokens."""
    options = TrainingOptions(
        backbone="1x64",
        weights=os.path.join(older, "pretraining", "weights"),
        protocol="masked",
        layout="gray22",
    )
    classifier = build_classifier(options, ("negative", "positive"))
    records = sample_records(os.path.join(older, "run", "run"))
    preprocessor = classifier.preprocessor()
    tokens = decode_records(records, preprocessor.image_input).tokenize(preprocessor).tokens
    return classifier, tokens


def served_probabilities(version_dir: str, older: str) -> np.ndarray:
    files = image_files([os.path.join(older, "run", "run", "samples")])
    assert [os.path.basename(file) for file in files] == FILES
    return np.array([prediction.probabilities for prediction in predict_files(version_dir, files)])


def expected(key: str) -> np.ndarray:
    return np.array([EXPECTED[key][name] for name in FILES])


def auc_bounds(predictions: pd.DataFrame) -> tuple[float, float]:
    """The least and the largest AUC if each probability is changed by at most TOLERANCE."""
    groups = dict(list(predictions.groupby("label")["p(positive)"]))
    differences = np.subtract.outer(groups["positive"].values, groups["negative"].values)
    return (
        float(np.mean(differences > 2 * TOLERANCE)),
        float(np.mean(differences >= -2 * TOLERANCE)),
    )


def test_the_live_model_gives_the_same_probabilities(older):
    run_dir = os.path.join(older, "run", "run")
    evaluation = evaluate_protocols(load_classifier(run_dir), sample_records(run_dir))
    assert set(evaluation.predictions) == set(EXPECTED["live"])
    for policy, probabilities in evaluation.predictions.items():
        names = [record.filename for record in evaluation.records]
        rows = [EXPECTED["live"][policy][name] for name in names]
        np.testing.assert_allclose(probabilities, rows, rtol=0, atol=TOLERANCE)


def test_evaluation_gives_the_metrics_of_the_run(older, monkeypatch):
    """With the weights as variables, as when these metrics were written.

    Fixed weights round otherwise, and two images can change places in the order of the AUC.
    """
    monkeypatch.setattr(TokenClassifier, "fix_weights", lambda self: None)
    with open(os.path.join(older, "run", "run", "metrics.json"), encoding="utf-8") as file:
        before = json.load(file)["protocols"]
    report = evaluate_run(os.path.join(older, "run"), "phantom", None)
    assert set(report["protocols"]) == set(before)
    for policy, row in report["protocols"].items():
        for key in ("n", "correct", "accuracy"):
            assert row[key] == pytest.approx(before[policy][key], abs=TOLERANCE)
        # On another processor, one of the 50 x 50 pairs may change places if rounding decides it.
        assert row["auc"] == pytest.approx(before[policy]["auc"], abs=1 / 50**2 + TOLERANCE)
        low, high = auc_bounds(report.predictions.query("protocol == @policy"))
        assert low - TOLERANCE <= before[policy]["auc"] <= high + TOLERANCE
    assert report["export_difference"] < TOLERANCE


def test_the_export_gives_the_same_probabilities(older):
    probabilities = served_probabilities(os.path.join(older, "run", "1"), older)
    np.testing.assert_allclose(probabilities, expected("export"), rtol=0, atol=TOLERANCE)


def test_an_export_without_reasons_names_the_invalid_files(older, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (prediction,) = predict_files(os.path.join(older, "run", "1"), [str(tmp_path / "a.png")])
    assert (prediction.label, prediction.error) == ("", "can't be decoded")


def test_the_run_can_be_exported_again(older):
    version_dir, difference = export_run(os.path.join(older, "run"))
    assert os.path.basename(version_dir) == "2"
    assert difference < TOLERANCE
    probabilities = served_probabilities(version_dir, older)
    np.testing.assert_allclose(probabilities, expected("export"), rtol=0, atol=TOLERANCE)


def test_a_classifier_takes_the_pretrained_encoder(pretrained):
    classifier, tokens = pretrained
    embedding = classifier.embedding.predict(
        {key: tokens[key] for key in classifier.input_keys}, verbose=0
    )
    np.testing.assert_allclose(
        embedding[:, :8], expected("pretrained_embedding"), rtol=0, atol=1e-5
    )


def test_the_pretrained_masked_lm_gives_the_same_probabilities(older, pretrained):
    classifier, tokens = pretrained
    word_ids, num_masked = np.arange(5, len(classifier.vocabulary)), 8
    language_model = MaskedLanguageModel(
        classifier.config.backbone, classifier.vocabulary, word_ids, 512, num_masked
    )
    assert language_model.load(os.path.join(older, "pretraining", "weights"))
    positions = np.tile(np.arange(1, 1 + num_masked, dtype=np.int32), (len(FILES), 1))
    logits = language_model.model.predict({**tokens, "masked_positions": positions}, verbose=0)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    places = tokens["token_ids"][:, 1 : 1 + num_masked, np.newaxis] - word_ids[0]
    of_words = np.take_along_axis(probabilities, places, axis=2)[..., 0]
    np.testing.assert_allclose(
        of_words, expected("pretrained_word_probabilities"), rtol=0, atol=TOLERANCE
    )
