"""An export behind Apache Beam's RunInference. Needs TensorFlow, not Keras."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from covid_lm.serving.predict import ExportedModel, Prediction

# A batch holds no more image bytes than this, unless a single image does.
BATCH_BYTES = 32 * 2**20

# Paths are bytes between the steps of a pipeline: Beam encodes str as UTF-8, which file names need
# not be.
File = tuple[bytes, bytes]  # a file's path and its content


class SavedModelHandler(ModelHandler[File, Prediction, ExportedModel]):
    """Answers (path, content) pairs by `serving_default`, one Prediction each, keyed by the path.

    RunInference loads the model once in a process, whose threads share it.

    Args:
        version_dir: the export, on any file system that TensorFlow reads.
        batch_size: files in a batch, at most.
    """

    def __init__(self, version_dir: str, batch_size: int = 32):
        # Beam limits a batch by one measure. A file weighs its bytes, but so much at least that
        # batch_size files fill the batch, and at most the batch: before a heavier one, Beam would
        # emit an empty batch.
        lightest = max(BATCH_BYTES // batch_size, 1)
        super().__init__(
            # Equal, or Beam would vary the size to find the fastest.
            min_batch_size=lightest * batch_size,
            max_batch_size=lightest * batch_size,
            element_size_fn=lambda file: min(max(len(file[1]), lightest), lightest * batch_size),
        )
        self._version_dir = version_dir

    def load_model(self) -> ExportedModel:
        """Raises RunError if the model can't be loaded."""
        return ExportedModel(self._version_dir)

    def run_inference(
        self,
        batch: Sequence[File],
        model: ExportedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Prediction]:
        """The batch's Predictions, in order."""
        return list(model([(os.fsdecode(path), content) for path, content in batch]))

    def get_num_bytes(self, batch: Sequence[File]) -> int:
        """The size of a batch's images, for Beam's metrics."""
        return sum(len(content) for _, content in batch)
