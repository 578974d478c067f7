"""A pre-trained directory in Hugging Face transformers: the same hidden states, logits and loss."""

import numpy as np
import pytest

from covid_lm.backbones.vocabulary import read_vocabulary
from covid_lm.backbones.weights.read import read_config, vocabulary_file
from covid_lm.layers.token_masking import UNUSED
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.objectives.words import build_masking
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.pretrain import decode_images, pretrain
from covid_lm.protocols import LAYOUTS
from covid_lm.training.pretraining_options import PretrainingOptions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained(image_folder, tmp_path_factory):
    options = PretrainingOptions(
        datasets=("folder",),
        data_dirs=(image_folder,),
        backbone="2x64",
        layout="gray22",
        epochs=2,
        batch_size=4,
        learning_rate=3e-3,
        seed=3,
        output_dir=str(tmp_path_factory.mktemp("pretrained")),
    )
    return options, pretrain(options)


@pytest.fixture(scope="module")
def sequences(pretrained):
    """Inputs and targets of the run's validation, and the ids of the words that can be masked."""
    options, result = pretrained
    vocabulary = read_vocabulary(vocabulary_file(result.weights_dir))
    preprocessor = Preprocessor(vocabulary, policy="visible", **LAYOUTS["gray22"])
    images = decode_images(options, preprocessor)
    tokens = {split: decoded.tokenize(preprocessor) for split, decoded in images.items()}
    masking = build_masking(tokens["train"], preprocessor, options.mask_rate)
    masked = MaskedTokens(tokens["val"], masking)
    batches = masked.once(options.batch_size, options.seed).as_numpy_iterator()
    all_inputs, targets, _ = zip(*batches, strict=True)
    inputs = {name: np.concatenate([batch[name] for batch in all_inputs]) for name in all_inputs[0]}
    return inputs, np.concatenate(targets), masking.word_ids


@pytest.fixture(scope="module")
def theirs(pretrained, sequences):
    """Hidden states and logits of `BertForMaskedLM`, at all positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, report = transformers.BertForMaskedLM.from_pretrained(
        pretrained[1].weights_dir, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = sequences[0]
    with torch.no_grad():
        output = model.eval()(
            input_ids=torch.tensor(inputs["token_ids"]).long(),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
            attention_mask=torch.tensor(inputs["padding_mask"]),
            output_hidden_states=True,
        )
    return output.hidden_states[-1].numpy(), output.logits.numpy()


@pytest.fixture(scope="module")
def ours(pretrained, sequences):
    """Hidden states and logits of our model with the saved weights, at all positions."""
    inputs, _, word_ids = sequences
    directory = pretrained[1].weights_dir
    vocabulary = read_vocabulary(vocabulary_file(directory))
    model = MaskedLanguageModel(
        read_config(directory), vocabulary, word_ids, length=512, num_masked=512
    )
    assert model.load(directory)
    everywhere = np.arange(512, dtype=np.int32)[np.newaxis].repeat(len(inputs["token_ids"]), 0)
    inputs = {**inputs, "masked_positions": everywhere}
    return np.asarray(model.encoder(inputs)), np.asarray(model.model(inputs))


def test_hidden_states_are_the_same(ours, theirs, sequences):
    used = sequences[0]["padding_mask"] == 1
    assert 0 < used.mean() < 1
    assert np.abs(theirs[0]).max() > 0.5
    difference = np.abs(ours[0] - theirs[0])[used].max()
    print(f"largest difference in a hidden state: {difference:.1e}")
    assert difference < 1e-4


def test_logits_are_the_same(ours, theirs, sequences):
    used = sequences[0]["padding_mask"] == 1
    difference = np.abs(ours[1] - theirs[1][..., sequences[2]])[used].max()
    print(f"largest difference in a logit: {difference:.1e}")
    assert difference < 1e-4


def test_validation_loss_is_the_one_that_torch_computes(pretrained, theirs, sequences):
    import torch

    inputs, targets, word_ids = sequences
    logits = np.take_along_axis(theirs[1], inputs["masked_positions"][..., np.newaxis], axis=1)
    labels = np.where(targets[..., 1] == UNUSED, -100, targets[..., 0])
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits[..., word_ids]).flatten(0, 1), torch.tensor(labels).long().flatten()
    )
    reported = pretrained[1].metrics["epochs"][-1]["val"]["loss"]
    assert reported == pytest.approx(float(loss), rel=1e-5)
