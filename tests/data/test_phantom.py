import collections
import functools
import io
import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from covid_lm.data import load_dataset
from covid_lm.data.phantom import dataset, drawing
from covid_lm.data.phantom.dataset import LEAKS, phantom
from covid_lm.data.phantom.plan import plan_images
from covid_lm.errors import InputError

pytestmark = pytest.mark.usefixtures("slices_drawn_once")

SMALL = 24
FILE_LEAKS = ("name_length", "name_word", "container_bytes", "metadata", "mode", "border_mark")
SPLIT_LEAKS = ("duplicate_across_split", "patient_across_split")

small = functools.cache(functools.partial(phantom, SMALL, 3))
full = functools.cache(phantom)


def decode(record, mode="RGB"):
    with Image.open(io.BytesIO(record.read())) as image:
        return np.asarray(image.convert(mode))


def container(record):
    payload = record.read()
    with Image.open(io.BytesIO(payload)) as image:
        table = str(getattr(image, "quantization", {}).get(0))
        return image.format, table, image.mode, image.size


def pairs(leak, share=1.0):
    """Records without and with the leak, matched by their order, which leaks keep."""
    return list(zip(small().records, small(leak=leak, leak_share=share).records, strict=True))


def facts(record):
    return record.filename, record.label, record.split, record.patient, record.read()


def changed(leak, share=1.0):
    return [(a, b) for a, b in pairs(leak, share) if facts(a) != facts(b)]


def test_same_seed_same_bytes(monkeypatch):
    monkeypatch.setattr(dataset, "draw_slice", drawing.draw_slice)
    again = phantom(SMALL, 3)
    assert [facts(r) for r in again.records] == [facts(r) for r in small().records]
    other = phantom(SMALL, 4)
    assert not {r.filename for r in other.records} & {r.filename for r in again.records}
    assert not {r.read() for r in other.records} & {r.read() for r in again.records}


def test_counts_are_exact_and_balanced():
    images = full()
    assert images.name == "phantom"
    assert images.classes == ("negative", "positive")
    counts = collections.Counter((r.label, r.split) for r in images.records)
    assert counts == {
        (label, split): n
        for label in (0, 1)
        for split, n in (("train", 120), ("val", 30), ("test", 50))
    }


@pytest.mark.parametrize("num_images", [16, 17])
def test_smallest_sets_have_every_class_in_every_split(num_images):
    records = phantom(num_images).records
    assert len(records) == num_images
    assert sum(r.label == 0 for r in records) == (num_images + 1) // 2
    assert len({(r.label, r.split) for r in records}) == 6


def test_names_are_opaque_and_of_one_length():
    records = full().records
    assert len({r.filename for r in records}) == len(records)
    assert all(len(r.filename) == 16 for r in records)
    assert all(int(r.filename[:12], 16) >= 0 for r in records)
    for record in records:
        assert record.filename.endswith(".png" if container(record)[0] == "PNG" else ".jpg")
    assert records[0].path == f"phantom(seed=0)/{records[0].filename}"


def test_file_order_does_not_predict_the_label():
    records = full().records
    assert [r.filename for r in records] == sorted(r.filename for r in records)
    assert 0.4 < roc_auc_score([r.label for r in records], range(len(records))) < 0.6


def test_images_decode_in_the_modes_and_sizes_promised():
    shapes = set()
    for record in small().records:
        mode = container(record)[2]
        assert mode in ("L", "RGB")
        pixels = decode(record)
        shapes.add(pixels.shape[:2])
        assert pixels.std() > 20
        red, green, blue = np.moveaxis(pixels, -1, 0)
        if mode == "RGB":
            assert (red != green).any()
            assert (green != blue).any()
            assert (red != blue).any()
    assert len(shapes) > 4
    assert all(128 <= height <= 240 and 168 <= width <= 320 for height, width in shapes)


