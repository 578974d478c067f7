"""A small BERT, its generated checkpoints, and the fixtures that tests of weights share."""

import pytest

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.errors import InputError
from tests.backbones import generated_checkpoints as generated

CONFIG = BackboneConfig(2, 32, 4, 64, vocabulary_size=50, max_sequence_length=16)
SHAPES = generated.tensor_shapes(CONFIG)
ARRAYS = generated.random_arrays(SHAPES)


@pytest.fixture(scope="module")
def backbone():
    return build_backbone(CONFIG)


@pytest.fixture(params=generated.WRITERS)
def file_format(request):
    return request.param


def write(directory, file_format, arrays=ARRAYS, config=CONFIG, **options):
    return generated.write_directory(directory, file_format, arrays, config, **options)


def the_line(call, *arguments):
    """The text of the InputError that the call raises, which is one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
