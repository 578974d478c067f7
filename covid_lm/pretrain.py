"""Pre-training with the masked-token objective (paper, section 3.2, equation 1)."""

import dataclasses
import datetime
import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.vocabulary import SPECIAL_TOKENS
from covid_lm.backbones.weights.config import select_backbone
from covid_lm.data import load_dataset
from covid_lm.data.unlabelled import unlabelled_images
from covid_lm.environment import commit, machine, machine_line
from covid_lm.errors import InputError
from covid_lm.evaluation.token_baselines import trivial_figures
from covid_lm.files import write_json
from covid_lm.layers.token_masking import TokenMasking, masked_count
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.models.masked_lm_metrics import masked_token_loss, masked_token_metrics
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.protocols import DTYPE_POLICIES, LAYOUTS
from covid_lm.training.callbacks import DropoutByEpoch, EpochEnd, StopOnNonFiniteLoss
from covid_lm.training.devices import choose_strategy, describe
from covid_lm.training.optimizer import SummedAdamW, paper_optimizer
from covid_lm.training.options import PretrainingOptions
from covid_lm.training.pretraining_checkpoint import restore_epoch, resumable_run
from covid_lm.training.pretraining_config import settle_config

Tokens = dict[str, np.ndarray]  # int32 [images, length] by name


@dataclasses.dataclass(frozen=True)
class PretrainingResult:
    """A finished run: the directory for `--weights`, and what `metrics.json` holds."""

    weights_dir: str
    metrics: dict
    seconds: float