def test_splits_share_no_patient_and_a_patient_has_one_label():
    splits, labels, sizes = {}, {}, collections.Counter()
    for record in full().records:
        splits.setdefault(record.patient, set()).add(record.split)
        labels.setdefault(record.patient, set()).add(record.label)
        sizes[record.patient, record.label, record.split] += 1
    assert all(len(s) == 1 for s in splits.values())
    assert all(len(s) == 1 for s in labels.values())
    assert set(sizes.values()) <= {1, 2, 3, 4}
    by_label = [
        sorted((split, n) for (_, label, split), n in sizes.items() if label == c) for c in (0, 1)
    ]
    assert by_label[0] == by_label[1]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_both_classes_have_the_same_containers(split):
    by_label = [
        sorted(container(r) for r in full().split(split) if r.label == label) for label in (0, 1)
    ]
    assert by_label[0] == by_label[1]
    assert {c[0] for c in by_label[0]} == {"PNG", "JPEG"}
    assert len({c[1] for c in by_label[0]}) == 4  # three JPEG qualities and none


def test_slices_of_a_patient_resemble_each_other_but_differ():
    by_patient = collections.defaultdict(list)
    for record in small().records:
        picture = Image.fromarray(decode(record, "L")).resize((24, 24), Image.Resampling.BILINEAR)
        by_patient[record.patient].append(np.asarray(picture, np.float64).ravel())
    groups = [g for g in by_patient.values() if len(g) > 1]
    within = [np.abs(g[0] - g[1]).mean() for g in groups]
    across = [np.abs(a[0] - b[0]).mean() for a, b in itertools.pairwise(groups)]
    assert min(within) > 1
    assert np.mean(within) < 0.8 * np.mean(across)


def test_lesions_are_at_the_planned_positions():
    places = {image.filename: image.scene.lesions for image in plan_images(SMALL, 3)}
    darker, brighter = [], []
    for record in small().records:
        assert (len(places[record.filename]) > 0) == (record.label == 1)
        pixels = decode(record, "L").astype(np.float64)
        height, width = pixels.shape
        for lesion in places[record.filename]:
            assert 0 < lesion.y < 1
            assert 0 < lesion.x < 1
            # The mirrored position is in the other lung, where it is mostly healthy.
            y, x = int(lesion.y * height), int(lesion.x * width)
            brighter.append(pixels[y, x])
            darker.append(pixels[y, min(int((0.99 - lesion.x) * width), width - 1)])
    assert np.mean(brighter) > np.mean(darker) + 15


def test_lesions_reach_the_rows_that_survive_the_trim():
    """About a third touch the top 8 or the bottom 7 of 32 rows, and none the border."""
    all_lesions = [lesion for image in plan_images(400, 0) for lesion in image.scene.lesions]
    seen = [x.y - x.radius_y < 8 / 32 or x.y + x.radius_y > 25 / 32 for x in all_lesions]
    assert 0.25 < np.mean(seen) < 0.5
    assert all(6 / 128 < x.y < 1 - 6 / 128 for x in all_lesions)


def test_only_the_pixels_predict_the_label():
    labels = [r.label for r in full().records]
    probes = collections.defaultdict(list)
    for record in full().records:
        pixels = decode(record, "L").astype(np.float64)
        ring = pixels.copy()
        ring[6:-6, 6:-6] = np.nan
        probes["file size"].append(len(record.read()))
        probes["height"].append(pixels.shape[0])
        probes["width"].append(pixels.shape[1])
        probes["mean"].append(pixels.mean())
        probes["std"].append(pixels.std())
        probes["border mean"].append(np.nanmean(ring))
        probes["border std"].append(np.nanstd(ring))
    areas = {name: roc_auc_score(labels, values) for name, values in probes.items()}
    assert areas["height"] == areas["width"] == 0.5
    assert 0.35 < areas.pop("mean") < 0.65
    assert all(0.4 < area < 0.6 for area in areas.values()), areas


