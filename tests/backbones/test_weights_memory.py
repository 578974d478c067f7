"""Reading a large checkpoint takes little more memory than the backbone itself."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from covid_lm.backbones.configs import BackboneConfig
from tests.backbones import generated_checkpoints as generated

SMALL = BackboneConfig(2, 32, 4, 64, vocabulary_size=50, max_sequence_length=16)
LARGE = BackboneConfig(24, 512, 8, 2048)

MEASURE = """
    import re, sys
    from covid_lm.backbones.patch_embedding import build_backbone
    from covid_lm.backbones.weights.read import load_weights, read_config

    def kilobytes(field):
        with open("/proc/self/status") as file:
            return int(re.search(field + r":\\s+(\\d+) kB", file.read())[1])

    load_weights(sys.argv[1], build_backbone(read_config(sys.argv[1])))  # starts the runtime
    before = kilobytes("VmRSS")
    backbone = build_backbone(read_config(sys.argv[2]))
    load_weights(sys.argv[2], backbone)
    print((kilobytes("VmHWM") - before) * 1024 / (4 * backbone.count_params()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="measures through /proc")
@pytest.mark.parametrize("file_format", generated.WRITERS)
def test_memory_of_24_layers(tmp_path, file_format):
    """Peak of the process over its start, the backbone's own variables included."""
    small, large = tmp_path / "small", tmp_path / "large"
    for directory, config in ((small, SMALL), (large, LARGE)):
        directory.mkdir()
        arrays = generated.random_arrays(generated.tensor_shapes(config))
        generated.write_directory(directory, file_format, arrays, config)
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), str(small), str(large)]
    root = pathlib.Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    factor = float(run.stdout)
    print(f"{file_format}: {factor:.2f} times the weights")
    assert 1 < factor <= 2.2