def pretrain(
    options: PretrainingOptions, strategy: tf.distribute.Strategy | None = None
) -> PretrainingResult:
    """Pre-trains, or goes on where a run of the same name was interrupted.

    A run that goes on gives what it would have given at once. Its weights are those of the last
    epoch; the validation images are only measured on, and test images are not used at all.

    Args:
        options: what to train, on what, and where.
        strategy: where instead, whatever the options say.

    Raises:
        InputError: options or data that can't be used, or not those of the run that is there.
        RunError: no such device, or the loss became non-finite.
    """
    started = time.monotonic()
    weights_dir = os.path.join(options.model_dir, "weights")
    if strategy is None:
        strategy = choose_strategy(
            options.tpu, options.tpu_zone, options.gcp_project, options.tpu_timeout
        )
    with resumable_run(options.model_dir) as run_dir, strategy.scope():
        keras.utils.set_random_seed(options.seed)
        backbone, vocabulary = select_backbone(options.backbone, options.weights)
        preprocessor = Preprocessor(
            vocabulary=vocabulary, policy=options.policy, **LAYOUTS[options.layout]
        )
        sequences = read_sequences(options, preprocessor)
        batch_size = settle_config(options, sequences, run_dir, strategy.num_replicas_in_sync)
        masking = build_masking(sequences["train"], preprocessor, options.mask_rate)
        language_model = MaskedLanguageModel(
            backbone,
            vocabulary,
            masking.word_ids,
            length=sequences["train"]["token_ids"].shape[1],
            num_masked=masking.num_masked,
            dtype_policy=DTYPE_POLICIES[options.dtype],
        )
        has_head = options.weights is not None and language_model.load(options.weights)
        _print_plan(options, language_model, masking, has_head, batch_size, describe(strategy))
        trivial = trivial_figures(sequences, masking.word_ids)
        masked = {
            split: MaskedTokens(tokens, masking, options.seed)
            for split, tokens in sequences.items()
        }
        history = fit(language_model, masked, trivial, batch_size, options, run_dir)
        language_model.save(weights_dir)
        metrics = {
            "datasets": list(options.datasets),
            "images": {split: len(tokens["token_ids"]) for split, tokens in sequences.items()},
            "words": len(masking.word_ids),
            "trivial_predictors": trivial,
            "epochs": history,
            "command": options.command,
            "commit": commit(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine_line(machine()),
        }
        write_json(os.path.join(run_dir, "metrics.json"), metrics)
    return PretrainingResult(weights_dir, metrics, time.monotonic() - started)


def read_sequences(options: PretrainingOptions, preprocessor: Preprocessor) -> dict[str, Tokens]:
    """The sequences of all data sets' training images ("train") and, if any, validation ("val").

    Raises:
        InputError: no training images, or one that can't be decoded.
    """
    datasets = [load_dataset(name, directory) for name, directory in options.sources]
    images = unlabelled_images(datasets, options.max_images)
    if not images.train:
        raise InputError("--dataset: no training images that aren't test images too; add some")
    for record in images.left_out:
        print(f"left out, it is a test image too: {record.path}")
    sequences = {}
    for split in ("train", "val"):
        records = getattr(images, split)
        if records:
            decoded = decode_records(records, preprocessor.decode, options.skip_invalid)
            for record in decoded.skipped:
                print(f"skipped, can't be decoded: {record.path}")
            sequences[split] = decoded.tokenize(preprocessor).tokens
    counts = ", ".join(f"{len(x['token_ids'])} {split}" for split, x in sequences.items())
    print(f"{' + '.join(options.datasets)}: images {counts}; none of a test split")
    return sequences


def build_masking(tokens: Tokens, preprocessor: Preprocessor, rate: float) -> TokenMasking:
    """A `TokenMasking` of all words that images and names can hold but the special tokens.

    It has as many slots as the sequence with the most such words needs.
    """
    encoder = preprocessor.token_encoder
    special = [encoder.vocabulary.index(token) for token in SPECIAL_TOKENS]
    word_ids = np.setdiff1d(encoder.reachable_token_ids, special)
    most_words = int(np.isin(tokens["token_ids"], word_ids).sum(axis=1).max())
    return TokenMasking(
        word_ids,
        mask_id=encoder.vocabulary.index("[MASK]"),
        vocabulary_size=len(encoder.vocabulary),
        num_masked=masked_count(most_words, rate),
        rate=rate,
    )


def fit(
    language_model: MaskedLanguageModel,
    sequences: dict[str, MaskedTokens],
    trivial: dict[str, dict],
    batch_size: int,
    options: PretrainingOptions,
    run_dir: str,
) -> list[dict]:
    """Trains the epochs that the run still lacks.

    Returns:
        One entry per epoch, those of earlier calls first.

    Raises:
        InputError: the run's checkpoint can't be loaded.
        RunError: the loss became non-finite.
    """
    model = language_model.model
    model.compile(
        # Of a tied embedding, devices have sums of their own: only the squares of all of them
        # summed up don't depend on the number of devices.
        optimizer=paper_optimizer(options.learning_rate, kind=SummedAdamW),
        loss=masked_token_loss,
        metrics=masked_token_metrics(),
        jit_compile=False,
    )
    history = restore_epoch(run_dir, model)
    first = len(history)
    if first:
        print(f"goes on after epoch {first}")
    training = sequences["train"]
    if first < options.epochs:
        model.fit(
            training.epochs(batch_size, first, options.epochs),
            steps_per_epoch=training.steps(batch_size),
            initial_epoch=first,
            epochs=options.epochs,
            validation_data=sequences["val"].batches(batch_size) if "val" in sequences else None,
            callbacks=[
                StopOnNonFiniteLoss(),
                DropoutByEpoch(language_model.encoder, options.seed),
                EpochEnd(run_dir, history, trivial),
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=1 if sys.stdout.isatty() else 0,
        )
    return history


def _print_plan(
    options: PretrainingOptions,
    language_model: MaskedLanguageModel,
    masking: TokenMasking,
    has_head: bool,
    batch_size: int,
    devices: str,
) -> None:
    weights = options.weights or "random weights"
    head = f"masked-LM head {'from there' if has_head else 'from random weights'}"
    parameters = language_model.model.count_params()
    print(f"{options.backbone}: {parameters:,} parameters, {weights}, {head}")
    print(
        f"names {options.policy}, layout {options.layout}, batch size {batch_size} on "
        f"{devices}; "
        f"{options.mask_rate:.0%} of each sequence's words masked (at most {masking.num_masked}), "
        f"exact softmax over the {len(masking.word_ids)} words that images and names can hold"
    )
