"""A folder of mappings becomes one bundle; the same files are read once."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.harmonize import load_bundle
from gateway.share import get_data_folder


@pytest.mark.night
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


@pytest.mark.night
def test_what_is_made_of_the_mappings_is_made_once_by_all_threads() -> None:
    bundle = replace(load_bundle(get_data_folder("mappings")), compiled={})
    made: list[object] = []

    def make() -> object:
        made.append(bundle.get_compiled("inner", object))  # what is made may need others
        time.sleep(0.05)
        return object()

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: bundle.get_compiled("outer", make), range(4)))
    assert len(found) == len(made) == 1
