"""An agency that nobody foresaw joins a running gateway: an inventory, three verbs, no restart, no code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.kit.paths import ROOT
from tests.kit.waiting import until

CODE, DOCUMENT = "HARBOUR", "HARBOUR-BERTH-IMP"
INVENTORY = """
organisations:
  - {code: HARBOUR, name_en: Harbour Master Authority, name_ko: 항만관리청, kind: government}
code_lists:
  berth: {'01': east quay, '02': west quay}
documents:
  - id: HARBOUR-BERTH-IMP
    organisation: HARBOUR
    direction: import
    name_en: Berth notice
    name_ko: 접안 신고서
    law_codes: ['91']
    common:
      - {path: Declaration/FunctionalReferenceID, wco_id: D026, card: '1'}
      - {path: Declaration/Declarant/ID, wco_id: R123, card: '1'}
      - path: Declaration/GoodsShipment/GovernmentAgencyGoodsItem/SequenceNumeric
        wco_id: '006'
        card: '1'
      - path: Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description
        wco_id: '137'
        card: '1'
    unique:
      - {name: berth, name_ko: 선석, type: code, req: M, level: header, code_list: berth}
      - name: reason
        name_ko: 사유
        type: text
        req: C
        level: header
        max_length: 99
        condition: berth == '02'
      - {name: draught, name_ko: 흘수, type: measure, req: M, level: item, unit: MTR, range: [0, 30]}
"""


class _Stage(Stage):
    """A stage whose hub has never heard of the new agency."""

    def _format_settings_file(self) -> str:
        return super()._format_settings_file().partition(f"[agency.{CODE}]")[0]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Import the inventory, and make what is made from it."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    assert main(["map", "import", str(tmp_path / "inventory.yaml"), "--out", str(tmp_path / "mappings")]) == 0
    assert main(["map", "check", "--path", str(tmp_path / "mappings"), "--samples", "3"]) == 0
    built = ["map", "build", "--path", str(tmp_path / "mappings"), "--out", str(tmp_path / "made")]
    assert main(built) == 0
    return tmp_path


@pytest.fixture
def stage(made: Path) -> Iterator[Stage]:
    """Run hub, customs, broker and the new agency; the hub is told of the agency by the test."""
    cast = read_cast()
    agency = {"code": CODE, "title": "Harbour", "plan": {"behaviour": "immediate"}}
    options = {CODE: ("--mappings", str(made / "mappings"), "--made", str(made / "made"))}
    stage = _Stage(made / "home", replace(cast, agencies=(agency,)), options=options)
    stage.build()
    try:
        stage.start()
        yield stage
    finally:
        stage.close()


def submission(made: Path, capsys: pytest.CaptureFixture[str], reference: str) -> Path:
    """Return a drawn submission of the new document that our broker may file."""
    capsys.readouterr()
    assert main(["map", "sample", DOCUMENT, "--path", str(made / "mappings"), "--items", "2"]) == 0
    root = etree.fromstring(capsys.readouterr().out.encode())
    for one in root.iter("{*}Reference", "{*}FunctionalReferenceID"):
        one.text = reference
    next(root.iter("{*}Declarant"))[0].text = "6N001"
    file = made / f"{reference}.xml"
    file.write_bytes(etree.tostring(root))
    return file


@pytest.mark.night
def test_the_eighteenth_agency_joins_a_running_gateway(
    stage: Stage, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(stage.home)

    def file(reference: str) -> dict[str, Any]:
        words = [
            "submit",
            str(submission(made, capsys, reference)),
            "--as",
            "broker",
            "--json",
            "--wait",
            "0",
        ]
        to = ["--to", f"{stage.hub_url}/msh/ebms2", "--partner", str(stage.get_partner_folder("broker"))]
        assert main([*words, *to]) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert told["receipt_verified"]
        return case(reference)

    def case(reference: str) -> dict[str, Any]:
        def closed() -> dict[str, Any] | None:
            assert main(["case", "list", "--home", home, "--json"]) == 0
            rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            found = [row for row in rows if row["functional_reference"] == reference]
            return found[0] if found and found[0]["state"] in ("CLOSED", "REFUSED") else None

        return until(closed)

    # Before: the gateway knows no such document, and says so to the applicant.
    assert file("BEFORE-1")["state"] == "REFUSED"
    # The operator's three steps.
    with (stage.home / "gateway.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'[agency.{CODE}]\nendpoint = "http://127.0.0.1:{stage.ports[CODE]}/soap"\n')
    # This gateway serves the new agency alone, so the others are taken out of force by name.
    others = [word for one in list_shipped_documents() for word in ("--remove", one)]
    assert main(["map", "use", str(made / "mappings"), *others, "--home", home]) == 0
    told = file("AFTER-1")
    assert (told["state"], told["outcome"]) == ("CLOSED", "APPROVED")
    # A broken folder changes nothing.
    broken = made / "mappings" / "agencies" / CODE / f"{DOCUMENT}.yaml"
    broken.write_text(broken.read_text("utf-8").replace("{ask: berth}", "{ask: birth}"), encoding="utf-8")
    assert main(["map", "use", str(made / "mappings"), "--home", home]) == 1
    assert f"agencies/{CODE}/{DOCUMENT}.yaml:" in capsys.readouterr().err
    broken.write_text(broken.read_text("utf-8").replace("{ask: birth}", "{ask: berth}"), encoding="utf-8")
    assert file("AFTER-2")["outcome"] == "APPROVED"
    stage.check_alive()


def list_shipped_documents() -> list[str]:
    return sorted(file.stem for file in (ROOT / "mappings" / "agencies").rglob("*.yaml"))
