"""Predictions for the files that patterns match, on many machines: an Apache Beam pipeline."""

import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.fileio import MatchAll
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from covid_lm.data.conversion import convert
from covid_lm.data.windows import Window
from covid_lm.errors import InputError, RunError, one_line, reason
from covid_lm.files import check_file, is_remote
from covid_lm.serving.predict import (
    BATCH_BYTES,
    ExportedModel,
    Prediction,
    image_size,
    predict_readable,
)

# A path and its content, or the Prediction for a file that can't be read. Paths are bytes, since
# Beam encodes str as UTF-8, which file names need not be.
Item = tuple[bytes, bytes] | Prediction

SHARD = re.compile(r"-\d{5,}-of-(\d{5,})\.jsonl")
STEP = re.compile(r" \[while running '.*'\]\s*$")


class SavedModelHandler(ModelHandler[Item, Prediction, ExportedModel]):
    """Handler for RunInference, which loads the model once per process, for all its threads.

    Args:
        version_dir: the export, on any file system that TensorFlow reads.
        batch_size: largest number of files in a batch.
    """

    def __init__(self, version_dir: str, batch_size: int):
        # Beam limits a batch by one measure only. A file counts as many bytes as it has, but at
        # least a batch_size-th of the limit, and at most the limit: Beam would emit an empty batch
        # before a larger one.
        smallest = max(BATCH_BYTES // batch_size, 1)
        limit = smallest * batch_size
        super().__init__(
            min_batch_size=limit,  # below the maximum, Beam would vary the size to find the fastest
            max_batch_size=limit,
            element_size_fn=lambda item: min(max(image_size(item), smallest), limit),
        )
        self._version_dir = version_dir if is_remote(version_dir) else os.path.abspath(version_dir)

    def load_model(self) -> ExportedModel:
        """Loads the export. Raises RunError if it can't be loaded."""
        return ExportedModel(self._version_dir)

    def run_inference(
        self,
        batch: Sequence[Item],
        model: ExportedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Prediction]:
        """The batch's Predictions, in order."""
        items = [
            item if isinstance(item, Prediction) else (os.fsdecode(item[0]), item[1])
            for item in batch
        ]
        return predict_readable(items, model)


def run_batch_inference(
    version_dir: str,
    patterns: Sequence[str],
    prefix: str,
    num_shards: int,
    runner: str = "DirectRunner",
    beam_options: str = "",
    batch_size: int = 32,
    window: Window | None = None,
) -> list[str]:
    """Writes predictions for all files that the patterns match, as shards of JSON lines.

    A row is {"file", "label", "valid", "probabilities": {class: probability}}. For a file that
    can't be read or decoded, `valid` is false, label and probabilities are null, and `error` gives
    the reason. Each file has one row; rows are in no order. A pipeline that fails leaves the shards
    of an earlier run as they were, since Beam writes to a temporary folder first.

    Args:
        version_dir: the export, where the workers can read it, too.
        patterns: files, or globs as Beam defines them, on any file system that Beam reads.
        prefix: of the shards, PREFIX-00000-of-0000N.jsonl for `num_shards` N.
        runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner or another Beam runner.
        beam_options: further options for Beam and the runner, as in a shell.
        batch_size: largest number of images in a call of the model.
        window: of DICOM and 16-bit gray images; of a DICOM file, the middle frame is taken.

    Returns the shards' paths. Raises InputError if there is no such model, no file matches or the
    options are unusable, RunError if the pipeline fails.
    """
    # The pipeline first, since its options also configure Beam's file systems.
    pipeline = _pipeline(runner, beam_options)
    prefix = _checked_prefix(prefix, num_shards, runner)
    classes = _read_classes(version_dir)
    _check_patterns(patterns)
    _ = (
        pipeline
        | beam.Create(list(patterns))
        | MatchAll()
        | "Path" >> beam.Map(lambda found: os.fsencode(found.path)).with_output_types(bytes)
        # Also distributes the files, which a single worker has listed, over all workers.
        | beam.Distinct()
        | "Read" >> beam.Map(_read_item, window)
        | RunInference(SavedModelHandler(version_dir, batch_size))
        | "Row" >> beam.Map(_json_line, classes)
        | beam.io.WriteToText(prefix, ".jsonl", num_shards=num_shards)
    )
    _run(pipeline, runner)
    return [f"{prefix}-{shard:05}-of-{num_shards:05}.jsonl" for shard in range(num_shards)]


def _read_item(path: bytes, window: Window | None) -> Any:
    name = os.fsdecode(path)
    try:
        return path, convert(_read(name), name, window)
    except Exception as error:  # every file system has its own kinds
        return Prediction(name, error=reason(error))


def _read(path: str) -> bytes:
    check_file(path)
    # With Beam's default, x.png.gz would be unpacked; the model judges files as they are.
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def _json_line(prediction: Prediction, classes: Sequence[str]) -> str:
    row: dict = {"file": prediction.path, "label": None, "valid": False, "probabilities": None}
    if prediction.error:
        row["error"] = prediction.error
    else:
        probabilities = dict(zip(classes, prediction.probabilities, strict=True))
        row |= {"label": prediction.label, "valid": True, "probabilities": probabilities}
    return json.dumps(row)


def _run(pipeline: beam.Pipeline, runner: str) -> None:
    try:
        result = pipeline.run()
        state = result.wait_until_finish() or result.state
    except Exception as error:
        raise RunError(f"--runner={runner}: the pipeline failed ({_last_line(error)})") from error
    if state != PipelineState.DONE:
        raise RunError(f"--runner={runner}: the pipeline ended as {state}; see the runner's log")


def _last_line(error: Exception) -> str:
    lines = STEP.sub("", str(error)).strip().splitlines()
    if len(lines) > 1:  # a worker's traceback, which ends with the error itself
        return one_line(lines[-1])
    name = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
    return one_line(name + "".join(lines))


def _pipeline(runner: str, beam_options: str) -> beam.Pipeline:
    try:
        words = shlex.split(beam_options)
    except ValueError as error:
        raise InputError(f"--beam_options={beam_options}: {error}") from None
    if any(word.split("=")[0] == "--runner" for word in words):
        raise InputError(f"--beam_options={beam_options}: give the runner as --runner")
    # Beam's own DirectRunner first tries to download another program, Prism.
    name = "FnApiRunner" if runner.lower() in ("direct", "directrunner") else runner
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            options = PipelineOptions(words, runner=name)
            options.get_all_options()  # parses the runner's own options, too
            return beam.Pipeline(options=options)
    except SystemExit:  # from Beam's option parser, after pages of usage
        message = one_line(usage.getvalue().rpartition("error: ")[2])
        raise InputError(f"--beam_options={beam_options}: {message}") from None
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner={runner}: {reason(error)}") from None


def _checked_prefix(prefix: str, num_shards: int, runner: str) -> str:
    """The prefix, absolute if it is local."""
    flag = f"--output={prefix}"
    if set("*?[]") & set(prefix):
        raise InputError(f"{flag}: must not contain any of *?[]")
    if not is_remote(prefix):
        if "dataflow" in runner.lower():
            raise InputError(f"{flag}: {runner} can't write to this machine; give gs://BUCKET/NAME")
        prefix = os.path.abspath(prefix)
    for file in _match(f"{prefix}-*.jsonl", flag):
        shard = SHARD.fullmatch(file.path[len(prefix) :])
        if shard and int(shard[1]) != num_shards:
            raise InputError(
                f"{flag}: there are {int(shard[1])} shards of an earlier run, which "
                f"--num_shards={num_shards} would not replace; remove them or give another prefix"
            )
    return prefix


def _read_classes(version_dir: str) -> tuple[str, ...]:
    try:
        labels = _read(FileSystems.join(version_dir, "assets", "labels.txt"))
    except Exception as error:
        message = f"--model={version_dir}: no assets/labels.txt ({reason(error)})"
        raise InputError(message) from None
    return tuple(labels.decode().removesuffix("\n").split("\n"))


def _check_patterns(patterns: Sequence[str]) -> None:
    if not patterns:
        raise InputError("no file pattern given")
    for pattern in patterns:
        if os.path.isdir(pattern):
            every = os.path.join(pattern, "**")
            raise InputError(f"{pattern}: a folder; give a pattern, '{every}' for all its files")
        if not _match(pattern, pattern, [1]):
            raise InputError(f"{pattern}: no file matches")


def _match(pattern: str, place: str, limits: list[int] | None = None) -> list[FileMetadata]:
    try:
        return FileSystems.match([pattern], limits)[0].metadata_list
    except Exception as error:
        raise InputError(f"{place}: {reason(error)}") from None
