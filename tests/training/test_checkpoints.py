"""Checkpoints of a one-layer model: content, damage, full disk."""

import os
import random

import keras
import numpy as np
import pytest

from covid_lm.errors import InputError, RunError, UnusableFile
from covid_lm.training.checkpoints import Checkpoints, Progress, read_checkpoint


def compiled(width: int = 3) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(width), keras.layers.Dropout(0.5)]
    )
    model.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse", jit_compile=False)
    return model


def step(model: keras.Model) -> None:
    model.train_on_batch(np.ones([4, 2], np.float32), np.zeros([4, 3], np.float32))


def state(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def trained(tmp_path):
    """A model after three steps, with a checkpoint after each."""
    model = compiled()
    checkpoints = Checkpoints(str(tmp_path), model)
    states = []
    for number in range(3):
        step(model)
        checkpoints.best_weights = model.get_weights()
        checkpoints.save(Progress([{"val_loss": 0.5}], step=number + 1))
        states.append(state(model))
    return model, states


def test_two_are_kept_and_the_newest_is_restored(trained, tmp_path):
    model, states = trained
    assert sorted(os.listdir(tmp_path)) == ["step-000000002.npz", "step-000000003.npz"]
    other = compiled()
    checkpoints = Checkpoints(str(tmp_path), other)
    assert checkpoints.restore() == Progress([{"val_loss": 0.5}], step=3)
    for restored, expected in zip(state(other), states[2], strict=True):
        np.testing.assert_array_equal(restored, expected)
    for restored, expected in zip(checkpoints.best_weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(restored, expected)


def test_the_next_step_is_the_same_with_dropout(trained, tmp_path):
    model, _ = trained
    other = compiled()
    Checkpoints(str(tmp_path), other).restore()
    step(model)
    step(other)
    for continued, expected in zip(state(other), state(model), strict=True):
        np.testing.assert_array_equal(continued, expected)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def swapped_names(content: bytes) -> bytes:
    """Zip's checksums don't cover its own headers: the second array is read as the first."""
    first, second = b"model/0000.npy", b"model/0001.npy"
    return content.replace(first, b"model/xxxx.npy").replace(second, first)


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        one_bit_flipped,
        swapped_names,
        lambda content: b"",
        lambda content: content + b" ",
    ],
)
def test_restore_the_checkpoint_before_a_damaged_one(trained, tmp_path, capsys, damage):
    _, states = trained
    newest = tmp_path / "step-000000003.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    other = compiled()
    assert Checkpoints(str(tmp_path), other).restore().step == 2
    for restored, expected in zip(state(other), states[1], strict=True):
        np.testing.assert_array_equal(restored, expected)
    said = capsys.readouterr().out
    assert said.startswith(f"{newest}: damaged (")
    assert said.endswith("); using the previous checkpoint\n")


def test_no_flipped_byte_is_taken_for_a_checkpoint(trained, tmp_path):
    path = tmp_path / "step-000000003.npz"
    content = path.read_bytes()
    generator = random.Random(0)
    for _ in range(300):
        flipped = bytearray(content)
        flipped[generator.randrange(len(content))] ^= generator.randrange(1, 256)
        path.write_bytes(flipped)
        with pytest.raises(UnusableFile) as error:
            read_checkpoint(str(path))
        assert str(error.value) == f"{path}: its SHA-256 digest is missing or differs"


def test_a_damaged_checkpoint_does_not_count_among_the_two_kept(trained, tmp_path):
    (tmp_path / "step-000000003.npz").write_bytes(b"")
    other = compiled()
    checkpoints = Checkpoints(str(tmp_path), other)
    checkpoints.restore()
    other.optimizer.iterations.assign(7)
    checkpoints.save(Progress())
    assert sorted(os.listdir(tmp_path)) == ["step-000000002.npz", "step-000000007.npz"]


def test_all_checkpoints_damaged(trained, tmp_path):
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        Checkpoints(str(tmp_path), compiled()).restore()
    assert str(error.value) == (
        f"{tmp_path}: all checkpoints are damaged; remove the directory to start over"
    )


def test_a_checkpoint_of_another_model(trained, tmp_path):
    with pytest.raises(InputError) as error:
        Checkpoints(str(tmp_path), compiled(width=4)).restore()
    assert str(error.value) == (
        f"{tmp_path}/step-000000003.npz: written by another model or version; remove it to start "
        "over"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_leaves_the_last_good_checkpoint(trained, tmp_path):
    model, _ = trained
    checkpoints = Checkpoints(str(tmp_path), model)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    step(model)
    path = tmp_path / "step-000000004.npz"
    os.symlink("/dev/full", f"{path}.part")
    with pytest.raises(RunError) as error:
        checkpoints.save(Progress(step=4))
    assert str(error.value) == (
        f"{path}: can't be written (No space left on device); make room and repeat the command: "
        "it resumes from the previous checkpoint"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_restore_without_a_checkpoint(tmp_path):
    assert Checkpoints(str(tmp_path), compiled()).restore() == Progress()


def test_partly_written_checkpoints_are_removed(tmp_path):
    (tmp_path / "step-000000001.npz.part").write_bytes(b"half")
    Checkpoints(str(tmp_path), compiled())
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_an_interrupted_epoch_are_over_all_its_steps(tmp_path):
    """The mean of 3 examples with loss 1 and 1 with loss 9 is 3, not (1 + 9) / 2."""
    inputs = [np.array([[1.0]] * 3), np.array([[3.0]])]
    model, other = (keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]) for _ in "ab")
    for one in (model, other):
        one.set_weights([np.array([[1.0]]), np.array([0.0])])
        one.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(inputs[0], np.zeros([3, 1]), batch_size=3, verbose=0)
    Checkpoints(str(tmp_path), model).save(Progress(step=1))
    checkpoints = Checkpoints(str(tmp_path), other)
    checkpoints.restore()
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: checkpoints.add_metrics()
    )
    history = other.fit(inputs[1], np.zeros([1, 1]), callbacks=[callback], epochs=2, verbose=0)
    assert history.history["loss"] == [3.0, 9.0]  # added once
    checkpoints.restore()
    checkpoints.save(Progress([{"epoch": 1}]))  # the interrupted epoch had no step left
    history = other.fit(inputs[1], np.zeros([1, 1]), callbacks=[callback], verbose=0)
    assert history.history["loss"] == [9.0]
