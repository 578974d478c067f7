"""The splits of a training run, decoded once and tokenized under the policy of each."""

import itertools
import math
from collections.abc import Sequence

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.errors import InputError
from covid_lm.layers.random_operations import ImageMixing
from covid_lm.models.classifier import Classifier
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.augmented import AugmentedRecords, named_augmentation, training_decode
from covid_lm.pipeline.decoded import (
    KEPT_BYTES,
    DecodedRecords,
    PixelsOnDemand,
    SkippedImage,
    check_valid,
    count_by_reason,
    decode_valid,
    decoded_chunks,
)
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training.options import TrainingOptions


def decode_splits(
    classifier: Classifier, dataset: ImageDataset, options: TrainingOptions
) -> dict[str, DecodedRecords]:
    """The images for training ("train"), early stopping and evaluation ("test"), decoded once.

    The paper trains on training and validation images together; only `--early_stopping=val`
    holds the validation split out ("val"). A test split of more than KEPT_BYTES is decoded to
    find damaged images before the training, but not returned unless it is monitored.

    Raises:
        InputError: a split that is needed has no images, or an image can't be decoded.
    """
    splits = {"test": dataset.split("test"), "train": dataset.split("train", "val")}
    if options.early_stopping == "val":
        splits |= {"val": dataset.split("val"), "train": dataset.split("train")}
    for split, records in splits.items():
        if not records:
            hint = "use --early_stopping=none" if split == "val" else "add some"
            raise InputError(f"{dataset.name}: no {split} images; {hint}")
    preprocessor = classifier.preprocessor()
    images: dict[str, DecodedRecords] = {}
    checked: list[DecodedRecords] = []
    for split, records in splits.items():
        too_large = math.prod(PixelsOnDemand(records, preprocessor.image_input).shape) > KEPT_BYTES
        if split == "test" and too_large and options.early_stopping != "test":
            checked.append(_decoded_on_demand(records, preprocessor))
            continue
        decode = preprocessor.decode
        if split == "train":
            decode = training_decode(options.augment, preprocessor)
        images[split] = decode_valid(records, decode)
        checked.append(images[split])
    check_valid(checked, options.skip_invalid)
    print_skipped([image for part in checked for image in part.skipped])
    return images


def _decoded_on_demand(
    records: Sequence[ImageRecord], preprocessor: Preprocessor
) -> DecodedRecords:
    """Decodes every image once to find the invalid ones, but keeps no pixels."""
    chunks = decoded_chunks(records, preprocessor.decode, skip_invalid=True)
    parts = [(chunk.records, chunk.skipped) for chunk in chunks]
    valid, skipped = (tuple(itertools.chain(*column)) for column in zip(*parts, strict=True))
    return DecodedRecords(PixelsOnDemand(valid, preprocessor.image_input), valid, skipped)


def tokenized_splits(
    classifier: Classifier, images: dict[str, DecodedRecords], options: TrainingOptions
) -> tuple[TokenizedRecords | AugmentedRecords, TokenizedRecords | None]:
    """The training split, and the split that early stopping monitors, if any."""
    training = training_set(classifier, images["train"], options)
    if options.early_stopping == "none":
        return training, None
    return training, images[options.early_stopping].tokenize(classifier.preprocessor())


def print_skipped(skipped: Sequence[SkippedImage]) -> None:
    """Prints a line for each image that could not be decoded, and their number by kind."""
    for image in skipped:
        print(f"skipped, {image.reason}: {image.record.path}")
    if skipped:
        print(count_by_reason(skipped))


def training_set(
    classifier: Classifier, images: DecodedRecords, options: TrainingOptions
) -> TokenizedRecords | AugmentedRecords:
    """Batches of images from `training_decode`, changed in every epoch if `options` say so."""
    preprocessor = classifier.preprocessor(classifier.config.training_policy)
    augmentation = named_augmentation(options.augment, preprocessor.image_input)
    mixing = None
    if options.mix != "none":
        mixing = ImageMixing(options.mix, len(classifier.config.classes))
    elif augmentation is None:
        return images.tokenize(preprocessor)
    return AugmentedRecords(images, preprocessor, augmentation, mixing)
