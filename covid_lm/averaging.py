"""Finished runs averaged into a new one: evaluated, exported and verified as any other."""

import datetime
import os
import time
from collections.abc import Sequence

from covid_lm.averaged_classifier import AveragedClassifier, require_same_sequences
from covid_lm.classifier import Classifier
from covid_lm.classifier_files import load_classifier, save_config, save_weights
from covid_lm.data import load_dataset
from covid_lm.errors import InputError
from covid_lm.evaluation.protocols import evaluate_protocols
from covid_lm.evaluation.split_metrics import split_metrics
from covid_lm.finished_run import TrainingResult, finish_run
from covid_lm.machine import machine
from covid_lm.pixel_classifier import PixelClassifier
from covid_lm.run_directory import read_run, resumed_config, staged_run, write_json_lines
from covid_lm.run_name import check_run_name

# Options of the runs that the new run has too, where they all agree.
_COMMON = (
    *("dataset", "training_images", "protocol", "layout", "image_size"),
    *("views", "dtype", "early_stopping"),
)


def average_runs(
    runs: Sequence[str],
    name: str,
    data_dir: str | None = None,
    output_dir: str = "saved_models",
    skip_invalid: bool = False,
) -> TrainingResult:
    """Averages the answers of finished runs, on the test split of the data that they are of.

    Args:
        runs: `saved_models/NAME` of two runs or more.
        name: of the new one.
        data_dir: where the data set lies; where the first run had it unless given.

    Raises:
        InputError: fewer than two runs, one that isn't finished or reads other sequences or was
            trained on another data set, or unusable data.
        RunError: the export can't be written or verified.
    """
    started = time.monotonic()
    check_run_name(name)
    model_dir = os.path.join(output_dir, name)
    runs = [run.rstrip("/") for run in runs]
    if len(set(runs)) < max(len(runs), 2):
        raise InputError("--run: give two different runs or more")
    if os.path.abspath(model_dir) in map(os.path.abspath, runs):
        raise InputError(f"--name={name}: is one of the runs to be averaged; give another")
    classifiers = {run: _single(run) for run in runs}
    require_same_sequences(classifiers)
    told = {run: read_run(os.path.join(run, "run"))["config"]["run"] for run in runs}
    classifier = AveragedClassifier(list(classifiers.values()))
    config = _config(classifier, told, name)
    dataset = load_dataset(config["dataset"], data_dir or told[runs[0]]["data_dir"])
    with staged_run(model_dir) as staged:
        config = resumed_config(staged, config, ("runs",))  # not into a training that broke off
        save_config(classifier, staged, config)
        save_weights(classifier, staged)
        write_json_lines(os.path.join(staged, "metrics.jsonl"), [])  # no epochs of its own
        evaluation = evaluate_protocols(classifier, dataset.split("test"), skip_invalid)
        metrics = {
            **split_metrics(classifier, dataset, "test", evaluation),
            "early_stopping": config["early_stopping"],
            "seconds": round(time.monotonic() - started, 1),
        }
        version_dir, difference = finish_run(
            classifier, dataset, evaluation, metrics, staged, model_dir
        )
    seconds = time.monotonic() - started
    return TrainingResult(model_dir, version_dir, metrics, difference, seconds)


def _single(run: str) -> Classifier | PixelClassifier:
    classifier = load_classifier(os.path.join(run, "run"))
    if isinstance(classifier, AveragedClassifier):
        raise InputError(f"--run={run}: is an average itself; give the runs that it is of")
    return classifier


def _config(classifier: AveragedClassifier, told: dict[str, dict], name: str) -> dict:
    """What the new run was told; an option in which the runs differ is their values in a row."""
    for run, options in told.items():
        first = next(iter(told.values()))
        if options["dataset"] != first["dataset"]:
            raise InputError(
                f"--run={run}: trained on {options['dataset']}, the first one on "
                f"{first['dataset']}; only runs on the same data can be averaged"
            )
    common = {key: _in_a_row([options.get(key) for options in told.values()]) for key in _COMMON}
    flags = "".join(f" --run=saved_models/{os.path.basename(run)}" for run in told)
    return {
        **common,
        # One run that looked at the test split spoils the average's figures, too.
        "early_stopping": "test"
        if "test" in [options["early_stopping"] for options in told.values()]
        else common["early_stopping"],
        "runs": [os.path.basename(run) for run in told],
        "data_dir": next(iter(told.values()))["data_dir"],
        "backbone": classifier.config.backbone_name,
        "weights": classifier.config.weights,
        "seed": _in_a_row([options["seed"] for options in told.values()]),
        "command": f"python tools/average.py{flags} --name={name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
    }


def _in_a_row(values: list) -> object:
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else ", ".join(map(str, distinct))
