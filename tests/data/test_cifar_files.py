import hashlib
import os
import pathlib
import re

import pytest

from covid_lm.data import load_dataset
from covid_lm.data.cifar_files import PUBLISHED
from covid_lm.errors import InputError
from tests.data.cifar_samples import binary_files, python_files, write_folder, write_tar_gz

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"


@pytest.fixture
def archive(tmp_path) -> pathlib.Path:
    path = tmp_path / "cifar-100-python.tar.gz"
    write_tar_gz(path, "cifar-100-python", python_files("cifar100"))
    return path


def publish(archive: pathlib.Path, monkeypatch: pytest.MonkeyPatch, md5: str | None = None) -> None:
    """Makes this small archive the published one."""
    md5 = md5 or hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, archive.name, (archive.stat().st_size, md5))


def test_the_published_archive_has_the_plain_name(archive, monkeypatch):
    assert load_dataset("cifar100", str(archive)).name == "cifar100 (files not verified)"
    publish(archive, monkeypatch)
    assert load_dataset("cifar100", str(archive)).name == "cifar100"
    assert load_dataset("cifar100_coarse", str(archive.parent)).name == "cifar100_coarse"


def test_the_published_size_with_another_checksum(archive, monkeypatch):
    publish(archive, monkeypatch, md5="0" * 32)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(InputError) as caught:
        load_dataset("cifar100", str(archive))
    assert str(caught.value) == (
        f"{archive}: damaged, its MD5 sum is {md5} and not {'0' * 32}; fetch it again from "
        f"{ADDRESS}"
    )


def test_an_archive_cut_short(archive):
    content = archive.read_bytes()[:-100]
    archive.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_dataset("cifar100", str(archive))
    assert str(caught.value) == (
        f"{archive}: not a tar.gz, damaged or cut short at 'cifar-100-python/meta'; "
        "fetch it again (the published one has 169001437 bytes, this one "
        f"{len(content)}; {ADDRESS})"
    )


def test_no_files_found(tmp_path):
    with pytest.raises(InputError) as caught:
        load_dataset("cifar100", str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}: no cifar100 here; --data_dir must hold cifar-100-python.tar.gz or "
        "cifar-100-binary.tar.gz, or unpacked cifar-100-python/{meta, train, test} or "
        "cifar-100-binary/{fine_label_names.txt, coarse_label_names.txt, train.bin, test.bin}; "
        f"get it from {ADDRESS}, or give --download"
    )
    with pytest.raises(InputError, match=r"no cifar10 here; .* or cifar10_images.zip, or unpacked"):
        load_dataset("cifar10", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="--dataset=cifar10: needs --data_dir"):
        load_dataset("cifar10")


def test_an_archive_by_another_name(tmp_path):
    path = tmp_path / "cifar.tgz"
    path.write_bytes(b"")
    message = "cifar.tgz: not one of cifar-100-python.tar.gz, cifar-100-binary.tar.gz; give it"
    with pytest.raises(InputError, match=re.escape(message)):
        load_dataset("cifar100", str(path))


@pytest.mark.parametrize("name", ["batches.meta", "data_batch_3", "test_batch"])
def test_a_file_of_the_layout_is_absent(tmp_path, name):
    files = python_files("cifar10")
    del files[name]
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    archive = tmp_path / "cifar-10-python.tar.gz"
    for data_dir in (folder, write_tar_gz(archive, "cifar-10-batches-py", files)):
        with pytest.raises(InputError) as caught:
            load_dataset("cifar10", data_dir)
        assert str(caught.value) == (
            f"{data_dir}: holds no {name}; the layout is cifar-10-batches-py/{{batches.meta, "
            "data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch}; "
            f"get cifar-10-python.tar.gz from {ADDRESS}"
        )


def test_the_python_version_comes_first(tmp_path):
    write_folder(tmp_path / "cifar-10-batches-bin", binary_files("cifar10"))
    assert load_dataset("cifar10", str(tmp_path)).records[0].filename == "data_batch_1_00000.png"
    write_folder(tmp_path / "cifar-10-batches-py", python_files("cifar10"))
    dataset = load_dataset("cifar10", str(tmp_path))
    assert dataset.records[0].path.startswith(f"{tmp_path}/cifar-10-batches-py/")
    write_tar_gz(
        tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", python_files("cifar10")
    )
    dataset = load_dataset("cifar10", str(tmp_path))
    assert dataset.records[0].path.startswith(f"{tmp_path}/cifar-10-python.tar.gz!")


def test_links_out_of_the_data_folder_are_refused(tmp_path, archive):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    link = data_dir / archive.name
    link.symlink_to(archive)
    message = f"{link}: a link out of {data_dir}; put the file itself there"
    with pytest.raises(InputError, match=re.escape(message)):
        load_dataset("cifar100", str(data_dir))
    link.unlink()
    files = python_files("cifar100")
    (tmp_path / "test").write_bytes(files.pop("test"))
    folder = write_folder(data_dir / "cifar-100-python", files)
    os.symlink(tmp_path / "test", os.path.join(folder, "test"))
    with pytest.raises(InputError, match=f"{folder}/test: a link out of {folder}"):
        load_dataset("cifar100", str(data_dir))


def test_a_hostile_pickle_in_an_archive(tmp_path):
    target = tmp_path / "touched"
    files = {**python_files("cifar100"), "meta": b"cos\nsystem\n(Vtouch %b\ntR." % bytes(target)}
    path = write_tar_gz(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    message = f"{path}!cifar-100-python/meta: refused, because its pickle asks for 'os.system'"
    with pytest.raises(InputError, match=re.escape(message)):
        load_dataset("cifar100", path)
    assert not target.exists()
