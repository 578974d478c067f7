"""Predictions for the files that patterns match, on many machines: an Apache Beam pipeline."""

import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.fileio import MatchAll
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from covid_lm.errors import InputError, RunError
from covid_lm.serving.model_client import first_line
from covid_lm.serving.predict import ExportedModel, Prediction

# A path and its content. Between the steps of a pipeline paths are bytes: Beam encodes str as
# UTF-8, which file names need not be.
File = tuple[bytes, bytes]

# A batch holds no more image bytes than this, unless a single image does.
BATCH_BYTES = 32 * 2**20

PATTERN_CHARACTERS = "*?[]"
SHARD = re.compile(r"-\d{5,}-of-(\d{5,})\.jsonl")
STEP = re.compile(r" \[while running '.*'\]\s*$")
UNREADABLE = "unreadable"

# Beam's own DirectRunner first tries to download another program, Prism.
IN_THIS_PROCESS = "FnApiRunner"


class SavedModelHandler(ModelHandler[File, Prediction, ExportedModel]):
    """Handler for RunInference: (path, content) pairs to Predictions, by `serving_default`.

    RunInference loads the model once per process; the threads of a process share it.

    Args:
        version_dir: the export, on any file system that TensorFlow reads.
        batch_size: largest number of files in a batch.
    """

    def __init__(self, version_dir: str, batch_size: int = 32):
        # Beam limits a batch by one measure only. A file counts as many bytes as it has, but at
        # least a batch_size-th of the limit, and at most the limit: Beam would emit an empty batch
        # before a larger one.
        smallest = max(BATCH_BYTES // batch_size, 1)
        limit = smallest * batch_size
        super().__init__(
            min_batch_size=limit,  # below the maximum, Beam would vary the size to find the fastest
            max_batch_size=limit,
            element_size_fn=lambda file: min(max(len(file[1]), smallest), limit),
        )
        self._version_dir = version_dir

    def load_model(self) -> ExportedModel:
        """Loads the export. Raises RunError if it can't be loaded."""
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


def run_batch_inference(
    version_dir: str,
    patterns: Sequence[str],
    prefix: str,
    num_shards: int,
    runner: str = "DirectRunner",
    beam_options: str = "",
    batch_size: int = 32,
) -> list[str]:
    """Writes predictions for all files that the patterns match, as shards of JSON lines.

    A row is {"file", "label", "valid", "probabilities": {class: probability}}. For a file that
    can't be read or decoded, `valid` is false, label and probabilities are null, and `error` gives
    the reason. Each file has one row, even if several patterns match it. Rows are in no order.

    Beam writes all shards to a temporary folder next to them first, so that a pipeline that fails
    leaves the shards of an earlier run as they were.

    Args:
        version_dir: the export, where the workers can read it, too.
        patterns: files, or globs as Beam defines them (`*`, `?`, `[...]`, `**` across folders), on
            any file system that Beam reads.
        prefix: of the shards, PREFIX-00000-of-0000N.jsonl.
        num_shards: N.
        runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner or another Beam runner.
        beam_options: further options for Beam and the runner, as in a shell.
        batch_size: largest number of images in a call of the model.

    Returns:
        The shards' paths.

    Raises:
        InputError: no such model, no file matches, or unusable options.
        RunError: the pipeline failed.
    """
    # The pipeline first, since its options also configure Beam's file systems.
    pipeline = _pipeline(runner, beam_options)
    prefix = _checked_prefix(prefix, num_shards, runner)
    classes = _read_classes(version_dir)
    _check_patterns(patterns)
    rows = pipeline | _PredictFiles(list(patterns), SavedModelHandler(version_dir, batch_size))
    _ = (
        rows
        | beam.Map(_json_line, classes)
        | beam.io.WriteToText(prefix, ".jsonl", num_shards=num_shards)
    )
    _run(pipeline, runner)
    return [f"{prefix}-{shard:05}-of-{num_shards:05}.jsonl" for shard in range(num_shards)]


class _PredictFiles(beam.PTransform):
    """One Prediction for every file that the patterns match."""

    def __init__(self, patterns: list[str], handler: SavedModelHandler):
        super().__init__()
        self._patterns = patterns
        self._handler = handler

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Prediction]:
        contents = (
            root
            | beam.Create(self._patterns)
            | MatchAll()
            | "Path" >> beam.Map(lambda found: os.fsencode(found.path)).with_output_types(bytes)
            # Also distributes the files, which a single worker has listed, over all workers.
            | beam.Distinct()
            | "Read" >> beam.FlatMap(_read_file).with_outputs(UNREADABLE, main="readable")
        )
        predicted = contents["readable"] | RunInference(self._handler)
        return (predicted, contents[UNREADABLE]) | beam.Flatten()


