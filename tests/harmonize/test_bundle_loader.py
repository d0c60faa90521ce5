"""A folder of mappings becomes one bundle; the same files are read once."""

from __future__ import annotations

import shutil
from pathlib import Path

from gateway.harmonize import load_bundle
from gateway.share import get_data_folder


def test_the_same_files_give_the_same_bundle_and_a_changed_one_another(tmp_path: Path) -> None:
    shipped = load_bundle(get_data_folder("mappings"))
    folder = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), folder)
    assert load_bundle(folder) is shipped
    with (folder / "reconciled.csv").open("a", encoding="utf-8") as rows:
        rows.write("\n")
    changed = load_bundle(folder)
    assert changed is not shipped
    assert changed.digest != shipped.digest
    assert load_bundle(folder, []) is not changed
