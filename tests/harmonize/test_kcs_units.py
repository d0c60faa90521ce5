"""The units of customs by Recommendation 20: each code stands in the published list."""

from __future__ import annotations

import csv
from pathlib import Path

from gateway.share import get_data_folder


def test_units_of_customs_are_of_its_published_list(vectors: Path) -> None:
    known = set()
    with (vectors / "data" / "kr-unipass" / "unit_codes_kcs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            known |= {row["code"], row["old_code"]}
    table = get_data_folder("mappings").joinpath("codelists", "rec20-to-kcs.csv").read_text("utf-8")
    rows = {row["rec20"]: row["kcs"] for row in csv.DictReader(table.splitlines())}
    assert rows["H87"] == "PC"
    assert len(set(rows.values())) == len(rows)
    assert set(rows.values()) <= known
