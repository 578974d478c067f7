"""Cross-validation: each fold trains as `train` does, and no test image is read."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_lm import cross_validate as cross_validation
from covid_lm.cross_validate import cross_validate
from covid_lm.data.folder import folder
from covid_lm.data.splits import held_out_folds
from covid_lm.errors import InputError
from covid_lm.evaluation.fold_metrics import FoldResult, repeated_figures
from covid_lm.evaluation.summary import fold_table
from covid_lm.models.classifier import predict_tokens
from covid_lm.pipeline.augmented import training_input
from covid_lm.pipeline.decoded import decode_records
from covid_lm.results.run_records import cross_validation_record
from covid_lm.results.tables import cross_validation_table
from covid_lm.training.build import build_classifier
from covid_lm.training.fine_tuning import fit_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training.termination import Termination


def options(image_folder, **changes) -> TrainingOptions:
    settings = {
        "dataset": "folder",
        "data_dir": image_folder,
        "backbone": "1x64",
        "protocol": "fixed",
        "layout": "gray22",
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "augment": "light",
        "early_stopping": "none",
    }
    return TrainingOptions(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    """Two folds of a data set whose test images can't be read."""

    def refuse():
        raise AssertionError("a test image was read")

    dataset = folder(image_folder)
    guarded = tuple(
        dataclasses.replace(record, read=refuse) if record.split == "test" else record
        for record in dataset.records
    )
    path = tmp_path_factory.mktemp("folds") / "folds.json"
    with pytest.MonkeyPatch.context() as patch:
        unreadable = dataclasses.replace(dataset, records=guarded)
        patch.setattr(cross_validation, "load_dataset", lambda *_: unreadable)
        report = cross_validate(options(image_folder), num_folds=2, output=str(path))
    return report, json.loads(path.read_text())


def test_every_training_and_validation_image_is_held_out_once(finished, image_folder):
    report, stored = finished
    assert report == stored
    names = [r.filename for r in folder(image_folder).split("train", "val")]
    assert sorted(row["file"] for row in report["out_of_fold"]) == sorted(names)
    assert (report["images"], report["folds"], report["folds_done"]) == (32, 2, 2)
    assert [row["n"] for row in report["epochs"]] == [32, 32]
    assert {row["fold"] for row in report["out_of_fold"]} == {1, 2}
    assert report["command"].endswith(
        "--schedule=cosine --augment=light --backbone=1x64 --protocol=fixed --layout=gray22 "
        "--epochs=2 --batch_size=6 --learning_rate=0.01 --folds=2"
    )


def test_two_easy_classes_are_separated(finished):
    assert finished[0]["epochs"][-1]["auc"] > 0.95


def test_a_fold_is_a_fit_on_the_other_images(finished, image_folder, tmp_path):
    chosen, dataset = options(image_folder), folder(image_folder)
    records = dataset.split("train", "val")
    held_out = held_out_folds(records, 2, 2, chosen.seed)[0]
    others = [record for place, record in enumerate(records) if place not in held_out]
    keras.utils.set_random_seed(chosen.seed)
    classifier = build_classifier(chosen, dataset.classes)
    images = {
        "train": decode_records(others, training_input(chosen.augment, classifier.preprocessor()))
    }
    with Termination() as termination:
        fit_classifier(classifier, images, 6, chosen, str(tmp_path), termination)
    preprocessor = classifier.preprocessor()
    asked = decode_records([records[row] for row in held_out], preprocessor.image_input)
    expected = predict_tokens(classifier, asked.tokenize(preprocessor).tokens)
    answers = [row["probabilities"][-1] for row in finished[0]["out_of_fold"] if row["fold"] == 1]
    np.testing.assert_allclose(answers, expected, atol=1e-6)  # they are rounded to 6 places


def test_the_first_folds_only(image_folder, monkeypatch):
    def run_fold(options, classes, images, augmented, held_out):
        assert augmented is images  # decoded once, without augmentation
        return FoldResult(held_out, np.full((1, len(held_out), 2), 0.5), [0.7])

    monkeypatch.setattr(cross_validation, "_run_fold", run_fold)
    report = cross_validate(options(image_folder, epochs=1, augment="none"), 3, max_folds=1)
    assert (report["folds"], report["folds_done"]) == (3, 1)
    assert report["epochs"][0]["n"] == len(report["out_of_fold"]) < 32
    assert report["command"].endswith(" --folds=3 --max_folds=1")


