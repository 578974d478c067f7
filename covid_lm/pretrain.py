"""Pre-training with the masked-token objective (paper, section 3.2, equation 1)."""

import dataclasses
import os
import time

import keras
import numpy as np

from covid_lm.backbones.vocabulary import SPECIAL_TOKENS
from covid_lm.backbones.weights.shipped import weights_directory
from covid_lm.data import load_dataset
from covid_lm.data.splits import describe_splits
from covid_lm.data.unlabelled import held_out_digests, unlabelled_records
from covid_lm.environment import machine, machine_line, origin
from covid_lm.errors import InputError
from covid_lm.evaluation.token_baselines import trivial_figures
from covid_lm.files import write_json, write_json_lines
from covid_lm.layers.token_masking import TokenMasking, masked_count
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.models.masked_lm_metrics import masked_token_loss, masked_token_metrics
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import DecodedRecords, check_valid, decode_valid
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.protocols import DTYPE_POLICIES, layout_arguments
from covid_lm.training.build import choose_backbone
from covid_lm.training.checkpoints import Progress, resume
from covid_lm.training.devices import choose_strategy
from covid_lm.training.inputs import print_skipped
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import paper_optimizer
from covid_lm.training.pretraining_log import epoch_line, epoch_table
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.run_directory import resumed_config, run_config, staged_run
from covid_lm.training.termination import Termination


@dataclasses.dataclass(frozen=True)
class PretrainingResult:
    """A finished run: the directory for `--weights`, and the content of `metrics.json`."""

    weights_dir: str
    metrics: dict
    seconds: float


