"""Averages of runs: the mean of their answers, in a run like any other."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.audit.attribution import attribution_shares
from covid_lm.averaging import average_runs
from covid_lm.build_classifier import build_classifier
from covid_lm.classifier_files import load_classifier, save_config, save_weights
from covid_lm.data.folder import folder
from covid_lm.data.tokens import decode_records
from covid_lm.errors import InputError
from covid_lm.evaluation.integrated_gradients import (
    integrated_gradients,
    mean_integrated_gradients,
)
from covid_lm.evaluation.protocols import predict_tokens
from covid_lm.run_directory import write_json, write_text
from covid_lm.run_evaluation import evaluate_run
from covid_lm.serving.export import export_run, run_saved_model
from covid_lm.training_options import TrainingOptions


def write_run(image_folder: str, directory: pathlib.Path, seed: int, **changes) -> str:
    """A finished run with weights large enough for answers to differ clearly, untrained."""
    settings = {"backbone": "1x64", "protocol": "fixed", "layout": "gray16", **changes}
    options = TrainingOptions(dataset="folder", data_dir=image_folder, seed=seed, **settings)
    keras.utils.set_random_seed(seed)
    classifier = build_classifier(options, ("bright", "dark"))
    for variable in classifier.logits.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.2))
    run_dir = directory / f"{options.layout}-{seed}" / "run"
    told = {"dataset": "folder", "data_dir": image_folder, "seed": seed, "layout": options.layout}
    save_weights(classifier, str(run_dir))
    save_config(classifier, str(run_dir), {**told, "early_stopping": "val"})
    write_json(str(run_dir / "metrics.json"), {})
    write_text(str(run_dir / "metrics.jsonl"), "")
    return str(run_dir.parent)


@pytest.fixture(scope="module")
def runs(image_folder, tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("runs")
    return [write_run(image_folder, directory, seed, views=2) for seed in (3, 5)]


@pytest.fixture(scope="module")
def averaged(runs, tmp_path_factory):
    return average_runs(runs, "both", output_dir=str(tmp_path_factory.mktemp("averaged")))


@pytest.fixture(scope="module")
def members(runs) -> list:
    return [load_classifier(os.path.join(run, "run")) for run in runs]


@pytest.fixture(scope="module")
def tokens(members, image_folder) -> dict[str, np.ndarray]:
    preprocessor = members[0].preprocessor()
    records = folder(image_folder).split("test")
    return decode_records(records, preprocessor.image_input).tokenize(preprocessor).tokens


def test_live_model_and_export_give_the_mean(averaged, members, tokens, image_folder):
    each = [predict_tokens(member, tokens) for member in members]
    assert np.abs(each[0] - each[1]).max() > 0.05
    expected = np.mean(each, axis=0)
    loaded = load_classifier(os.path.join(averaged.model_dir, "run"))
    np.testing.assert_allclose(predict_tokens(loaded, tokens), expected, atol=1e-6)
    records = folder(image_folder).split("test")
    answer = next(iter(run_saved_model(averaged.version_dir, records)))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert averaged.export_difference < 1e-6
    image_bytes = tf.constant([record.read() for record in records])
    served = tf.saved_model.load(averaged.version_dir).signatures["embed"]
    embeddings = [member.embedding.predict(tokens, verbose=0) for member in members]
    np.testing.assert_allclose(
        served(image_bytes=image_bytes)["embedding"], np.concatenate(embeddings, axis=1), atol=1e-4
    )


def test_the_run_is_like_any_other(averaged, runs, image_folder):
    run_dir = pathlib.Path(averaged.model_dir) / "run"
    assert sorted(os.listdir(averaged.model_dir)) == ["1", "run"]
    config = json.loads((run_dir / "config.json").read_text())
    assert len(config["classifier"]["members"]) == 2
    assert config["run"]["runs"] == ["gray16-3", "gray16-5"]
    assert config["run"]["seed"] == "3, 5"
    assert config["run"]["layout"] == "gray16"
    assert config["run"]["backbone"] == "1x64 + 1x64"
    row = averaged.metrics["protocols"]["fixed"]
    assert (row["n"], averaged.metrics["early_stopping"]) == (10, "val")
    assert "1x64 + 1x64 on folder" in (run_dir / "report.html").read_text()
    report = evaluate_run(averaged.model_dir, "folder", image_folder)
    assert report["protocols"] == averaged.metrics["protocols"]
    version, difference = export_run(averaged.model_dir)
    assert version.endswith("both/2")
    assert difference < 1e-6


def test_attributions_are_means(averaged, members, tokens):
    loaded = load_classifier(os.path.join(averaged.model_dir, "run"))
    one = {key: value[:1] for key, value in tokens.items()}
    shares = [attribution_shares(member, one) for member in members]
    np.testing.assert_allclose(attribution_shares(loaded, one), np.mean(shares, axis=0), atol=1e-6)
    parts = [integrated_gradients(member, one, 1) for member in members]
    whole = mean_integrated_gradients(loaded, one, 1)
    np.testing.assert_allclose(whole.tokens, (parts[0].tokens + parts[1].tokens) / 2, atol=1e-5)
    assert whole.margin == pytest.approx((parts[0].margin + parts[1].margin) / 2, abs=1e-5)


def test_runs_that_can_not_be_averaged(runs, image_folder, tmp_path):
    def refused(*given: str, name: str = "both") -> str:
        with pytest.raises(InputError) as error:
            average_runs(given, name, output_dir=str(tmp_path))
        assert not (tmp_path / name).exists()
        return str(error.value)

    assert refused(runs[0]) == "--run: give two different runs or more"
    assert refused(runs[0], runs[0] + "/") == "--run: give two different runs or more"
    assert refused(*runs, name="../up").startswith("--name=../up: letters")
    assert refused(runs[0], "absent") == "absent/run: no finished run (no config.json in it)"
    other = write_run(image_folder, tmp_path, 7, layout="scales", views=2)
    assert refused(runs[0], other) == (
        f"--run={other}: its image_size is not that of {runs[0]}; only runs that read the same "
        "sequences can be averaged"
    )
    other = write_run(image_folder, tmp_path, 7)
    assert refused(*runs, other).startswith(f"--run={other}: its views is not that of {runs[0]};")


def test_the_name_of_a_member(runs):
    directory, name = os.path.split(runs[0])
    with pytest.raises(InputError, match=f"^--name={name}: is one of the runs to be averaged"):
        average_runs(runs, name, output_dir=directory)
