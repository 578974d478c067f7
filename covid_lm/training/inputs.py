"""The splits of a training run: decoded once, and tokenized under the policy of each."""

from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError
from covid_lm.layers.augmentation import Augmentation
from covid_lm.models.classifier import Classifier
from covid_lm.pipeline.augmented import AugmentedRecords, working_image_input
from covid_lm.pipeline.decoded import (
    Decode,
    DecodedRecords,
    TokenizedRecords,
    decode_records,
    decoded_chunks,
)
from covid_lm.protocols import AUGMENTATIONS
from covid_lm.training.options import TrainingOptions


def decode_splits(
    classifier: Classifier, dataset: ImageDataset, options: TrainingOptions
) -> dict[str, DecodedRecords]:
    """The images that the run is trained on and stopped by, decoded once.

    The paper trains on train and validation images together; only `--early_stopping=val` holds
    the validation split out.

    Raises:
        InputError: a split that is needed has no images, or an image can't be decoded.
    """
    splits: dict[str, tuple[str, ...]] = {"train": ("train", "val")}
    if options.early_stopping == "val":
        splits = {"train": ("train",), "val": ("val",)}
    elif options.early_stopping == "test":
        splits["test"] = ("test",)
    for split, parts in {**splits, "test": ("test",)}.items():
        if not dataset.split(*parts):
            hint = "use --early_stopping=none" if split == "val" else "add some"
            raise InputError(f"{dataset.name}: no {split} images; {hint}")
    decode = classifier.preprocessor().decode
    if "test" not in splits:
        # A damaged test image is better known of before the training than after it.
        for chunk in decoded_chunks(dataset.split("test"), decode, options.skip_invalid):
            _print_skipped(chunk)
    images = {}
    for split, parts in splits.items():
        chosen = training_decode(classifier, options) if split == "train" else decode
        images[split] = decode_records(dataset.split(*parts), chosen, options.skip_invalid)
        _print_skipped(images[split])
    return images


def tokenized_splits(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    options: TrainingOptions,
) -> tuple[TokenizedRecords | AugmentedRecords, TokenizedRecords | None]:
    """The split to train on and, unless none is, the one to stop by."""
    training = training_set(classifier, images["train"], options)
    if options.early_stopping == "none":
        return training, None
    tested = classifier.preprocessor()
    return training, images[options.early_stopping].tokenize(tested)


def _print_skipped(decoded: DecodedRecords) -> None:
    for record in decoded.skipped:
        print(f"skipped, can't be decoded: {record.path}")


def training_set(
    classifier: Classifier, images: DecodedRecords, options: TrainingOptions
) -> TokenizedRecords | AugmentedRecords:
    """The batches of a run: tokenized once, or anew in every epoch if `options` change them.

    Args:
        images: of the training split, as `training_decode` decodes them.
    """
    preprocessor = classifier.preprocessor(classifier.config.training_policy)
    arguments = AUGMENTATIONS.get(options.augment)
    if arguments is None:
        return images.tokenize(preprocessor)
    augmentation = Augmentation(preprocessor.image_input.image_size, **arguments)
    return AugmentedRecords(images, preprocessor, augmentation)


def training_decode(classifier: Classifier, options: TrainingOptions) -> Decode:
    """Decodes training images: larger than the tokens need, if they are to be augmented."""
    preprocessor = classifier.preprocessor()
    if options.augment == "none":
        return preprocessor.decode
    return working_image_input(preprocessor.image_input)
