"""Examples of a new data set, backbone, layout and probe, as diffs.

The diffs in `extensions/` are applied to a copy of the package, and their additions are used there.
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, encode, random_picture

DIFFS = sorted((REPOSITORY / "tests" / "extensions").glob("*.diff"))
USE = """
import sys
import numpy as np
from covid_lm.audit.checks import CHECKS
from covid_lm.backbones.bert_encoder import build_backbone
from covid_lm.backbones.configs import backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data import load_dataset
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS

dataset = load_dataset("labelled_table", sys.argv[1])
print(dataset.classes, [(r.filename, r.label, r.split, r.patient) for r in dataset.records])
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
    (tmp_path / "labels.csv").write_text(
        "file,label,split,patient\na1.png,sick,train,p1\nb22.png,well,train,\nc.png,sick,test,p2\n"
    )
    for number, name in enumerate(("a1.png", "b22.png", "c.png")):
        (tmp_path / name).write_bytes(encode(random_picture(24, 28, seed=number)))
    environment = {**os.environ, "PYTHONPATH": str(extended), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=extended,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.strip().splitlines()
    assert lines[0] == (
        "('sick', 'well') [('a1.png', 0, 'train', 'p1'), ('b22.png', 1, 'train', None), "
        "('c.png', 0, 'test', 'p2')]"
    )
    # Embeddings, four layers and the pooler of 256 wide.
    layer = 4 * (256**2 + 256) + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
    rows = 30_522 + 512 + 2
    assert int(lines[1]) == rows * 256 + 2 * 256 + 4 * layer + 256**2 + 256
    # [CLS], 20 x 20 values, [SEP], no name, [SEP].
    assert lines[2] == "[403, 403, 403] [True, True, True]"
    assert lines[3] == "{'digits in the name': array([1., 2., 0.])}"
