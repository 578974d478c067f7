"""TensorFlow's in-memory file system `ram://` in place of a store such as gs://."""

import contextlib

import pytest
import tensorflow as tf


def replace_on_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes copies to `ram://` replace an existing file, as a store's do.

    `ram://` appends to it instead, and takes `metrics.json` for a directory next to a
    `metrics.jsonl`.
    """
    copy = tf.io.gfile.copy

    def replacing_copy(source, target, overwrite=False):
        if not target.startswith("ram://"):
            return copy(source, target, overwrite)
        with tf.io.gfile.GFile(source, "rb") as file:
            content = file.read()
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(target)
        with tf.io.gfile.GFile(target, "wb") as file:
            file.write(content)

    monkeypatch.setattr(tf.io.gfile, "copy", replacing_copy)
