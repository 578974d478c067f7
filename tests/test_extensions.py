"""Examples of a new data set, backbone, layout and probe, as diffs.

The diffs in `extensions/` are applied to a copy of the package, and their additions are used there.
"""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY, random_picture

DIFFS = sorted((REPOSITORY / "tests" / "extensions").glob("*.diff"))
USE = """
import sys
import numpy as np
from covid_lm.auditing.checks import CHECKS
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.configs import backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data import load_dataset
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS

dataset = load_dataset("image_arrays", sys.argv[1])
print(dataset.classes, [(r.filename, r.label, r.split) for r in dataset.records])
print(build_backbone(backbone_config("bert-mini")).count_params())
preprocessor = Preprocessor(built_in_vocabulary(), policy="absent", **LAYOUTS["gray20"])
tokens = preprocessor(np.array([r.read() for r in dataset.records]))
print(tokens["padding_mask"].numpy().sum(axis=1).tolist(), tokens["valid"].numpy().tolist())
check = next(check for check in CHECKS if check.name == "name_digits")
class Seen:
    def __init__(self, record):
        self.record = record
print(check.features([Seen(record) for record in dataset.records]).numbers)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with all four diffs applied."""
    copy = tmp_path_factory.mktemp("extended")
    shutil.copytree(REPOSITORY / "covid_lm", copy / "covid_lm")
    for path in DIFFS:
        command = ["git", "apply", "-p1", str(path)]
        outcome = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, f"{path.name}: {outcome.stderr}"
    return copy


def test_there_are_four_diffs():
    assert [path.stem for path in DIFFS] == ["backbone", "data_set", "layout", "probe"]


def test_the_diffs_work(extended, tmp_path):
    pictures = np.stack([random_picture(24, 28, seed=number) for number in range(5)])
    parts = {"train": slice(0, 2), "val": slice(2, 3), "test": slice(3, 5)}
    arrays = {f"{split}_images": pictures[rows] for split, rows in parts.items()}
    arrays |= {f"{split}_labels": np.arange(5)[rows] % 2 for split, rows in parts.items()}
    np.savez(tmp_path / "some.npz", **arrays)
    environment = {**os.environ, "PYTHONPATH": str(extended), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "some.npz")],
        capture_output=True,
        text=True,
        check=False,
        cwd=extended,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.strip().splitlines()
    assert lines[0] == (
        "('0', '1') [('train_0.png', 0, 'train'), ('train_1.png', 1, 'train'), "
        "('val_0.png', 0, 'val'), ('test_0.png', 1, 'test'), ('test_1.png', 0, 'test')]"
    )
    # Embeddings, four layers and the pooler of 256 wide.
    layer = 4 * (256**2 + 256) + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
    rows = 30_522 + 512 + 2
    assert int(lines[1]) == rows * 256 + 2 * 256 + 4 * layer + 256**2 + 256
    # [CLS], 20 x 20 values, [SEP], no name, [SEP].
    assert lines[2] == f"{[403] * 5} {[True] * 5}"
    assert lines[3] == "{'digits in the name': array([1., 1., 1., 1., 1.])}"
