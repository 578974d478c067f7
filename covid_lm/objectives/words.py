"""BERT's masked-token objective (paper, section 3.2, equation 1), for one byte per token."""

import math
from typing import Any

import keras
import numpy as np

from covid_lm.backbones.vocabulary import SPECIAL_TOKENS
from covid_lm.backbones.weights.shipped import weights_directory
from covid_lm.evaluation.token_baselines import count_words, trivial_figures
from covid_lm.layers.token_masking import TokenMasking, masked_count
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.models.masked_lm_metrics import masked_token_loss, masked_token_metrics
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.objectives.objective import Objective
from covid_lm.pipeline.augmented import token_batches
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.pipeline.tokenized import Batches
from covid_lm.protocols import DTYPE_POLICIES, layout_arguments
from covid_lm.training.build import choose_backbone
from covid_lm.training.pretraining_options import PretrainingOptions

COLUMNS = ("loss", "perplexity", "accuracy", "image_accuracy", "name_accuracy")  # of the table


class WordObjective(Objective):
    """Predicts masked words.

    Attributes:
        language_model: owns `model`.
        masked: batches by split.
        trivial: figures of predictors without a model, by split and name.
    """

    loss = staticmethod(masked_token_loss)
    language_model: MaskedLanguageModel
    masked: dict[str, MaskedTokens]
    trivial: dict[str, dict]

    def __init__(self, options: PretrainingOptions, cache: PixelCache):
        super().__init__(options, cache)
        self.backbone, vocabulary = choose_backbone(options)
        self.preprocessor = Preprocessor(
            vocabulary, options.policy, **layout_arguments(options.layout)
        )

    def prepare(self, images: dict[str, DecodedRecords]) -> None:
        """See `Objective`."""
        options = self.options
        sequences = {split: token_batches(x, self.preprocessor) for split, x in images.items()}
        assert options.mask_rate is not None  # `PretrainingOptions` sets it
        masking = build_masking(sequences["train"], self.preprocessor, options.mask_rate)
        trim = self.preprocessor.trim
        self.language_model = MaskedLanguageModel(
            self.backbone,
            self.preprocessor.token_encoder.vocabulary,
            masking.word_ids,
            trim.head + trim.tail,
            masking.num_masked,
            DTYPE_POLICIES[options.dtype],
        )
        weights = weights_directory(options.weights, options.layout)
        self.has_head = weights is not None and self.language_model.load(weights)
        self.masked = {
            split: MaskedTokens(batches, masking) for split, batches in sequences.items()
        }
        self.trivial = trivial_figures(
            {
                split: np.sum([count_words(x.tokens, masking.word_ids) for x in batches.parts()], 0)
                for split, batches in sequences.items()
            }
        )

    @property
    def model(self) -> keras.Model:  # type: ignore[override]
        """See `Objective`."""
        return self.language_model.model

    @property
    def training(self) -> MaskedTokens:  # type: ignore[override]
        """See `Objective`."""
        return self.masked["train"]

    def metrics(self) -> list[keras.metrics.Metric]:
        """See `Objective`."""
        return masked_token_metrics()

    def validate(self, batch_size: int) -> dict[str, float]:
        """See `Objective`."""
        if "val" not in self.masked:
            return {}
        batches = self.masked["val"].once(batch_size, self.options.seed)
        metrics = self.model.evaluate(batches, verbose=0, return_dict=True)
        return {name: float(value) for name, value in metrics.items() if name != "loss"}

    def describe(self) -> str:
        """See `Objective`."""
        masking = self.training.masking
        return (
            f"masked-LM head {'from the weights' if self.has_head else 'from random weights'}; "
            f"{self.options.mask_rate:.0%} of each sequence's words masked (at most "
            f"{masking.num_masked}), exact softmax over the {len(masking.word_ids)} words that "
            "images and names can hold"
        )

    def summary(self) -> dict[str, Any]:
        """See `Objective`."""
        return {"words": len(self.training.masking.word_ids), "trivial_predictors": self.trivial}

    def epoch_line(self, metrics: dict) -> dict:
        """See `Objective`."""
        return epoch_line(metrics, self.trivial)

    def epoch_text(self, line: dict) -> str:
        """See `Objective`."""
        return epoch_table(line, self.trivial)

    def save(self, directory: str) -> None:
        """See `Objective`."""
        self.language_model.save(directory)


def build_masking(sequences: Batches, preprocessor: Preprocessor, rate: float) -> TokenMasking:
    """A `TokenMasking` of all words that images and names can hold, without special tokens.

    Its number of slots suits the sequence with most such words.
    """
    encoder = preprocessor.token_encoder
    special = [encoder.vocabulary.index(token) for token in SPECIAL_TOKENS]
    word_ids = np.setdiff1d(encoder.reachable_token_ids, special)
    most_words = max(
        int(np.isin(part.tokens["token_ids"], word_ids).sum(axis=1).max())
        for part in sequences.parts()
    )
    return TokenMasking(
        word_ids,
        mask_id=encoder.vocabulary.index("[MASK]"),
        vocabulary_size=len(encoder.vocabulary),
        num_masked=masked_count(most_words, rate),
        rate=rate,
    )


def epoch_line(metrics: dict, trivial: dict[str, dict]) -> dict:
    """An epoch's line of `metrics.jsonl`.

    Args:
        metrics: an entry of `Progress.history`: `masked_token_metrics` by name, those of the
            validation split with the prefix `val_`.
        trivial: figures by split and predictor; None for a kind of token that is absent.

    Returns:
        {"epoch", "seconds", "train": {"loss", "perplexity", "accuracy", "image_accuracy",
        "name_accuracy"}, "val": ...}. Those of "train" are means over the epoch, with dropout,
        while the weights change.
    """
    line = {"epoch": metrics["epoch"], "seconds": metrics["seconds"]}
    for split, predictors in trivial.items():
        prefix = "val_" if split == "val" else ""
        loss = metrics[f"{prefix}cross_entropy"]
        perplexity = math.exp(min(loss, 700))  # within a float's range
        line[split] = {"loss": loss, "perplexity": perplexity}
        for name in ("accuracy", "image_accuracy", "name_accuracy"):
            absent = predictors["unigram"][name] is None
            line[split][name] = None if absent else metrics[f"{prefix}{name}"]
    return line


def epoch_table(line: dict, trivial: dict[str, dict]) -> str:
    """An `epoch_line` next to the figures of the trivial predictor, as text."""
    titles = "".join(f"{title.removesuffix('_accuracy'):>12}" for title in COLUMNS)
    lines = [f"{'epoch ' + str(line['epoch']):<18}{titles}   ({line['seconds']:.0f} s)"]
    for split, predictors in trivial.items():
        for key, figures in {"model": line[split], **predictors}.items():
            values = (figures[column] for column in COLUMNS)
            cells = (f"{'-' if value is None else f'{value:.3f}':>12}" for value in values)
            lines.append(f"{split:<7}{key:<11}{''.join(cells)}")
    return "\n".join(lines)
