# ruff: noqa: E501 (tables and texts with long lines)
"""Samples of a document hold every check of it: totals, comparisons, distinct values, what is given together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.harmonize import (
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.samples import sample_maker as sampling
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import parse_xml
from gateway_workbench import import_inventory
from tests.harmonize import small_bundle

SEEDS = 60
FIRST = "  - {id: shares, per: item,"
ASKS = """  part: {type: group, repeat: [1, 5], req: M, per: item, means: part, ko: 부분, en: Part, fields: {
      code: {type: id, max: 2, pattern: "[AB]", req: M, means: part.code, ko: 부호, en: Code},
      share: {type: measure, unit: P1, decimals: 2, range: [0, 100], req: M, means: part.share, ko: 몫, en: Share}
  }}
  begun: {type: date, req: M, per: item, means: begun, ko: 시작, en: Begun}
  ended: {type: date, req: M, per: item, means: ended, ko: 끝, en: Ended}
  gross: {type: quantity, units: [KGM, EA], decimals: 3, req: M, per: item, means: gross, ko: 총, en: Gross}
  tare: {type: quantity, units: [TNE, EA, GRM], decimals: 3, req: M, per: item, means: tare, ko: 용기, en: Tare}
  kilos: {type: quantity, unit: KGM, decimals: 3, req: M, per: item, means: kilos, ko: 킬로, en: Kilos}
  tonnes: {type: quantity, unit: TNE, decimals: 3, req: M, per: item, means: tonnes, ko: 톤, en: Tonnes}
  left: {type: text, max: 9, req: O, per: item, means: left, ko: 왼쪽, en: Left}
  right: {type: text, max: 9, req: O, per: item, means: right, ko: 오른쪽, en: Right}