def test_repeats_have_folds_of_their_own(image_folder, monkeypatch):
    divisions = []

    def run_fold(options, classes, images, augmented, held_out):
        divisions.append(tuple(held_out))
        share = len(divisions) / 10
        return FoldResult(held_out, np.full((1, len(held_out), 2), [share, 1 - share]), [0.7])

    monkeypatch.setattr(cross_validation, "_run_fold", run_fold)
    chosen = options(image_folder, epochs=1, augment="none")
    report = cross_validate(chosen, num_folds=2, repeats=3)
    records = folder(image_folder).split("train", "val")
    expected = [held_out_folds(records, 2, 2, seed) for seed in range(3)]
    assert divisions == [tuple(held_out) for folds in expected for held_out in folds]
    assert (report["folds"], report["folds_done"], len(report["repeats"])) == (6, 6, 3)
    assert report["command"].endswith(" --folds=2 --repeats=3")
    losses = [part["epochs"][0]["log_loss"] for part in report["repeats"]]
    (row,) = report["epochs"]
    assert row["log_loss"] == pytest.approx(np.mean(losses))
    assert (row["n"], row["ci95_method"]) == (32, "wilson, mean of 3 repeats")
    parts = [part["epochs"][0] for part in report["repeats"]]
    assert row["ci95"] == pytest.approx(np.mean([part["ci95"] for part in parts], axis=0))
    assert row["auc_ci95"] == pytest.approx(np.mean([part["auc_ci95"] for part in parts], axis=0))
    areas = [part["auc"] for part in parts]
    assert (row["auc"], row["auc_sd"]) == pytest.approx((np.mean(areas), np.std(areas)))
    record = cross_validation_record(report)
    assert "(sd 0." in fold_table(report)
    low, high = row["ci95"]
    shown = f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
    assert cross_validation_table([record])["accuracy [95%]"].item() == shown


def test_an_interval_that_a_repeat_lacks():
    """If one repeat has no interval, the mean has none."""
    figures = {"n": 4, "correct": 2, "balanced_accuracy": 0.5, "brier": 0.3, "log_loss": 0.7}
    whole = {"accuracy": 0.5, "ci95": [0.2, 0.8], "ci95_method": "wilson", "auc": 0.5}
    area = {"auc_ci95": [0.1, 0.9], "auc_ci95_method": "patient bootstrap"}
    rows = [{"epoch": 1, **figures, **whole, **area} for _ in range(2)]
    row = repeated_figures([{"epochs": [row]} for row in rows])["epochs"][0]
    assert row["auc_ci95"] == [0.1, 0.9]
    rows[1] |= {"auc_ci95": None, "auc_ci95_method": None}
    row = repeated_figures([{"epochs": [row]} for row in rows])["epochs"][0]
    assert (row["auc_ci95"], row["auc_ci95_method"]) == (None, "mean of 2 repeats")
    assert (row["ci95"], row["ci95_method"]) == ([0.2, 0.8], "wilson, mean of 2 repeats")


def test_frozen_embeddings_of_the_initial_model(image_folder, monkeypatch):
    """Equal to scikit-learn's own regression on the embeddings, and no training takes place."""
    monkeypatch.setattr(cross_validation, "run_epochs", lambda *_: pytest.fail("trained"))
    chosen = TrainingOptions(
        dataset="folder",
        data_dir=image_folder,
        backbone="1x64",
        protocol="fixed",
        layout="gray22",
        frozen=True,
    )
    dataset = folder(image_folder)
    keras.utils.set_random_seed(0)
    report = cross_validate(chosen, num_folds=2)
    assert " --frozen " in report["command"]
    keras.utils.set_random_seed(0)
    classifier = build_classifier(chosen, dataset.classes)
    records = dataset.split("train", "val")
    labels = np.array([record.label for record in records])
    tokens = decode_records(records, classifier.preprocessor().image_input).tokenize(
        classifier.preprocessor()
    )
    embeddings = classifier.embedding.predict(tokens.tokens, verbose=0)
    held_out = held_out_folds(records, 2, 2, chosen.seed)[0]
    rest = np.setdiff1d(np.arange(32), held_out)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": 10.0 ** np.arange(-5, 1)},
        scoring="neg_log_loss",
        cv=list(folds.split(rest, labels[rest], np.arange(len(rest)))),
    )
    search.fit(embeddings[rest], labels[rest])
    found = [row["probabilities"][0] for row in report["out_of_fold"] if row["fold"] == 1]
    np.testing.assert_allclose(found, search.predict_proba(embeddings[held_out]), atol=2e-4)


def test_an_output_without_a_folder(image_folder):
    with pytest.raises(InputError, match=r"^--output=absent/x.json: its folder does not exist$"):
        cross_validate(options(image_folder), output="absent/x.json")