def test_pixels_predict_the_label():
    def thumbnails(split):
        records = full().split(split)
        pictures = [
            np.asarray(
                Image.fromarray(decode(r, "L")).resize((22, 22), Image.Resampling.BILINEAR)
            ).ravel()
            for r in records
        ]
        return np.stack(pictures), [r.label for r in records]

    forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=0)
    forest.fit(*thumbnails("train"))
    assert forest.score(*thumbnails("test")) > 0.65


@pytest.mark.parametrize("leak", LEAKS)
def test_a_share_of_0_has_no_leak(leak):
    assert not changed(leak, 0.0)


@pytest.mark.parametrize("leak", LEAKS)
def test_share_is_respected_and_chosen_by_the_seed(leak):
    all_of_them, some = changed(leak), changed(leak, 0.25)
    positives = sum(r.label == 1 for r in small().records)
    assert len(some) == round(0.25 * (positives if leak == "mode" else len(all_of_them)))
    assert {a.filename for a, _ in some} < {a.filename for a, _ in all_of_them}


@pytest.mark.parametrize("leak", FILE_LEAKS)
def test_file_leaks_change_positive_files_only(leak):
    affected = {a.filename for a, _ in changed(leak)}
    positives = [r for r in small().records if r.label == 1]
    if leak == "mode":
        positives = [r for r in positives if r.filename.endswith(".png")]
    assert affected == {r.filename for r in positives}
    for before, after in changed(leak):
        keep = "label", "split", "patient"
        assert [getattr(before, k) for k in keep] == [getattr(after, k) for k in keep]
        assert before.filename[-4:] == after.filename[-4:]


@pytest.mark.parametrize(("leak", "length"), [("name_length", 22), ("name_word", 16)])
def test_name_leaks_change_the_name_only(leak, length):
    for before, after in changed(leak):
        assert after.read() == before.read()
        assert len(after.filename) == length
        assert ("covid" in after.filename) == (leak == "name_word")
    names = [after.filename for _, after in pairs(leak)]
    assert len(set(names)) == len(names)


def test_class_names_are_the_papers():
    """All files: class, number of the patient in its class, number of the patient's slice."""
    numbered = collections.defaultdict(list)
    for before, after in pairs("name_class"):
        assert after.read() == before.read()
        assert after.patient == before.patient
        word, patient, end = after.filename.split("_")
        assert word == ("non-covid", "covid")[after.label]
        assert end[1:] == before.filename[-4:]
        assert len(patient) == 3
        numbered[after.label, int(patient)].append((end[0], after.patient))
    for label in (0, 1):
        numbers = [number for of, number in numbered if of == label]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for slices in numbered.values():
        assert [number for number, _ in slices] == ["1", "2", "3", "4"][: len(slices)]
        assert len({patient for _, patient in slices}) == 1
    names = {after.filename for _, after in pairs("name_class")}
    assert len(names) == SMALL
    half = {after.filename for _, after in changed("name_class", 0.5)}
    assert half < names


def test_the_embedded_phantom_of_named_images():
    images = load_dataset("phantom_named")
    assert images.name == "phantom_named"
    assert [r.read() for r in images.records] == [r.read() for r in full().records]
    lengths = {(r.label, len(r.filename)) for r in images.records}
    assert lengths == {(0, len("non-covid_001_1.png")), (1, len("covid_201_1.png"))}


def test_container_leak_stays_within_64_bytes_and_keeps_the_pixels():
    for before, after in changed("container_bytes"):
        a, b = before.read(), after.read()
        assert before.filename == after.filename
        assert len(a) == len(b)
        assert a[:64] != b[:64]
        different = [i for i in range(len(a)) if a[i] != b[i]]
        if after.filename.endswith(".png"):
            (first_chunk,) = np.frombuffer(a[33:37], ">u4")
            checksum = range(41 + first_chunk, 45 + first_chunk)
            assert all(i < 64 or i in checksum for i in different)
        else:
            assert max(different) < 64
        np.testing.assert_array_equal(decode(before), decode(after))
        assert Image.open(io.BytesIO(a)).info.keys() == Image.open(io.BytesIO(b)).info.keys()