puts:
"""
LINES = """        - Part:
            each: {asked: part, bound: [1, 5]}
            puts: [{Code: {ask: part.code}}, {Share: {ask: part.share}}]
        - Begun: {ask: begun}
        - Ended: {ask: ended}
        - Gross: {ask: gross, unit: "@unit"}
        - Tare: {ask: tare, unit: "@unit"}
        - Kilos: {ask: kilos}
        - Tonnes: {ask: tonnes}
        - Left: {ask: left}
        - Right: {ask: right}
        - HS:"""
UNITS = "unit,dimension,factor,source\nKGM,mass,1,test\nGRM,mass,0.001,test\nTNE,mass,1000,test\n"
CHECKS = [
    "{id: c, per: item, sum: {ask: part.share}, equals: '100', within: '0.5', ko: 가, en: Hundred}",
    "{id: c, per: item, sum: {ask: part.share}, equals: '100', ko: 가, en: Hundred}",
    "{id: c, per: item, sum: {ask: part.share}, equals: '450.25', ko: 가, en: Many}",
    "{id: c, per: item, sum: {ask: part.share}, at_most: '3', ko: 가, en: Three}",
    "{id: c, per: item, compare: {left: begun, at_most: ended, days: 5}, ko: 가, en: Soon}",
    "{id: c, per: item, compare: {left: ended, at_least: begun, days: 30}, ko: 가, en: Late}",
    "{id: c, per: item, compare: {left: begun, more_than: '2026-01-30', days: -3}, ko: 가, en: Days}",
    "{id: c, per: item, compare: {left: tare, at_most: gross}, ko: 가, en: Tare}",
    "{id: c, per: item, compare: {left: tare, at_most: weight}, ko: 가, en: Unlike}",
    "{id: c, per: application, sum: {ask: gross}, at_least: '1', ko: 가, en: One unit}",
    "{id: c, per: application, sum: {ask: part.share}, at_least: '200', ko: 가, en: Much}",
    "{id: c, per: item, compare: {left: begun, less_than: ended}, ko: 가, en: Order}",
    "{id: c, per: item, compare: {left: begun, at_most: issued_at}, ko: 가, en: Before}",
    "{id: c, per: item, compare: {left: weight, at_most: gross}, ko: 가, en: Net}",
    "{id: c, per: item, compare: {left: gross, more_than: '990'}, ko: 가, en: Heavy}",
    "{id: c, per: item, sum: {ask: part.share}, equals: gross, when_same: unit, ko: 가, en: Same}",
    "{id: c, per: item, compare: {left: kilos, at_most: tonnes}, ko: 가, en: Kilos}",
    "{id: c, per: item, compare: {left: tonnes, less_than: kilos}, ko: 가, en: Tonnes}",
    "{id: c, per: item, compare: {left: tonnes, equals: kilos}, ko: 가, en: Both units}",
    "{id: c, per: item, sum: {ask: kilos}, at_most: tonnes, ko: 가, en: All kilos}",
    "{id: c, per: item, sum: {ask: tonnes}, equals: kilos, ko: 가, en: All tonnes}",
    "{id: c, per: item, distinct: part.code, ko: 가, en: Distinct}",
    "{id: c, per: item, one_of: [left, right], ko: 가, en: One}",
    "{id: c, per: item, exactly_one: [left, right], ko: 가, en: Only one}",
    "{id: c, per: item, all_or_none: [left, right], ko: 가, en: Both}",
]


@pytest.mark.night
@pytest.mark.parametrize("check", CHECKS)
def test_samples_hold_a_check(tmp_path: Path, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = 'units: {file: codelists/factors.csv, version: "1", source: ours}\nlists:\n'
    folder = small_bundle.write(tmp_path, document=("puts:\n", ASKS), codelists=("lists:\n", named))
    (folder / "codelists" / "factors.csv").write_text(UNITS, encoding="utf-8")
    path = folder / "agencies/ORG/TINY.yaml"
    text = path.read_text(encoding="utf-8").replace("        - HS:", LINES, 1)
    if "distinct" in check:
        text = text.replace(
            "repeat: [1, 5], req: M, per: item, means: part,",
            "repeat: [1, 2], req: M, per: item, means: part,",
        )
    path.write_text(text.replace(FIRST, f"  - {check}\n{FIRST}", 1), encoding="utf-8")
    bundle = load_bundle(folder)
    drawn = 0

    def counted(*arguments: Any) -> etree._Element:
        nonlocal drawn
        drawn += 1
        return submission(*arguments)

    submission = sampling._make_submission
    monkeypatch.setattr(sampling, "_make_submission", counted)
    for seed in range(SEEDS):
        root = parse_xml(sampling.make_sample(bundle, bundle.documents["TINY"], str(seed), 1 + seed % 4))
        result = split_submission(root, bundle, make_placeholder_numbers(root))
        assert (result.problems, result.unaccounted_leaves, len(result.requests)) == ((), (), 1), seed
    assert drawn <= (
        SEEDS * 3
        if "equals: gross" in check or "distinct" in check
        else SEEDS * (1.5 if "Much" in check else 1.1)
    )


MEDICINES = """organisations: [{code: O, name_en: Office, kind: government}]
documents:
- id: D
  organisation: O
  direction: import
  unique:
  - {name: total, type: quantity, req: M, level: item, unit: C62, decimals: 0, range: [1, 100000], invariant: sum(batch.packs) == total}
  - name: batch
    type: group
    req: M
    level: item
    repeat: 1..20
    fields:
    - {name: lot, type: code, req: M, code_list: [L1, L2, L3, L4, L5, L6, L7, L8, L9]}
    - {name: packs, type: quantity, req: M, unit: C62, decimals: 0, range: [1, 100000]}
    - name: target
      type: group
      req: M
      repeat: 1..5
      invariant: distinct(kind); distinct(kind, dose)
      fields:
      - {name: kind, type: code, req: M, code_list: [BOV, AVI]}
      - {name: dose, type: measure, req: C, unit: MLT, decimals: 2, condition: "kind != 'AVI'"}
  invariants: [sum(batch.packs) <= 50000, distinct(batch.lot)]
"""


@pytest.mark.night
@pytest.mark.parametrize("items", [3, 1, 2])
def test_distinct_codes_that_decide_and_a_total_beside_a_limit_of_all_items(items: int) -> None:
    """What must be distinct is so when it is drawn, before a condition reads it; limits come before totals."""
    found = import_inventory(MEDICINES.encode(), "inventory.yaml", get_data_folder("mappings"))
    bundle = load_bundle(MemoryPath(found.files))
    assert len(bundle.documents["D"].checks) == 5
    for seed in range(4):
        root = parse_xml(sampling.make_sample(bundle, bundle.documents["D"], str(seed), items))
        assert len(root.findall(".//{*}Total")) == items
