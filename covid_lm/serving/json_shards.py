"""JSON lines as a fixed set of shards, replaced whole, from an Apache Beam pipeline.

Not Beam's own sinks: WriteToText removes the previous shards before it renames the new ones and
deals lines out at random, and WriteToFiles takes a failed rename for a success.
"""

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

Line = tuple[bytes, str]  # its key and its text, ASCII, without the line's end


class WriteJsonShards(beam.PTransform):
    """Writes PREFIX-00000-of-0000N.jsonl and so on, all N of them, empty ones too.

    A line's shard depends on its key alone, and a shard's lines are sorted, so that the same lines
    give the same shards. All are written to `staging_dir` before the first one is renamed; after
    the last one, shards of another count under the same prefix are removed. A shard's lines have
    to fit into a worker's memory.

    Args:
        prefix: on any file system that Beam writes, without any of * ? [ ].
        num_shards: N.

    Raises:
        ValueError: Beam knows no such file system.
    """

    def __init__(self, prefix: str, num_shards: int):
        super().__init__()
        self._prefix = prefix
        self._num_shards = num_shards
        self.paths = [f"{prefix}-{k:05}-of-{num_shards:05}.jsonl" for k in range(num_shards)]
        folder, name = FileSystems.split(prefix)
        self.staging_dir = FileSystems.join(folder, f".{name}-staged-{uuid.uuid4().hex}")

    def expand(self, lines: beam.PCollection[Line]) -> beam.PCollection[str]:
        """The paths of the shards that were published."""
        numbers = list(range(self._num_shards))
        no_lines = lines.pipeline | "EveryShard" >> beam.Create([(k, "") for k in numbers])
        numbered = lines | "ShardOfKey" >> beam.Map(
            lambda line: (_number(line[0]) % self._num_shards, line[1])
        ).with_output_types(tuple[int, str])
        return (
            (numbered, no_lines)
            | beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "Stage" >> beam.MapTuple(self._stage)
            # The one group is complete only when every shard is staged.
            | "GroupAll" >> beam.GroupBy(lambda staged: 0)
            | "Publish" >> beam.FlatMapTuple(lambda _, staged: self._publish(staged))
        )

    def remove_staged(self) -> None:
        """Removes what a pipeline that is over, well or badly, left in `staging_dir`."""
        with contextlib.suppress(OSError):  # it is in nobody's way
            # Object stores have no directories, only names that begin alike.
            found = FileSystems.match([FileSystems.join(self.staging_dir, "*")])[0].metadata_list
            FileSystems.delete([file.path for file in found])
            if FileSystems.exists(self.staging_dir):
                FileSystems.delete([self.staging_dir])

    def _stage(self, number: int, lines: Iterable[str]) -> tuple[int, str, str]:
        content = "".join(f"{line}\n" for line in sorted(lines) if line).encode("ascii")
        # A runner may try a step again while the first try still writes: no two share a name.
        path = FileSystems.join(self.staging_dir, f"{number:05}-{uuid.uuid4().hex}")
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(content)
        return number, path, hashlib.sha256(content).hexdigest()

    def _publish(self, staged: Iterable[tuple[int, str, str]]) -> list[str]:
        waiting = {}
        for number, path, digest in staged:
            shard = self.paths[number]
            if FileSystems.exists(path):
                waiting[path] = shard
            # Else this should be the second try of a step that had renamed some.
            elif not FileSystems.exists(shard) or _digest(shard) != digest:
                raise OSError(f"{path}: staged for {shard}, and gone")
        FileSystems.rename(list(waiting), list(waiting.values()))
        FileSystems.delete(sorted(set(_existing_shards(self._prefix)) - set(self.paths)))
        return self.paths


def _digest(path: str) -> str:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return hashlib.sha256(file.read()).hexdigest()


def _number(key: bytes) -> int:
    # Not crc32: it gives names that differ in a digit to a few of the shards.
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big")


def _existing_shards(prefix: str) -> list[str]:
    name = re.compile(re.escape(os.path.basename(prefix)) + r"-\d{5,}-of-\d{5,}\.jsonl")
    found = FileSystems.match([f"{prefix}-*.jsonl"])[0].metadata_list
    return [file.path for file in found if name.fullmatch(os.path.basename(file.path))]
