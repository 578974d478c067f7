"""Shards from pipelines of a few strings: which lines they hold, and when they appear."""

import os
import pathlib

import pytest

pytest.importorskip("apache_beam", reason="needs the extra beam (apache-beam)")

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from covid_lm.serving.json_shards import WriteJsonShards

KEYS = [f"images/{number}.png".encode() for number in range(40)]
NAMES = [f"rows-{number:05}-of-00003.jsonl" for number in range(3)]


def write(prefix: pathlib.Path, num_shards: int, keys: list[bytes], text: str = "") -> None:
    """Writes a line `TEXT + key` for every key."""
    shards = WriteJsonShards(str(prefix), num_shards)
    lines = [(key, text + key.decode()) for key in keys]
    try:
        with beam.Pipeline(options=PipelineOptions([], runner="FnApiRunner")) as pipeline:
            _ = pipeline | beam.Create(lines) | shards
    finally:
        shards.remove_staged()


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fail_at_call(monkeypatch, function: str, number: int) -> None:
    """Makes the call `number`, from 1, of a function of FileSystems fail as a full disk does."""
    original = getattr(FileSystems, function)
    calls = []

    def failing(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError("No space left on device")
        return original(*arguments, **keywords)

    monkeypatch.setattr(FileSystems, function, failing)


def test_every_line_is_in_one_shard_sorted(tmp_path):
    write(tmp_path / "out" / "rows", 3, KEYS)
    shards = contents(tmp_path / "out")
    assert list(shards) == NAMES
    lines = {name: content.splitlines() for name, content in shards.items()}
    assert all(shard == sorted(shard) for shard in lines.values())
    assert sorted(line for shard in lines.values() for line in shard) == sorted(KEYS)
    # 40 keys on 3 shards: about 13 each, and none nearly empty.
    assert min(len(shard) for shard in lines.values()) > 6


def test_the_same_lines_in_any_order_give_the_same_shards(tmp_path):
    write(tmp_path / "a" / "rows", 3, KEYS)
    write(tmp_path / "b" / "rows", 3, KEYS[::-1])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_shards_without_lines_are_there(tmp_path):
    write(tmp_path / "rows", 3, KEYS[:1])
    shards = contents(tmp_path)
    assert list(shards) == NAMES
    assert sorted(shards.values()) == [b"", b"", KEYS[0] + b"\n"]


def test_another_count_leaves_no_shard_of_the_first(tmp_path):
    others = ["rows", "rows-00000-of-00005.json", "rows-2-00000-of-00005.jsonl", "x.jsonl"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    write(tmp_path / "rows", 5, KEYS, "old ")
    write(tmp_path / "rows", 3, KEYS, "new ")
    shards = contents(tmp_path)
    assert sorted(shards) == sorted([*NAMES, *others])
    assert all(shards.pop(name) == b"not ours" for name in others)
    assert b"".join(shards.values()).count(b"new ") == len(KEYS)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_failure_while_staging_changes_nothing(tmp_path, monkeypatch, call):
    write(tmp_path / "rows", 3, KEYS, "old ")
    before = contents(tmp_path)
    fail_at_call(monkeypatch, "create", call)
    with pytest.raises(Exception, match="No space left on device"):
        write(tmp_path / "rows", 3, KEYS, "new ")
    assert contents(tmp_path) == before


def test_a_failed_rename_fails_the_pipeline(tmp_path, monkeypatch):
    write(tmp_path / "rows", 3, KEYS, "old ")
    before = contents(tmp_path)
    fail_at_call(monkeypatch, "rename", 1)
    with pytest.raises(Exception, match="No space left on device"):
        write(tmp_path / "rows", 3, KEYS, "new ")
    assert contents(tmp_path) == before


def test_a_second_try_of_publishing_finishes_the_first(tmp_path, monkeypatch):
    """As a runner does when a worker dies between two renames."""
    shards = WriteJsonShards(str(tmp_path / "rows"), 3)
    staged = [shards._stage(number, [f"line {number}"]) for number in range(3)]
    original = os.rename
    renamed = []

    def rename_one(source, destination):
        if renamed:
            raise OSError("the worker dies")
        renamed.append(destination)
        original(source, destination)

    monkeypatch.setattr(os, "rename", rename_one)
    with pytest.raises(OSError, match="the worker dies"):
        shards._publish(staged)
    assert len(renamed) == 1
    monkeypatch.setattr(os, "rename", original)
    assert shards._publish(staged) == shards.paths
    shards.remove_staged()
    assert contents(tmp_path) == {NAMES[k]: f"line {k}\n".encode() for k in range(3)}


def test_staged_shards_that_are_gone_are_no_second_try(tmp_path):
    write(tmp_path / "rows", 3, KEYS, "old ")
    shards = WriteJsonShards(str(tmp_path / "rows"), 3)
    staged = [shards._stage(number, [f"line {number}"]) for number in range(3)]
    shards.remove_staged()
    before = contents(tmp_path)
    with pytest.raises(OSError, match=r"staged for .*rows-00000-of-00003.jsonl, and gone"):
        shards._publish(staged)
    assert contents(tmp_path) == before
