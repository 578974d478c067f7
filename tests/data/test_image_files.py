"""The walk through a folder: what counts as an image, and what becomes of the rest."""

import os
import pathlib
import socket

import pytest
import tensorflow as tf

from covid_lm.data import image_files
from covid_lm.data.image_files import find_images, skipped_line
from covid_lm.errors import InputError, UnusableFile
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.image_kinds import NOT_AN_IMAGE, kind_of
from tests.conftest import encode, random_picture

PICTURE = random_picture(9, 8)
MARKUP = b"\xef\xbb\xbf <?xml version='1.0'?>\n<!-- > --> <!-- -->\n"
OTHERS = {
    "a.tif": (encode(PICTURE, "TIFF"), "TIFF"),
    "b.avif": (b"\0\0\0\x20ftypavif" + bytes(40), "AVIF"),
    "c.jp2": (encode(PICTURE, "JPEG2000"), "JPEG 2000"),
    "d": (bytes(128) + b"DICM" + bytes(60), "DICOM without an image"),
    "e.jpg": (b"\n<!DOCTYPE HTML>\n<title>Not found</title>", "HTML"),
    "f.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "g.svg": (MARKUP + b"<!doctype svg>\n<svg width='3'/>", "SVG"),
    "h.gif": (MARKUP + b"<HTML lang='en'>", "HTML"),
    "i.pdf": (b"%PDF-1.4\n", "PDF"),
}
TEXTS = {
    "labels.csv": (b"BMI,name\n21,x\n", "CSV"),
    "README": (b"read me", NOT_AN_IMAGE),
    "a.b-c": (b"", NOT_AN_IMAGE),
    "x.zip": (b"PK\x03\x04", "ZIP"),
}
IMAGES = {
    **{f"{f}": encode(PICTURE, f) for f in ("PNG", "JPEG", "BMP", "GIF", "WEBP")},
    "named.txt": encode(PICTURE),
    "cut.jpg": b"\xff\xd8\xff\xe0",
    "damaged.png": b"no image",
    "empty.webp": b"",
}
LITTER = (
    ".hidden.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    "__MACOSX/._a.png",
    "sub/@eaDir/a.png/SYNOPHOTO_THUMB_S.png",
    "Thumbs.db",
    "sub/Desktop.ini",
    ".DS_Store",
)


def write(root: pathlib.Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def below(root: pathlib.Path, paths: list[str]) -> list[str]:
    return [os.path.relpath(path, root) for path in paths]


def test_images_by_their_bytes_and_all_other_files_with_their_kind(tmp_path):
    named = {name: content for name, (content, _) in {**OTHERS, **TEXTS}.items()}
    write(tmp_path, {**IMAGES, **named, **dict.fromkeys(LITTER, encode(PICTURE))})
    found = find_images(str(tmp_path))
    assert below(tmp_path, found.images) == sorted(IMAGES)
    kinds = {os.path.relpath(path, tmp_path): kind for path, kind in found.others}
    assert kinds == {name: kind for name, (_, kind) in {**OTHERS, **TEXTS}.items()}
    assert below(tmp_path, found.folders) == ["sub"]
    assert below(tmp_path, found.predictable) == sorted({**IMAGES, **OTHERS})
    assert skipped_line(found.others, str(tmp_path)) == (
        "skipped: 2 not an image, 2 HTML, 1 TIFF, 1 AVIF, 1 JPEG 2000, 1 DICOM without an image, "
        "1 Git LFS pointer, 1 SVG, 1 PDF, 1 CSV, 1 ZIP (the first: README)"
    )


def test_a_model_words_the_kinds_in_the_same_way():
    contents = [content for content, _ in OTHERS.values()] + [b"a text", b"PK"]
    reasons = ImageInput(2)(tf.constant(contents))["reason"].numpy()
    kinds = [reason.decode().removeprefix("format not supported: ") for reason in reasons]
    assert kinds == [kind_of(content) for content in contents]


def test_a_long_run_of_comments_takes_no_time():
    assert kind_of(b"<!---->" * 73) == NOT_AN_IMAGE


def test_what_is_not_a_regular_file_is_never_opened(tmp_path, monkeypatch):
    write(tmp_path, {"a.png": encode(PICTURE)})
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    found = find_images(str(tmp_path))
    assert below(tmp_path, found.images) == ["a.png"]
    assert [kind for _, kind in found.others] == ["FIFO", "socket"]
    assert below(tmp_path, found.predictable) == ["a.png", "pipe.png", "socket.png"]


def test_links_inside_are_followed_and_none_is_left_out_silently(tmp_path):
    write(tmp_path, {"pool/deep/1.png": encode(PICTURE), "2.png": encode(PICTURE)})
    (tmp_path / "again").symlink_to("pool")
    (tmp_path / "pool" / "3.png").symlink_to("../2.png")
    (tmp_path / "pool" / "deep" / "up").symlink_to("..")
    (tmp_path / "absent.png").symlink_to("nowhere.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    found = find_images(str(tmp_path))
    assert below(tmp_path, found.images) == [
        *("2.png", "again/3.png", "again/deep/1.png", "pool/3.png", "pool/deep/1.png")
    ]
    assert [(os.path.relpath(path, tmp_path), kind) for path, kind in found.others] == [
        ("absent.png", "link to nothing"),
        ("again/deep/up", "link to a folder above it"),
        ("itself.png", "link to nothing"),
        ("pool/deep/up", "link to a folder above it"),
    ]


@pytest.mark.parametrize("target", ["folder", "folder/1.png", "absent"])
def test_links_out_are_refused(tmp_path, target):
    write(tmp_path, {"outside/folder/1.png": b"", "root/a/2.png": b""})
    link = tmp_path / "root" / "a" / "link"
    link.symlink_to(tmp_path / "outside" / target)
    with pytest.raises(UnusableFile, match=f"{link}: a link out of {tmp_path}/root; put the file"):
        find_images(str(tmp_path / "root"))


def test_links_that_multiply_the_folders_end(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_FOLDERS", 100)
    for level in range(10):
        (tmp_path / f"{level}").mkdir()
        for name in "ab":
            (tmp_path / f"{level}" / name).symlink_to(f"../{level + 1}")
    (tmp_path / "10").mkdir()
    with pytest.raises(InputError, match="more than 100 folders, counted by every link"):
        find_images(str(tmp_path))


def test_a_store_is_listed_by_names(ram_folder):
    found = find_images(ram_folder)
    assert [path.removeprefix(ram_folder) for path in found.images] == ["/a/1.png", "/b/c/2.jpg"]
    assert [(p.removeprefix(ram_folder), kind) for p, kind in found.others] == [("/a/x.csv", "CSV")]
    assert [path.removeprefix(ram_folder) for path in found.folders] == ["/a", "/b", "/b/c"]


@pytest.fixture
def ram_folder() -> str:
    root = "ram://image_files"
    for name in ("a/1.png", "a/x.csv", "a/.hidden.png", "b/c/2.jpg", "__MACOSX/3.png"):
        tf.io.gfile.makedirs(os.path.dirname(f"{root}/{name}"))
        with tf.io.gfile.GFile(f"{root}/{name}", "wb") as file:
            file.write(b"x")
    return root
