"""A run's files: `saved_models/NAME/run/`, which appears when the run is done, whole.

```
config.json     what the run was told, and the classifier that it built
vocab.txt       the classifier's vocabulary
metrics.jsonl   one line per epoch
metrics.json    the test split under every protocol
predictions.csv what was said of each of its images
report.html     all of that to look at
README.md       the model card
checkpoints/    the weights
samples/        a few test images, to try the prediction on
```
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError

NUM_SAMPLES = 6


@contextlib.contextmanager
def staged_run(model_dir: str) -> Iterator[str]:
    """A hidden directory to fill; renamed to `model_dir`/run at the end, removed on any error.

    Raises:
        InputError: `model_dir` can't be written.
    """
    try:
        os.makedirs(model_dir, exist_ok=True)
        staged = tempfile.mkdtemp(prefix=".run-", dir=model_dir)
        os.chmod(staged, 0o755)
    except OSError as error:
        raise InputError(
            f"{model_dir}: can't be written ({error.strerror}); choose another --output_dir"
        ) from None
    try:
        yield staged
        run_dir = os.path.join(model_dir, "run")
        shutil.rmtree(run_dir, ignore_errors=True)
        os.rename(staged, run_dir)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(model_dir)  # only if this run was to be the first thing in it
        raise


def write_json(path: str, content: dict) -> None:
    """Writes beside, then renames."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_samples(records: Sequence[ImageRecord], run_dir: str) -> None:
    """Writes a few images, evenly picked, under their own names."""
    directory = os.path.join(run_dir, "samples")
    os.makedirs(directory)
    for record in records[:: max(len(records) // NUM_SAMPLES, 1)][:NUM_SAMPLES]:
        with open(os.path.join(directory, record.filename), "wb") as file:
            file.write(record.read())


def sample_records(run_dir: str) -> tuple[ImageRecord, ...]:
    """The run's sample images, of which only names and bytes are known."""
    directory = os.path.join(run_dir, "samples")
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        raise InputError(f"{directory}: no such directory; is the run finished?") from None
    paths = [os.path.join(directory, name) for name in names]
    return tuple(
        ImageRecord(
            filename=name, label=0, split="test", path=path, read=pathlib.Path(path).read_bytes
        )
        for name, path in zip(names, paths, strict=True)
    )


def read_run(run_dir: str) -> dict:
    """A run's files: `name`, `config`, `metrics` and `epochs`, the log's lines.

    Args:
        run_dir: `saved_models/NAME/run`.

    Raises:
        InputError: no finished run there.
    """
    try:
        with open(os.path.join(run_dir, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        with open(os.path.join(run_dir, "metrics.json"), encoding="utf-8") as file:
            metrics = json.load(file)
        with open(os.path.join(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
            epochs = [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: missing; is the run finished?") from None
    name = os.path.basename(os.path.dirname(os.path.abspath(run_dir)))
    return {"name": name, "config": config, "metrics": metrics, "epochs": epochs}


def write_text(path: str, text: str) -> None:
    """Writes beside, then renames."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.part", path)
