"""Classes for the images that a file pattern names, beyond one machine: an Apache Beam pipeline."""

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
from covid_lm.serving.json_shards import Line, WriteJsonShards
from covid_lm.serving.model_client import first_line
from covid_lm.serving.predict import ExportedModel, Prediction

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


PATTERN_CHARACTERS = "*?[]"
UNREADABLE = "unreadable"
STEP = re.compile(r" \[while running '.*'\]\s*$")

# Beam's own DirectRunner would first download another program, Prism, and run that one.
IN_THIS_PROCESS = "FnApiRunner"


def run_batch_inference(
    version_dir: str,
    patterns: Sequence[str],
    prefix: str,
    num_shards: int,
    runner: str = "DirectRunner",
    beam_options: str = "",
    batch_size: int = 32,
) -> list[str]:
    """Answers every file that the patterns match, as JSON lines in shards.

    A row is {"file", "label", "valid", "probabilities": {class: probability}}. A file that can't be
    read or decoded has `valid` false, null for label and probabilities, and an `error` that says
    why. Each file has one row, however many patterns match it; its shard depends on its path alone.

    All shards are written beside their places before the first one takes its own: a run that fails
    leaves those of an earlier run as they were.

    Args:
        version_dir: the export, where the workers too can read it.
        patterns: files, or globs of Beam's kind (`*`, `?`, `[...]`, `**` across folders), on any
            file system that Beam reads.
        prefix: of the shards, PREFIX-00000-of-0000N.jsonl.
        num_shards: N. A shard's rows have to fit into a worker's memory.
        runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner or another one of Beam's.
        beam_options: further options of Beam's or the runner's, as in a shell.
        batch_size: images answered together.

    Returns:
        The shards' paths.

    Raises:
        InputError: no such model, no file matches, or options that can't be used.
        RunError: the pipeline failed.
    """
    # First, since it also tells Beam's file systems their options.
    pipeline = _pipeline(runner, beam_options)
    shards = _shards(prefix, num_shards, runner)
    classes = _read_classes(version_dir)
    _refuse_empty_patterns(patterns)
    rows = pipeline | _AnswerFiles(list(patterns), SavedModelHandler(version_dir, batch_size))
    _ = rows | beam.Map(_json_line, classes).with_output_types(Line) | shards
    _run(pipeline, runner, shards)
    return shards.paths


class _AnswerFiles(beam.PTransform):
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
            # Also spreads the files, which one worker has listed, over all of them.
            | beam.Distinct()
            | "Read" >> beam.FlatMap(_read_file).with_outputs(UNREADABLE, main="readable")
        )
        answered = contents["readable"] | RunInference(self._handler)
        return (answered, contents[UNREADABLE]) | beam.Flatten()


def _read_file(path: bytes) -> Iterator[Any]:
    """Yields (path, content), or on the UNREADABLE output a Prediction that says why."""
    name = os.fsdecode(path)
    try:
        # Not AUTO, which would unpack x.png.gz: what a file holds is what is judged.
        with FileSystems.open(name, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            content = file.read()
    except Exception as error:  # every file system has its own kinds
        yield beam.pvalue.TaggedOutput(UNREADABLE, Prediction(name, error=_why(error)))
    else:
        yield path, content


def _json_line(prediction: Prediction, classes: Sequence[str]) -> Line:
    """The file's path and its row."""
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
    return os.fsencode(prediction.path), json.dumps(row)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(str(error)) or type(error).__name__


def _run(pipeline: beam.Pipeline, runner: str, shards: WriteJsonShards) -> None:
    result = None
    try:
        result = pipeline.run()
        state = result.wait_until_finish() or result.state
    except Exception as error:
        # A job may well outlive the connection to it, and then needs what it has staged.
        if result is None or PipelineState.is_terminal(result.state):
            shards.remove_staged()
        reason = _last_line(error)
        raise RunError(f"--runner={runner}: the pipeline failed ({reason})") from error
    shards.remove_staged()
    if state != PipelineState.DONE:
        raise RunError(f"--runner={runner}: the pipeline ended as {state}; see the runner's log")


def _last_line(error: Exception) -> str:
    lines = STEP.sub("", str(error)).strip().splitlines()
    if len(lines) > 1:  # a worker's traceback, whose last line says what happened
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
            options.get_all_options()  # parses those too that only the runner will ask for
            return beam.Pipeline(options=options)
    except SystemExit:  # how Beam's option parser ends, after pages of usage
        reason = first_line(usage.getvalue().rpartition("error: ")[2])
        raise InputError(f"--beam_options={beam_options}: {reason}") from None
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner={runner}: {first_line(str(error))}") from None


def _shards(prefix: str, num_shards: int, runner: str) -> WriteJsonShards:
    if any(character in prefix for character in PATTERN_CHARACTERS):
        raise InputError(f"--output={prefix}: none of {' '.join(PATTERN_CHARACTERS)} may be in it")
    if "://" not in prefix:
        if "dataflow" in runner.lower():
            raise InputError(f"--output={prefix}: out of {runner}'s reach; give gs://BUCKET/PREFIX")
        prefix = os.path.abspath(prefix)
    try:
        return WriteJsonShards(prefix, num_shards)
    except ValueError as error:
        raise InputError(f"--output={prefix}: {first_line(str(error))}") from None


def _read_classes(version_dir: str) -> tuple[str, ...]:
    try:
        path = FileSystems.join(version_dir, "assets", "labels.txt")
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return tuple(file.read().decode().removesuffix("\n").split("\n"))
    except Exception as error:
        raise InputError(f"--model={version_dir}: no assets/labels.txt ({_why(error)})") from None


def _refuse_empty_patterns(patterns: Sequence[str]) -> None:
    if not patterns:
        raise InputError("no file pattern given")
    for pattern in patterns:
        if os.path.isdir(pattern):
            every = os.path.join(pattern, "**")
            raise InputError(f"{pattern}: a folder; give a pattern, '{every}' for all its files")
        try:
            found = FileSystems.match([pattern], [1])[0].metadata_list
        except Exception as error:
            raise InputError(f"{pattern}: {_why(error)}") from None
        if not found:
            raise InputError(f"{pattern}: no file matches")


# A batch holds no more image bytes than this, unless a single image does.
BATCH_BYTES = 32 * 2**20

# Paths are bytes between the steps of a pipeline: Beam encodes str as UTF-8, which file names need
# not be.
