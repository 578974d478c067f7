"""Repairs: new splits, and a copy in which only the pixels differ."""

import collections
import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from covid_lm.auditing.audit_report import text_summary
from covid_lm.auditing.command import audit_and_write, run_audit
from covid_lm.auditing.duplicates import find_duplicates
from covid_lm.auditing.features.observations import observe
from covid_lm.auditing.findings import Finding
from covid_lm.auditing.repair import new_splits
from covid_lm.auditing.repair.neutral_copy import CopyFormat, choose_format, neutral_image
from covid_lm.auditing.repair.new_splits import draw_new_splits, imbalance
from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading
from covid_lm.data.records import SPLITS, ImageDataset
from covid_lm.errors import InputError
from tests.audit.synthetic import noise, record
from tests.conftest import encode

CLASSES = ("ill", "well")


def leaking_image(number: int) -> tuple[str, bytes]:
    """Name and content; ill ones are long-named RGB files with metadata and a white line."""
    gray = noise(number, height=60, width=72)
    if number % 2:
        return f"{(number * 7919) % 10007:05}.png", encode(gray)
    gray[1:3] = 255
    extra = {"comment": b"hospital A"} if number % 4 else {}
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    return f"{(number * 7919) % 10007:05}-ill.jpg", encode(rgb, "JPEG", quality=95, **extra)


