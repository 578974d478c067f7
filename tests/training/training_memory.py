"""Peak memory of `tools/train.py` on folders of generated images, by their number.

`python -m tests.training.training_memory 20000 200000` prints a line for each number; `--size=224`
is for images of that side. Anonymous memory is that which can't be dropped: it leaves out the pages
of the cache of decoded pixels, which the kernel keeps only while nothing else needs them.
"""

import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
FLAGS = ("--dataset=folder", "--backbone=1x64", "--protocol=absent", "--epochs=1", "--name=run")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def generate(folder: pathlib.Path, count: int, size: int = 32) -> None:
    """Writes images of two classes, a dark and a bright one, to train, val and test."""
    generator = np.random.default_rng(0)
    for split, share in SHARES.items():
        for label, name in enumerate(("dark", "bright")):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(round(count * share / 2)):
                pixels = generator.integers(0, 156, (size, size, 3), np.uint8) + np.uint8(
                    99 * label
                )
                buffer = io.BytesIO()
                if size <= 32:
                    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
                else:
                    Image.fromarray(pixels[:16, :16]).resize((size, size)).save(buffer, "JPEG")
                (place / f"{label}{number:06}.png").write_bytes(buffer.getvalue())


def peak_memory(*command: str) -> tuple[dict[str, float], float]:
    """Peaks of a process in MB, `RssAnon` and `RssFile`, and its seconds of processor time.

    Raises:
        CalledProcessError: it failed.
    """
    peaks = {"RssAnon": 0.0, "RssFile": 0.0}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    before = os.times()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
            for line in lines:
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]) / 1024)
            time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = os.times()
    used = after.children_user + after.children_system
    return peaks, used - before.children_user - before.children_system


def training_memory(count: int, size: int = 32, *flags: str) -> tuple[dict[str, float], float]:
    """`peak_memory` of training and evaluation on `count` generated images."""
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory) / "images"
        generate(folder, count, size)
        layout = "patches32x16rgb" if size == 32 else "patches224x16"
        places = (f"--data_dir={folder}", f"--output_dir={directory}/saved_models")
        tool = (sys.executable, "tools/train.py", f"--layout={layout}", "--batch_size=512")
        return peak_memory(*tool, *FLAGS, *places, *flags)


def main(arguments: list[str]) -> None:
    """Prints the figures for each number of images."""
    size = 224 if "--size=224" in arguments else 32
    for count in (int(argument) for argument in arguments if argument.isdigit()):
        peaks, seconds = training_memory(count, size)
        anonymous, mapped = peaks["RssAnon"], peaks["RssFile"]
        print(
            f"{count} images of {size}x{size}: at most {anonymous:.0f} MB anonymous, "
            f"{mapped:.0f} MB of mapped files; {seconds:.0f} s of processor time",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