def test_metadata_leak_adds_an_entry_beyond_64_bytes():
    formats = set()
    for before, after in changed("metadata"):
        assert before.filename == after.filename
        assert before.read()[:64] == after.read()[:64]
        np.testing.assert_array_equal(decode(before), decode(after))
        with Image.open(io.BytesIO(after.read())) as image:
            image.load()
            formats.add(image.format)
            found = image.text if image.format == "PNG" else dict(image.getexif())
        assert list(found.values()) == ["Export Station 4"]
        with Image.open(io.BytesIO(before.read())) as image:
            image.load()
            assert not image.getexif()
            assert not getattr(image, "text", None)
    assert formats == {"PNG", "JPEG"}


def test_mode_leak_adds_an_opaque_channel():
    for before, after in changed("mode"):
        assert before.filename == after.filename
        assert container(after)[2] == "RGBA"
        pixels = decode(after, "RGBA")
        assert (pixels[..., 3] == 255).all()
        np.testing.assert_array_equal(pixels[..., :3], decode(before))


def test_border_leak_marks_the_outer_six_pixels():
    for before, after in changed("border_mark"):
        assert before.filename == after.filename
        assert container(before) == container(after)
        a, b = decode(before, "L").astype(int), decode(after, "L").astype(int)
        mark = b[2:4, 8:40]
        assert mark.mean() > 220 > a[2:4, 8:40].mean()
        # A JPEG smears the mark over its blocks, 16 pixels high with subsampled colour.
        reach = 6 if after.filename.endswith(".png") else 17
        np.testing.assert_array_equal(a[reach:], b[reach:])


@pytest.mark.parametrize("leak", SPLIT_LEAKS)
def test_split_leaks_change_test_files_of_both_classes_only(leak):
    affected = changed(leak)
    assert {a.filename for a, _ in affected} == {r.filename for r in small().split("test")}
    for before, after in affected:
        assert before.filename == after.filename
        assert (before.label, before.split) == (after.label, after.split)
        assert container(before) == container(after)
        assert before.read() != after.read()


def test_duplicates_show_training_images_of_their_class():
    def thumbnail(record):
        picture = Image.fromarray(decode(record, "L")).resize((24, 24), Image.Resampling.BILINEAR)
        return np.asarray(picture, np.float64)

    train = small().split("train")
    pictures = np.stack([thumbnail(r) for r in train])
    for before, after in changed("duplicate_across_split"):
        distances = np.abs(pictures - thumbnail(after)).mean(axis=(1, 2))
        nearest = int(distances.argmin())
        assert distances[nearest] < 3
        assert distances[nearest] < 0.5 * np.abs(pictures - thumbnail(before)).mean((1, 2)).min()
        assert train[nearest].label == after.label
        assert train[nearest].patient != after.patient == before.patient


def test_shared_patients_have_slices_in_training():
    train = {r.patient: r.label for r in small().split("train")}
    training_files = {r.read() for r in small().split("train")}
    for before, after in changed("patient_across_split"):
        assert before.patient not in train
        assert train[after.patient] == after.label
        assert after.read() not in training_files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"leak": "x"},
            "phantom leak 'x': unknown; choose one of name_length, name_word, container_bytes, "
            "metadata, mode, border_mark, duplicate_across_split, patient_across_split, name_class",
        ),
        (
            {"leak": "mode", "leak_share": 1.5},
            "phantom leak_share 1.5: outside 0 to 1; give a share of files",
        ),
        (
            {"leak_share": float("nan")},
            "phantom leak_share nan: outside 0 to 1; give a share of files",
        ),
        (
            {"num_images": 15},
            "phantom num_images 15: too few for three splits of two classes; give 16 or more",
        ),
        ({"seed": -1}, "phantom seed -1: negative; give 0 or more"),
    ],
)
def test_messages_for_invalid_arguments(arguments, message):
    with pytest.raises(InputError) as caught:
        phantom(**arguments)
    assert str(caught.value) == message
