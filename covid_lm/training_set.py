"""The images that a run learns from, as its options change them."""

from covid_lm.classifier import Classifier
from covid_lm.data.augmented import AugmentedRecords, working_image_input
from covid_lm.data.tokens import DecodedRecords, TokenizedRecords
from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.token_dropout import TokenDropout
from covid_lm.pixel_classifier import PixelClassifier
from covid_lm.protocols import AUGMENTATIONS
from covid_lm.training_options import TrainingOptions


def training_set(
    classifier: Classifier | PixelClassifier, images: DecodedRecords, options: TrainingOptions
) -> TokenizedRecords | AugmentedRecords:
    """The batches of a run: tokenized once, or anew in every epoch if `options` change them.

    Args:
        images: of the training split, as `training_image_input` decodes them.
    """
    preprocessor = classifier.preprocessor(classifier.config.training_policy, views=1)
    arguments = AUGMENTATIONS.get(options.augment)
    if arguments is None and not options.token_dropout:
        return images.tokenize(preprocessor)
    augmentation = token_dropout = None
    if arguments is not None:
        augmentation = Augmentation(preprocessor.image_input.sizes, **arguments)
    if options.token_dropout:
        encoder = preprocessor.token_encoder
        token_dropout = TokenDropout(
            options.token_dropout,
            encoder.image_token_ids,
            mask_id=encoder.vocabulary.index("[MASK]"),
            vocabulary_size=len(encoder.vocabulary),
        )
    return AugmentedRecords(images, preprocessor, augmentation, token_dropout)


def training_image_input(
    classifier: Classifier | PixelClassifier, options: TrainingOptions
) -> ImageInput:
    """What decodes the training images: larger than the sequences take, if they are augmented."""
    image_input = classifier.preprocessor().image_input
    return image_input if options.augment == "none" else working_image_input(image_input)
