"""Pre-training contenders: the same masked sequences and the same step for all."""

import dataclasses

import numpy as np
import pytest

from covid_lm.benchmark import suites
from covid_lm.benchmark.cases import Case, Options
from covid_lm.benchmark.masked_lm_contenders import (
    SPECIALS,
    WORDS,
    hf_mlm_tuned,
    hugging_face_mlm,
    masked_sequences,
)
from covid_lm.benchmark.speed_tables import report

CASE = Case("pretraining", "1x64", "float32", 3, threads=1, length=40, dropout=0.0)


def test_15_percent_of_the_positions_are_masked_and_their_words_known():
    data = masked_sequences(CASE)
    positions = data["masked_positions"]
    assert positions.shape == data["masked_ids"].shape == (3, 6)
    is_masked = data["token_ids"] == SPECIALS - 1
    np.testing.assert_array_equal(is_masked.sum(axis=1), [6, 6, 6])
    assert np.take_along_axis(is_masked, positions, axis=1).all()
    for ids in (data["masked_ids"], data["token_ids"][~is_masked]):
        assert SPECIALS <= ids.min() <= ids.max() < SPECIALS + WORDS
    assert data["padding_mask"].all()


def test_both_hugging_face_contenders_take_the_same_step(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    losses = []
    cross_entropy = torch.nn.functional.cross_entropy

    def recorded(predicted, labels):
        losses.append(cross_entropy(predicted, labels))
        return losses[-1]

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", recorded)
    for contender in (hugging_face_mlm, hf_mlm_tuned):
        torch.manual_seed(0)
        step = contender(CASE)
        step()
        step()
    first, second = (float(loss.detach()) for loss in losses[:2])
    assert second < first
    assert [float(loss.detach()) for loss in losses[2:]] == pytest.approx([first, second], rel=1e-5)


@pytest.mark.slow
def test_real_processes_train_with_a_class_and_with_masked_tokens():
    options = Options(backbones=("1x64",), batch_sizes=(2,), dtypes=("float32",), rounds=1)
    result = suites.run("training", dataclasses.replace(options, rivals=()))
    assert [case["task"] for case in result["cases"]] == ["training", "pretraining"]
    (name,) = result["cases"][1]["contenders"]
    assert name == "covid_lm_mlm"
    assert "covid_lm_mlm" in report(result)
