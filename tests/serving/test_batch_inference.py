"""Batch inference with Beam's direct runner in this process, compared with `predict_files`."""

import json
import os
import pathlib
import shutil
from typing import ClassVar

import pytest

pytest.importorskip("apache_beam", reason="needs the extra beam (apache-beam)")

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.testing.util import assert_that, equal_to

from covid_lm.errors import InputError, RunError
from covid_lm.serving import batch_inference
from covid_lm.serving.batch_inference import SavedModelHandler, run_batch_inference
from covid_lm.serving.predict import ExportedModel, predict_files
from tests.serving.tiny_model import CLASSES


class SubmittingRunner(PipelineRunner):
    """Keeps the options of what is submitted, and answers with a state."""

    submitted: ClassVar[list] = []
    state = PipelineState.DONE

    def run_pipeline(self, pipeline, options):
        self.submitted.append(options)

        class Result(PipelineResult):
            def wait_until_finish(self, duration=None):
                return self.state

        return Result(self.state)


SUBMITTING = f"{__name__}.SubmittingRunner"


@pytest.fixture
def submitted(monkeypatch) -> list:
    monkeypatch.setattr(SubmittingRunner, "submitted", [])
    return SubmittingRunner.submitted


def rows_of(shards: list[str]) -> dict[str, dict]:
    """The rows by file; no file may have two."""
    lines = [line for path in shards for line in pathlib.Path(path).read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


@pytest.fixture(scope="module")
def pattern(mixed_files) -> str:
    return os.path.join(os.path.dirname(mixed_files[0]), "*")


@pytest.fixture(scope="module", params=["masked", "fixed"])
def answered(request, version_dirs, pattern, mixed_files, tmp_path_factory):
    """The exported version, its shards, and how often the model was loaded."""
    loaded = []
    load = tf.saved_model.load
    version_dir = version_dirs[request.param]
    prefix = str(tmp_path_factory.mktemp("output") / "rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", lambda path: loaded.append(path) or load(path))
        # The second pattern matches a file once more.
        shards = run_batch_inference(
            version_dir, [pattern, mixed_files[0]], prefix, 3, batch_size=2
        )
    return version_dir, shards, loaded


def test_every_file_has_the_row_that_predict_files_gives(answered, mixed_files):
    version_dir, shards, _ = answered
    rows = rows_of(shards)
    # Beam lists no link that leads nowhere.
    listed = [path for path in mixed_files if os.path.exists(path)]
    assert sorted(rows) == sorted(listed)
    for expected in predict_files(version_dir, listed):
        row = rows[expected.path]
        if expected.error:
            nothing = {"label": None, "valid": False, "probabilities": None}
            assert row == {"file": expected.path, **nothing, "error": expected.error}
        else:
            assert list(row) == ["file", "label", "valid", "probabilities"]
            assert (row["label"], row["valid"]) == (expected.label, True)
            probabilities = dict(zip(CLASSES, expected.probabilities, strict=True))
            assert row["probabilities"] == pytest.approx(probabilities, abs=1e-6)
    errors = {os.path.basename(path): row["error"] for path, row in rows.items() if "error" in row}
    assert errors == {
        "1-text.png": "not an image",
        "2-empty.jpg": "empty",
        "3-half.png": "truncated or damaged",
    }


def test_the_model_is_loaded_once_for_many_batches(answered):
    version_dir, _, loaded = answered
    assert loaded == [version_dir]


def test_a_failing_run_leaves_the_shards_and_a_restart_replaces_them(
    version_dirs, pattern, mixed_files, tmp_path, monkeypatch
):
    arguments = (version_dirs["masked"], [pattern], str(tmp_path / "rows"), 3)
    shards = run_batch_inference(*arguments)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    answer = ExportedModel.__call__

    def fail_on_one_file(model, batch):
        if any(path == mixed_files[-1] for path, _ in batch):
            raise MemoryError("too large")
        return answer(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ExportedModel, "__call__", fail_on_one_file)
        with pytest.raises(RunError) as error:
            run_batch_inference(*arguments, batch_size=1)
    text = "--runner=DirectRunner: the pipeline failed (MemoryError: too large)"
    assert str(error.value) == text
    assert {path.name: path.read_bytes() for path in tmp_path.glob("rows-*")} == before

    rows = rows_of(shards)
    assert run_batch_inference(*arguments) == shards
    assert sorted(path.name for path in tmp_path.glob("rows-*")) == sorted(before)
    again = rows_of(shards)
    assert again.keys() == rows.keys()
    for path, row in again.items():
        assert row["label"] == rows[path]["label"]
        assert row["probabilities"] == pytest.approx(rows[path]["probabilities"], abs=1e-6)


def test_all_shards_are_written_even_if_empty(version_dirs, mixed_files, tmp_path):
    prefix = str(tmp_path / "rows")
    shards = run_batch_inference(version_dirs["fixed"], mixed_files[:1], prefix, 3)
    assert sorted(str(path) for path in tmp_path.iterdir()) == shards
    assert list(rows_of(shards)) == mixed_files[:1]


def test_shards_of_another_count_are_not_mixed_in(version_dirs, pattern, tmp_path):
    for name in ("rows.jsonl", "rows-x.jsonl", "rows-2-00000-of-00005.jsonl"):
        (tmp_path / name).write_text("not a shard of this prefix")
    (tmp_path / "rows-00000-of-00005.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"rows: there are 5 shards of an earlier run"):
        run_batch_inference(version_dirs["fixed"], [pattern], str(tmp_path / "rows"), 2)
    (tmp_path / "rows-00000-of-00005.jsonl").unlink()
    assert len(run_batch_inference(version_dirs["fixed"], [pattern], f"{tmp_path}/rows", 2)) == 2


def test_files_that_cant_be_read_have_rows(version_dirs, mixed_files, tmp_path, monkeypatch):
    for name in ("gone.png", "locked.png", "odd.png", "packed.png.gz"):
        shutil.copy(mixed_files[0], tmp_path / name)
    os.mkfifo(tmp_path / "pipe.png")
    errors = {
        "gone.png": FileNotFoundError(2, "No such file or directory"),
        "locked.png": PermissionError(13, "Permission denied"),
        "odd.png": RuntimeError("403\nforbidden"),
    }
    original = FileSystems.open

    def failing(path, *arguments, **keywords):
        if os.path.basename(path) in errors:
            raise errors[os.path.basename(path)]
        return original(path, *arguments, **keywords)

    monkeypatch.setattr(FileSystems, "open", failing)
    prefix = str(tmp_path / "output" / "rows")
    shards = run_batch_inference(version_dirs["fixed"], [str(tmp_path / "*.*")], prefix, 1)
    rows = {os.path.basename(path): row for path, row in rows_of(shards).items()}
    assert {name: row.get("error") for name, row in rows.items()} == {
        "gone.png": "No such file or directory",
        "locked.png": "Permission denied",
        "odd.png": "403 forbidden",
        "pipe.png": "not a regular file (a FIFO)",
        # Not unpacked: an image with an odd name.
        "packed.png.gz": None,
    }
    assert rows["gone.png"]["valid"] is False
    assert rows["packed.png.gz"]["valid"] is True


def test_batches_are_limited_in_count_and_in_bytes(monkeypatch):
    monkeypatch.setattr(batch_inference, "BATCH_BYTES", 100)
    handler = SavedModelHandler("unused", batch_size=2)
    sizes = [10, 10, 500, 80, 30, 1]
    with beam.Pipeline("FnApiRunner") as pipeline:
        batches = (
            pipeline
            | beam.Create([(b"name", bytes(size)) for size in sizes], reshuffle=False)
            | beam.BatchElements(**handler.batch_elements_kwargs())
            | beam.Map(lambda batch: [len(content) for _, content in batch])
        )
        assert_that(batches, equal_to([[10, 10], [500], [80], [30, 1]]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "--project=p --region 'r 1' --temp_location=gs://b/tmp --sdk_container_image=i",
            {
                "project": "p",
                "region": "r 1",
                "temp_location": "gs://b/tmp",
                "sdk_container_image": "i",
            },
        ),
        (
            "--flink_master=host:8081 --parallelism=16 --environment_type=DOCKER",
            {"flink_master": "host:8081", "parallelism": 16, "environment_type": "DOCKER"},
        ),
        (
            "--spark_master_url=spark://host:7077 --environment_config=i",
            {"spark_master_url": "spark://host:7077", "environment_config": "i"},
        ),
        ("--unknown_to_beam=x", {"unknown_to_beam": "x"}),
    ],
    ids=["dataflow", "flink", "spark", "unknown"],
)
def test_options_are_passed_through(version_dirs, pattern, tmp_path, submitted, options, expected):
    shards = run_batch_inference(
        version_dirs["fixed"], [pattern], str(tmp_path / "rows"), 2, SUBMITTING, options
    )
    assert shards == [str(tmp_path / f"rows-0000{number}-of-00002.jsonl") for number in range(2)]
    (seen,) = submitted
    arrived = seen.get_all_options(retain_unknown_options=True)
    assert {name: arrived[name] for name in expected} == expected


def test_a_cancelled_job_is_a_failure(version_dirs, pattern, tmp_path, submitted, monkeypatch):
    monkeypatch.setattr(SubmittingRunner, "state", PipelineState.CANCELLED)
    with pytest.raises(RunError) as error:
        run_batch_inference(version_dirs["fixed"], [pattern], str(tmp_path / "rows"), 2, SUBMITTING)
    expected = f"--runner={SUBMITTING}: the pipeline ended as CANCELLED; see the runner's log"
    assert str(error.value) == expected
    assert len(submitted) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runner": "NoRunner"}, "--runner=NoRunner: Unexpected pipeline runner: NoRunner. Valid "),
        ({"beam_options": "--x='"}, "--beam_options=--x=': No closing quotation"),
        ({"beam_options": "--runner=X"}, "--beam_options=--runner=X: give the runner as --runner"),
        (
            {"beam_options": "--direct_num_workers=x"},
            "--beam_options=--direct_num_workers=x: argument --direct_num_workers: invalid int "
            "value: 'x'",
        ),
        ({"prefix": "a*"}, "--output=a*: must not contain any of *?[]"),
        ({"prefix": "nothing://a/b"}, "--output=nothing://a/b: Unable to get filesystem from "),
        ({"version_dir": "absent"}, "--model=absent: no assets/labels.txt (No such file or dir"),
        ({"patterns": []}, "no file pattern given"),
        ({"patterns": ["tests"]}, "tests: a folder; give a pattern, 'tests/**' for all its files"),
        ({"patterns": ["absent/*.png"]}, "absent/*.png: no file matches"),
        ({"patterns": ["nothing://a/*"]}, "nothing://a/*: Unable to get filesystem from "),
    ],
)
def test_bad_input(version_dirs, pattern, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    good = {"version_dir": version_dirs["fixed"], "patterns": [pattern]}
    good |= {"prefix": "rows", "num_shards": 2}
    with pytest.raises(InputError) as error:
        run_batch_inference(**{**good, **arguments})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert "usage:" not in capfd.readouterr().err
    assert os.listdir(tmp_path) == ["tests"]