def _read_file(path: bytes) -> Iterator[Any]:
    """Yields (path, content), or a Prediction with an error on the output UNREADABLE."""
    name = os.fsdecode(path)
    try:
        content = _read(name)
    except Exception as error:  # every file system has its own kinds
        yield beam.pvalue.TaggedOutput(UNREADABLE, Prediction(name, error=_reason(error)))
    else:
        yield path, content


def _read(path: str) -> bytes:
    # With Beam's default, x.png.gz would be unpacked; the model judges files as they are.
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def _json_line(prediction: Prediction, classes: Sequence[str]) -> str:
    valid = not prediction.error
    row = {
        "file": prediction.path,
        "label": prediction.label if valid else None,
        "valid": valid,
        "probabilities": (
            dict(zip(classes, prediction.probabilities, strict=True)) if valid else None
        ),
    }
    if not valid:
        row["error"] = prediction.error
    return json.dumps(row)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(str(error)) or type(error).__name__


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
        return first_line(lines[-1])
    name = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
    return first_line(name + "".join(lines))


def _pipeline(runner: str, beam_options: str) -> beam.Pipeline:
    try:
        words = shlex.split(beam_options)
    except ValueError as error:
        raise InputError(f"--beam_options={beam_options}: {error}") from None
    if any(word.split("=")[0] == "--runner" for word in words):
        raise InputError(f"--beam_options={beam_options}: give the runner as --runner")
    name = IN_THIS_PROCESS if runner.lower() in ("direct", "directrunner") else runner
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            options = PipelineOptions(words, runner=name)
            options.get_all_options()  # parses the runner's own options, too
            return beam.Pipeline(options=options)
    except SystemExit:  # from Beam's option parser, after pages of usage
        reason = first_line(usage.getvalue().rpartition("error: ")[2])
        raise InputError(f"--beam_options={beam_options}: {reason}") from None
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner={runner}: {first_line(str(error))}") from None


def _checked_prefix(prefix: str, num_shards: int, runner: str) -> str:
    """The prefix, absolute if it is local."""
    if any(character in prefix for character in PATTERN_CHARACTERS):
        raise InputError(f"--output={prefix}: must not contain any of {PATTERN_CHARACTERS}")
    if "://" not in prefix:
        if "dataflow" in runner.lower():
            raise InputError(
                f"--output={prefix}: {runner} can't write to this machine; give gs://BUCKET/PREFIX"
            )
        prefix = os.path.abspath(prefix)
    try:
        found = FileSystems.match([f"{prefix}-*.jsonl"])[0].metadata_list
    except Exception as error:
        raise InputError(f"--output={prefix}: {_reason(error)}") from None
    for file in found:
        shard = SHARD.fullmatch(file.path[len(prefix) :])
        if shard and int(shard[1]) != num_shards:
            raise InputError(
                f"--output={prefix}: there are {int(shard[1])} shards of an earlier run, which "
                f"--num_shards={num_shards} would not replace; remove them or give another prefix"
            )
    return prefix


def _read_classes(version_dir: str) -> tuple[str, ...]:
    try:
        labels = _read(FileSystems.join(version_dir, "assets", "labels.txt"))
    except Exception as error:
        raise InputError(
            f"--model={version_dir}: no assets/labels.txt ({_reason(error)})"
        ) from None
    return tuple(labels.decode().removesuffix("\n").split("\n"))


def _check_patterns(patterns: Sequence[str]) -> None:
    if not patterns:
        raise InputError("no file pattern given")
    for pattern in patterns:
        if os.path.isdir(pattern):
            every = os.path.join(pattern, "**")
            raise InputError(f"{pattern}: a folder; give a pattern, '{every}' for all its files")
        try:
            found = FileSystems.match([pattern], [1])[0].metadata_list
        except Exception as error:
            raise InputError(f"{pattern}: {_reason(error)}") from None
        if not found:
            raise InputError(f"{pattern}: no file matches")
