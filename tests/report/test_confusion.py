"""The confusion matrix as a table and as a picture."""

import base64
import io
import re

import numpy as np
from PIL import Image

from covid_lm.report.measures import RIGHT, WRONG, confusion_section


def test_few_classes_are_a_table():
    section = confusion_section([[3, 1], [0, 0]], ["<a>", "b"])
    assert re.findall(r"<td[^>]*>(\d+)</td>", section) == ["3", "1", "0", "0"]
    assert f"rgba({', '.join(map(str, RIGHT))}, 0.45)" in section  # 0.6 * 3 / 4
    assert f"rgba({', '.join(map(str, WRONG))}, 0.15)" in section
    assert "&lt;a&gt;" in section


def test_many_classes_are_a_picture_and_the_most_frequent_confusions():
    counts = np.eye(20, dtype=int) * 3
    counts[4, 7] = 1
    section = confusion_section(counts.tolist(), [f"c{k}" for k in range(20)])
    assert "<li>c4 taken for c7: 1</li></ul>" in section
    assert "60 of 61 on the diagonal" in section
    encoded = re.search(r"base64,([^\"]*)", section).group(1)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert picture[0, 0].tolist() == [*RIGHT, 255]
    assert picture[4, 7].tolist() == [*WRONG, 128]  # the root of 1/4
    assert picture[4, 8, 3] == 0


def test_no_confusion_among_many_classes():
    section = confusion_section(np.eye(20, dtype=int).tolist(), [str(k) for k in range(20)])
    assert section.endswith("<p>Most frequent confusions:</p><p>none</p>")


def test_an_unknown_matrix():
    assert "unknown" in confusion_section(None, ["a", "b"])
