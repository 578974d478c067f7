"""The splits of a training run, decoded once and tokenized under the policy of each."""

from collections.abc import Iterable, Sequence

from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError
from covid_lm.layers.random_operations import ImageMixing
from covid_lm.models.classifier import Classifier
from covid_lm.pipeline.augmented import (
    KEPT_BYTES,
    AugmentedRecords,
    named_augmentation,
    token_batches,
    training_input,
)
from covid_lm.pipeline.decoded import (
    DecodedRecords,
    SkippedImage,
    check_valid,
    count_by_reason,
    decode_valid,
)
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.pipeline.tokenized import Batches, TokenizedRecords
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_options import RunOptions


def decode_splits(
    classifier: Classifier,
    dataset: ImageDataset,
    options: TrainingOptions,
    cache: PixelCache | None = None,
) -> dict[str, DecodedRecords]:
    """The images for training ("train"), early stopping and evaluation ("test"), decoded once.

    The paper trains on training and validation images together; only `--early_stopping=val`
    holds the validation split out ("val").

    Raises:
        InputError: a split that is needed has no images, an image can't be decoded, or the cache
            can't be written.
        RunError: no space is left for the cache.
    """
    splits = {"test": dataset.split("test"), "train": dataset.split("train", "val")}
    if options.early_stopping == "val":
        splits |= {"val": dataset.split("val"), "train": dataset.split("train")}
    for split, records in splits.items():
        if not records:
            hint = "use --early_stopping=none" if split == "val" else "add some"
            raise InputError(f"{dataset.name}: no {split} images; {hint}")
    preprocessor = classifier.preprocessor()
    inputs = {"train": training_input(options.augment, preprocessor)}
    images = {
        split: decode_valid(records, inputs.get(split, preprocessor.image_input), cache)
        for split, records in splits.items()
    }
    check_valid(images.values(), options.skip_invalid)
    print_skipped([image for split in images.values() for image in split.skipped])
    check_reachable(images.values(), options)
    return images


def check_reachable(splits: Iterable[DecodedRecords], options: RunOptions) -> None:
    """Raises InputError for images on this machine's disk that a TPU of another machine needs."""
    if options.tpu not in (None, "local") and any(x.pixels.nbytes > KEPT_BYTES for x in splits):
        raise InputError(
            f"--tpu={options.tpu}: not with more than {KEPT_BYTES // 2**20} MiB of decoded pixels, "
            "which are read from this machine's disk; use --tpu=local on the TPU's machine"
        )


def tokenized_splits(
    classifier: Classifier, images: dict[str, DecodedRecords], options: TrainingOptions
) -> tuple[Batches, Batches | None]:
    """The training split, and the split that early stopping monitors, if any."""
    training = training_set(classifier, images["train"], options)
    if options.early_stopping == "none":
        return training, None
    return training, token_batches(images[options.early_stopping], classifier.preprocessor())


def print_skipped(skipped: Sequence[SkippedImage]) -> None:
    """Prints a line for each image that could not be decoded, and their number by kind."""
    for image in skipped:
        print(f"skipped, {image.reason}: {image.record.path}")
    if skipped:
        print(count_by_reason(skipped))


def training_set(
    classifier: Classifier, images: DecodedRecords, options: TrainingOptions
) -> TokenizedRecords | AugmentedRecords:
    """Batches of images from `training_input`, changed in every epoch if `options` say so."""
    preprocessor = classifier.preprocessor(classifier.config.training_policy)
    augmentation = named_augmentation(options.augment, preprocessor.image_input)
    mixing = None
    if options.mix != "none":
        mixing = ImageMixing(options.mix, len(classifier.config.classes))
    elif augmentation is None:
        return token_batches(images, preprocessor)
    return AugmentedRecords(images, preprocessor, augmentation, mixing)
