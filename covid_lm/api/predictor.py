"""Predictions from an export, for Python code."""

import dataclasses
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from covid_lm.api.sources import Model, import_keras, model_path
from covid_lm.data.conversion import convert
from covid_lm.data.records import ImageDataset
from covid_lm.data.windows import parse_window
from covid_lm.errors import UnusableFile, reason
from covid_lm.files import read_bytes
from covid_lm.serving.predict import (
    ExportedModel,
    Prediction,
    image_files,
    in_batches,
    predict_readable,
    window_of,
)
from covid_lm.serving.versions import resolve_model

if TYPE_CHECKING:
    import pandas as pd

Images = Any  # see `Predictor.predict`
Item = tuple[str, bytes] | Prediction  # name and content, or the reason why there is none


class Predictor:
    """An exported model, loaded once.

    Attributes:
        version_dir: the export.
        classes: names of the classes, in the order of the probabilities.

    Args:
        model: `saved_models/NAME[/VERSION]` (by default the newest version), or the result of
            `covid_lm.train`.
        batch_size: largest number of images in a call of the model.
        window: of DICOM and 16-bit gray files, "CENTER,WIDTH" or a name such as "lung"; default:
            that of the training run, else a file's own.

    Raises:
        InputError: no such model.
        RunError: it can't be loaded.

    Examples:
        >>> predictor = covid_lm.Predictor("saved_models/first")
        >>> answers = predictor.predict("IMAGES/test")
        >>> answers[["path", "label", "probability"]].head()
        >>> predictor.predict([np.zeros([40, 50, 3], np.uint8)])["label"][0] in predictor.classes
    """

    def __init__(self, model: Model, batch_size: int = 32, window: str | None = None):
        import_keras()
        self.version_dir = resolve_model(model_path(model))[1]
        self._model, self._batch_size = ExportedModel(self.version_dir), batch_size
        self._window = parse_window(window or window_of(self.version_dir))
        labels = read_bytes(os.path.join(self.version_dir, "assets", "labels.txt")).decode()
        self.classes = tuple(labels.removesuffix("\n").split("\n"))

    def __repr__(self) -> str:
        return f"Predictor({self.version_dir!r}, classes={self.classes})"

    def predict(self, images: Images) -> "pd.DataFrame":
        """Predicts the classes of images; a bad image has a reason and fails no other.

        Args:
            images: the path of a file or a folder, several of them, an `ImageDataset`, or a
                sequence of files' contents (bytes) and of pixels (uint8 [height, width, 3] or, for
                gray, [height, width]). Contents and pixels have the names "0", "1" and so on.

        Returns:
            A row for each image, in order: `path`, `label`, `probability`, `p(CLASS)` for each
            class, and `error`, the reason why an image has no label, else "".

        Raises:
            InputError: no such file.
            TypeError: an image of another type or shape.
        """
        import pandas as pd

        rows = [
            {
                "path": prediction.path,
                "label": prediction.label,
                "probability": prediction.probability,
                **dict(zip(self._columns, prediction.probabilities, strict=False)),
                "error": prediction.error,
            }
            for prediction in self._predictions(images)
        ]
        names = ["path", "label", "probability", *self._columns, "error"]
        table = pd.DataFrame(rows, columns=names)
        return table.astype(dict.fromkeys(["probability", *self._columns], float))

    @property
    def _columns(self) -> list[str]:
        return [f"p({name})" for name in self.classes]

    def _predictions(self, images: Images) -> Iterator[Prediction]:
        if isinstance(images, ImageDataset):
            return self._of_records(images)
        is_one = isinstance(images, str | os.PathLike | bytes)
        is_one |= isinstance(images, np.ndarray) and images.ndim < 4
        images = [images] if is_one else list(images)
        if images and all(isinstance(image, str | os.PathLike) for image in images):
            files = image_files([os.path.expanduser(image) for image in images])
            return in_batches(files, self._model, self._batch_size, self._window)
        return self._in_batches(self._item(str(k), image) for k, image in enumerate(images))

    def _item(self, name: str, image: bytes | np.ndarray) -> Item:
        try:
            return name, convert(_encoded(image), name, self._window)
        except UnusableFile as error:
            return Prediction(name, error=reason(error))

    def _of_records(self, dataset: ImageDataset) -> Iterator[Prediction]:
        def items() -> Iterator[Item]:
            for record in dataset.records:
                try:
                    yield record.filename, record.read()
                except OSError as error:
                    yield Prediction(record.filename, error=reason(error))

        for record, prediction in zip(dataset.records, self._in_batches(items()), strict=True):
            yield dataclasses.replace(prediction, path=record.path)

    def _in_batches(self, items: Iterable[Item]) -> Iterator[Prediction]:
        waiting = iter(items)
        while batch := list(itertools.islice(waiting, self._batch_size)):
            yield from predict_readable(batch, self._model)


def _encoded(image: bytes | np.ndarray) -> bytes:
    """The content of a file, or pixels as a PNG file."""
    if isinstance(image, bytes):
        return image
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise TypeError(
            "an image is a path, bytes, or an array, uint8 [height, width, 3] or [height, width], "
            f"not {type(image).__name__} of {pixels.dtype} {list(pixels.shape)}"
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
