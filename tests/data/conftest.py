"""Small data sets that several tests read."""

import pathlib
import zipfile

import pytest

from covid_lm.data.covid_ct import METADATA


@pytest.fixture
def small_copy(tmp_path) -> pathlib.Path:
    """COVID-CT's layout with one tiny file per class and split."""
    for class_name, (metadata, image_column, patient_column) in METADATA.items():
        archive = tmp_path / "Images-processed" / f"CT_{class_name}.zip"
        archive.parent.mkdir(exist_ok=True)
        lists = tmp_path / "Data-split" / class_name
        lists.mkdir(parents=True)
        rows = [f"{image_column},{patient_column}"]
        with zipfile.ZipFile(archive, "w") as file:
            for split in ("train", "val", "test"):
                name = f"{split} 1%0, a.png"
                file.writestr(f"CT_{class_name}/{name}", f"{class_name} {split}")
                (lists / f"{split}CT_{class_name}.txt").write_text(f"{name}\n")
                rows.append(f'"{name}",Patient 7')
        (tmp_path / metadata).write_text("\n".join(rows))
    return tmp_path