def pretrain(options: PretrainingOptions) -> PretrainingResult:
    """Pre-trains, and writes the weights after the last epoch.

    Resumes an unfinished run of the same name. Validation images are only measured on; test images
    are not used.

    Raises:
        InputError: unusable options or data, or an unfinished run with other ones.
        RunError: no such device, the loss became non-finite, or a file can't be written.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    started = time.monotonic()
    strategy = choose_strategy(options)
    weights_dir = os.path.join(options.model_dir, "weights")
    with (
        Termination() as termination,
        staged_run(options.model_dir, "pretraining") as staged,
        strategy.scope(),
    ):
        keras.utils.set_random_seed(options.seed)
        backbone, vocabulary = choose_backbone(options)
        preprocessor = Preprocessor(vocabulary, options.policy, **layout_arguments(options.layout))
        images = decode_images(options, preprocessor)
        sequences = {split: x.tokenize(preprocessor).tokens for split, x in images.items()}
        token_ids = sequences["train"]["token_ids"]
        masking = build_masking(token_ids, preprocessor, options.mask_rate)
        run = run_config(options, strategy, images["train"])
        run["validation_images"] = images["val"].summary if "val" in images else None
        run = resumed_config(staged, run, options, "pretraining")
        write_json(os.path.join(staged, "config.json"), {"pretraining": run})
        policy = DTYPE_POLICIES[options.dtype]
        language_model = MaskedLanguageModel(
            backbone, vocabulary, masking.word_ids, token_ids.shape[1], masking.num_masked, policy
        )
        weights = weights_directory(options.weights, options.layout)
        has_head = weights is not None and language_model.load(weights)
        _print_plan(options, language_model, masking, has_head, run)
        trivial = trivial_figures(sequences, masking.word_ids)
        masked = {split: MaskedTokens(tokens, masking) for split, tokens in sequences.items()}
        history = fit(
            language_model, masked, trivial, run["batch_size"], options, staged, termination
        )
        language_model.save(weights_dir)
        metrics = {
            "datasets": list(options.datasets),
            "images": {split: len(decoded.records) for split, decoded in images.items()},
            "words": len(masking.word_ids),
            "trivial_predictors": trivial,
            "epochs": history,
            **origin(options.command),
            "machine": machine_line(machine()),
        }
        write_json(os.path.join(staged, "metrics.json"), metrics)
    return PretrainingResult(weights_dir, metrics, time.monotonic() - started)


def decode_images(
    options: PretrainingOptions, preprocessor: Preprocessor
) -> dict[str, DecodedRecords]:
    """All data sets' training images ("train") and, if any, validation images ("val").

    Raises:
        InputError: no training images, or one that can't be decoded.
    """
    datasets = [load_dataset(name, directory) for name, directory in options.sources]
    print("\n".join(map(describe_splits, datasets)))
    held_out = held_out_digests(datasets)
    images = {}
    for split in ("train", "val"):
        records = unlabelled_records(datasets, split, options.max_images)
        if not records:
            continue
        images[split] = decode_valid(records, preprocessor.decode, held_out)
        for record in images[split].left_out:
            print(f"left out, it is a test image too: {record.path}")
    check_valid(images.values(), options.skip_invalid)
    print_skipped([image for decoded in images.values() for image in decoded.skipped])
    images = {split: decoded for split, decoded in images.items() if decoded.records}
    if "train" not in images:
        raise InputError("--dataset: no training images that aren't test images too; add some")
    counts = ", ".join(f"{len(x.records)} {split}" for split, x in images.items())
    print(f"{' + '.join(options.datasets)}: images {counts}; none of a test split")
    return images


def build_masking(token_ids: np.ndarray, preprocessor: Preprocessor, rate: float) -> TokenMasking:
    """A `TokenMasking` of all words that images and names can hold, without special tokens.

    Its number of slots suits the row of `token_ids`, int32 [images, length], with most such words.
    """
    encoder = preprocessor.token_encoder
    special = [encoder.vocabulary.index(token) for token in SPECIAL_TOKENS]
    word_ids = np.setdiff1d(encoder.reachable_token_ids, special)
    most_words = int(np.isin(token_ids, word_ids).sum(axis=1).max())
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
    termination: Termination,
) -> list[dict]:
    """Trains the remaining epochs of the run in `run_dir`; raises as `run_epochs`.

    Returns:
        One `epoch_line` for each epoch.
    """
    model = language_model.model
    optimizer = paper_optimizer(options.learning_rate)
    model.compile(optimizer, masked_token_loss, metrics=masked_token_metrics(), jit_compile=False)
    checkpoints, progress = resume(run_dir, model, lambda metrics: epoch_line(metrics, trivial))

    def validate() -> dict[str, float]:
        # Without a `val_loss`, which would stop the training early.
        if "val" not in sequences:
            return {}
        batches = sequences["val"].once(batch_size, options.seed)
        metrics = model.evaluate(batches, verbose=0, return_dict=True)
        return {f"val_{name}": float(value) for name, value in metrics.items() if name != "loss"}

    def log(progress: Progress) -> None:
        lines = [epoch_line(metrics, trivial) for metrics in progress.history]
        write_json_lines(os.path.join(run_dir, "metrics.jsonl"), lines)
        print(epoch_table(lines[-1], trivial), flush=True)

    training = sequences["train"]
    progress = run_epochs(
        model, training, batch_size, options, validate, log, checkpoints, progress, termination
    )
    return [epoch_line(metrics, trivial) for metrics in progress.history]


def _print_plan(
    options: PretrainingOptions,
    language_model: MaskedLanguageModel,
    masking: TokenMasking,
    has_head: bool,
    run: dict,
) -> None:
    weights = options.weights or "random weights"
    head = f"masked-LM head {'from there' if has_head else 'from random weights'}"
    parameters = language_model.model.count_params()
    print(f"{options.backbone}: {parameters:,} parameters, {weights}, {head}")
    print(
        f"names {options.policy}, layout {options.layout}, "
        f"batch size {run['batch_size']} on {run['devices']}; "
        f"{options.mask_rate:.0%} of each sequence's words masked (at most {masking.num_masked}), "
        f"exact softmax over the {len(masking.word_ids)} words that images and names can hold"
    )