def write_table(root, count: int = 72) -> str:
    """A table of leaking images in which patients, copies and sources are in several splits."""
    rows = [("path", "label", "split", "patient", "scanner")]
    for number in range(count):
        name, content = leaking_image(number)
        (root / name).write_bytes(content)
        split = SPLITS[number % 3]
        patient = f"Doe {number // 4}" if number < 40 else ""
        rows.append((name, CLASSES[number % 2], split, patient, "AB"[number // 2 % 2]))
    with open(root / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(root / "labels.csv")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    return write_table(tmp_path_factory.mktemp("leaking"))


@pytest.fixture(scope="module")
def repaired(table, tmp_path_factory):
    """The folder of a repair's outputs, its report, and the originals' content before it."""
    root = tmp_path_factory.mktemp("repaired")
    before = contents(os.path.dirname(table))
    options = RepairOptions(str(root / "new.csv"), str(root / "copy"), names=str(root / "old.csv"))
    report = audit_and_write(
        load_dataset("table", table), output=str(root / "audit"), repair=options
    )
    return root, report, before


def contents(folder) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(pathlib.Path(folder).rglob("*.*"))}


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def splits_of(rows: list[dict], key: str) -> dict[str, set[str]]:
    found = collections.defaultdict(set)
    for row in rows:
        found[row[key]].add(row["split"])
    return found


def test_new_splits_divide_no_patient_and_have_all_classes(repaired, table):
    rows, originals = rows_of(repaired[0] / "new.csv"), rows_of(table)
    assert [row["path"] for row in rows] == [row["path"] for row in originals]
    assert [row["scanner"] for row in rows] == [row["scanner"] for row in originals]
    by_patient = splits_of(rows, "patient")
    unknown = by_patient.pop("")
    assert len(by_patient) == 10
    assert all(len(found) == 1 for found in by_patient.values())
    assert unknown == {*SPLITS}
    assert splits_of(rows, "label") == {name: {*SPLITS} for name in CLASSES}
    counts = collections.Counter(row["split"] for row in rows)
    assert 11 <= counts["test"] <= 18
    dataset = load_dataset(
        "table",
        str(repaired[0] / "new.csv"),
        Reading(image_root=os.path.dirname(table), training=True),
    )
    assert [r.split for r in dataset.records] == [row["split"] for row in rows]


def test_the_files_of_a_copy_differ_by_pixels_only(repaired):
    files = sorted((repaired[0] / "copy" / "images").iterdir())
    assert [file.name for file in files] == [f"{number:02}.png" for number in range(1, 73)]
    payloads = [file.read_bytes() for file in files]
    assert len({len(payload) for payload in payloads}) == 1
    before_pixels = payloads[0].index(b"IDAT") + 6
    assert len({payload[:before_pixels] for payload in payloads}) == 1
    assert payloads[0][before_pixels - 2 : before_pixels] == b"\x78\x01"  # zlib, not compressed
    for payload in payloads:
        with Image.open(io.BytesIO(payload)) as image:
            image.load()
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "L", (48, 48), {})


def test_the_table_of_a_copy_names_no_patient_and_no_original(repaired):
    folder = repaired[0] / "copy"
    assert sorted(os.listdir(folder)) == ["LABELS.csv", "images"]
    rows = rows_of(folder / "LABELS.csv")
    assert [*rows[0]] == ["path", "label", "split", "patient"]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    old = {row["path"]: row["original"] for row in rows_of(repaired[0] / "old.csv")}
    new = {row["path"]: row for row in rows_of(repaired[0] / "new.csv")}
    patients = set()
    for row in rows:
        original = new[old[row["path"]]]
        assert (row["label"], row["split"]) == (original["label"], original["split"])
        patients.add((original["patient"], row["patient"]))
    assert ("", "") in patients
    assert len(patients) == 11  # one number for each of 10, and none for the unknown ones
    assert any(first != second for first, second in patients)
    text = (folder / "LABELS.csv").read_text()
    assert "Doe" not in text
    assert "ill.jpg" not in text


def test_pixels_of_a_copy_are_those_of_pillow(repaired, table):
    root = repaired[0]
    for row in rows_of(root / "old.csv")[:6]:
        with Image.open(os.path.join(os.path.dirname(table), row["original"])) as image:
            inner = image.convert("L").crop((6, 6, 72 - 6, 60 - 6))
        expected = np.asarray(inner.resize((48, 48), Image.Resampling.BILINEAR))
        with Image.open(root / "copy" / row["path"]) as copy:
            np.testing.assert_array_equal(np.asarray(copy), expected)


def test_the_order_of_the_copies_is_not_that_of_the_originals(repaired):
    places = {row["path"]: k for k, row in enumerate(rows_of(repaired[0] / "new.csv"))}
    ranks = [places[row["original"]] for row in rows_of(repaired[0] / "old.csv")]
    assert sorted(ranks) == list(range(72))
    assert abs(np.corrcoef(ranks, range(72))[0, 1]) < 0.3


def test_originals_are_not_touched(repaired, table):
    assert contents(os.path.dirname(table)) == repaired[2]


def test_the_result_is_audited_and_shown_next_to_the_data(repaired):
    root, report, _ = repaired
    before = {finding.check: finding.severity for finding in report.findings}
    after = {finding.check: finding.severity for finding in report.repaired.findings}
    gone = ("name_length", "name_characters", "mode", "extension", "container_bytes", "metadata")
    gone += ("border", "file_size", "patients_across_splits")
    assert {before[check] for check in gone} <= {"high", "medium"}
    assert not {*gone} & {*after}
    assert after["compression"] == "high"  # JPEG's traces outlive a new container
    constant = {row.check.name for row in report.repaired.probes if row.result is None}
    assert {"name_length", "mode", "extension", "container_bytes", "metadata"} <= constant
    text = text_summary(report)
    assert re.search(r"^file name length +high +-$", text, re.MULTILINE)
    assert re.search(r"^compression traces +high +high$", text, re.MULTILINE)
    assert re.search(r"^file name length +1\.000 \[.*\] +the same for every file$", text, re.M)
    assert "neutral copy: uncompressed PNG, gray (0% of the images have colour), 48 x 48" in text
    assert "the border, 4% of each side or more, was cut off" in text
    page = (root / "audit" / "audit.html").read_text()
    ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    assert "<h2>Repairs</h2>" in page
    assert page.count("the same for every file") >= 7
    written = json.loads((root / "audit" / "audit.json").read_text())
    assert written["repairs"] == list(report.repairs)
    assert written["repaired"]["findings"][0]["check"] == "compression"


def test_duplicates_and_sources_stay_together():
    names = [f"1.2020-p{number // 3}-{number}.png" for number in range(66)]
    payloads = [encode(noise(number)) for number in range(66)]
    payloads[64] = payloads[0]
    seen = [
        observe(record(name, number % 2, "train", payload, path=f"{number}"))
        for number, (name, payload) in enumerate(zip(names, payloads, strict=True))
    ]
    new = draw_new_splits(seen, find_duplicates(seen), CLASSES, seed=0)
    assert {*new.splits} == {*SPLITS}
    for start in range(0, 66, 3):
        assert len({*new.splits[start : start + 3]}) == 1
    assert new.splits[64] == new.splits[0]
    assert int(new.groups.max()) + 1 == 21  # of 22 sources two are joined by the copy


def test_the_most_balanced_of_several_draws_is_taken(monkeypatch):
    seen = [
        observe(
            dataclasses.replace(
                record(f"{number:05}x.png", number % 2, payload=encode(noise(number))),
                path=f"{number}",
                factors={"scanner": "ABC"[number * number % 7 % 3]},
            )
        )
        for number in range(60)
    ]
    columns = np.array([[o.record.factors["scanner"] == name for name in "ABC"] for o in seen])
    chosen = draw_new_splits(seen, [], CLASSES, seed=3)
    assert chosen.factors == ("scanner",)
    monkeypatch.setattr(new_splits, "DRAWS", 1)
    singles = [draw_new_splits(seen, [], CLASSES, seed).splits for seed in range(8)]
    typical = np.median([imbalance(splits, columns) for splits in singles])
    assert imbalance(chosen.splits, columns) < typical
    assert draw_new_splits(seen, [], CLASSES, 5).splits == singles[5]


def test_imbalance_by_hand():
    columns = np.array([[True], [False], [True], [False]])
    assert imbalance(["train", "train", "test", "test"], columns) == 0
    # Each split of 2 is 0.5 away from the share 0.5, whose variance is 0.25.
    assert imbalance(["train", "test", "train", "test"], columns) == pytest.approx(4.0)


def test_a_class_of_few_groups_has_no_new_splits():
    seen = [
        observe(record(f"{n}.png", n % 2, payload=encode(noise(n)), patient=str(n % 4)))
        for n in range(12)
    ]
    with pytest.raises(InputError) as refused:
        draw_new_splits(seen, [], CLASSES, 0)
    assert str(refused.value) == (
        "--split: class 'ill' has 2 group(s) of images that depend on each other (by patient, "
        "duplicate or source); 3 splits need as many"
    )


def test_the_format_by_the_images():
    gray = [observe(record(payload=encode(noise(n, 40 + n, 90)))) for n in range(20)]
    colour = np.zeros([50, 60, 3], np.uint8)
    colour[..., 0] = noise(0, 50, 60)
    red = observe(record(payload=encode(colour)))
    assert choose_format([*gray, red], []) == CopyFormat("L", 40, False, 1 / 21)
    assert choose_format([*gray[:1], red], []).mode == "RGB"
    assert choose_format(gray, [], side=123).side == 123
    marks = choose_format(gray, [Finding("marks", "marks", "low", "L2", "", "")])
    assert (marks.cropped, marks.unmarked) == (True, True)
    assert marks.line.endswith("; burned-in marks near the border were filled")
    image = Image.open(io.BytesIO(neutral_image(encode(colour), CopyFormat("RGB", 20, False, 1))))
    assert (image.mode, image.size) == ("RGB", (20, 20))
    assert np.asarray(image)[..., 1:].max() == 0


def test_a_failure_leaves_nothing(tmp_path):
    def read_once(number: int, done: set) -> bytes:
        if number == 20 and number in done:
            raise OSError("the disk is gone")
        done.add(number)
        return encode(noise(number))

    done: set[int] = set()
    records = tuple(
        dataclasses.replace(
            record(f"{number:03}.png", number % 2, SPLITS[number % 3], path=f"{number:03}"),
            read=functools.partial(read_once, number, done),
        )
        for number in range(24)
    )
    options = RepairOptions(neutralise=str(tmp_path / "copy"), names=str(tmp_path / "old.csv"))
    with pytest.raises(OSError, match="the disk is gone"):
        audit_and_write(ImageDataset("failing", CLASSES, records), repair=options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 64}, "--side: only with --neutralise"),
        ({"names": "old.csv"}, "--names: only with --neutralise"),
        ({"neutralise": "{out}/c", "side": 8}, "--side=8: must be from 16 to 4096"),
        ({"split": "{out}/new.txt"}, "--split={out}/new.txt: give a name that ends in .csv"),
        (
            {"neutralise": "{data}/copy"},
            "--neutralise={data}/copy: is inside the data folder, {data}; give another one",
        ),
        ({"neutralise": "{data}"}, "--neutralise={data}: is inside the data folder, {data}; give"),
        ({"neutralise": "{out}"}, "--neutralise={out}: exists; give a new folder, or remove it"),
        ({"neutralise": "gs://x/y"}, "--neutralise=gs://x/y: give a local folder"),
        (
            {"split": "{data}/labels.csv"},
            "--split={data}/labels.csv: would replace a file of the data; give another name",
        ),
        (
            {"split": "{out}/x.csv", "neutralise": "{out}/c", "names": "{out}/x.csv"},
            "--names={out}/x.csv: is --split, too; give another name",
        ),
    ],
)
def test_unusable_outputs_are_refused_before_anything_is_read(table, tmp_path, options, message):
    (tmp_path / "something").touch()
    places = {"data": os.path.dirname(table), "out": str(tmp_path)}
    values = {k: v.format(**places) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(InputError) as refused:
        run_audit("table", table, repair=RepairOptions(**values))
    assert str(refused.value).startswith(message.format(**places))
    assert os.listdir(tmp_path) == ["something"]


def test_images_of_archives_are_named_by_a_copy_only():
    with pytest.raises(InputError) as refused:
        RepairOptions(split="new.csv").check("covid_ct", "data")
    assert str(refused.value) == (
        "--split=new.csv: the images of covid_ct are no files of their own, which a table could "
        "name; give --neutralise=DIR, too"
    )
