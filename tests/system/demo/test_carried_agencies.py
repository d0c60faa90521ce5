"""The hub with agencies whose systems speak fixed records and JSON, all of them processes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.client import read_journal
from gateway.share import get_data_folder
from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.kit.forked_stage import ForkedStage
from tests.system.demo.test_partners_live import LABEL, submit

pytestmark = pytest.mark.night

CARRIERS = """carriers:
  KFDA: {form: fixed, charset: cp949, numbers: zeros, longest: 40, end: crlf}
  NPQS: {form: json, numbers: exact}
"""
#: What an agency that speaks fixed records is given: a document, and the notice by which it approves.
RECORDS = ("KFDA-FOOD-IMP", "CERTIFICATE")


def make_mappings(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path]:
    """Return a folder of mappings that names both forms, and a folder of printed layouts."""
    mappings, layouts = folder / "mappings", folder / "layouts"
    shutil.copytree(str(get_data_folder("mappings")), mappings)
    (mappings / "carriers.yaml").write_text(CARRIERS, encoding="utf-8")
    layouts.mkdir()
    words = ("--organisation", "KFDA", "--layout", "--path", str(mappings))
    for name in RECORDS:
        capsys.readouterr()
        assert main(["map", "render", "-", "--document", name, *words]) == 0
        (layouts / f"{name}.json").write_text(capsys.readouterr().out, encoding="utf-8")
    return mappings, layouts


def make_stage(home: Path, mappings: Path, layouts: Path) -> Stage:
    """Build a stage whose hub and agencies have the mappings; the template has a place for every form."""
    plans: dict[str, dict[str, Any]] = {
        "KFDA": {"behaviour": "later", "delay": 0.2},
        "KPTA": {},
        "NPQS": {"mischief": ["duplicate"]},
    }
    cast = read_cast()
    agencies = tuple(one | {"plan": plans[one["code"]]} for one in cast.agencies)
    cast = dataclasses.replace(cast, agencies=agencies)
    own = ("--mappings", str(mappings))
    options = {"KFDA": (*own, "--layouts", str(layouts)), "NPQS": own}
    made = ForkedStage(home, cast, options, frozenset({"broker"}))
    made.build()
    settings = home / "gateway.toml"
    text = settings.read_text(encoding="utf-8")
    for code in options:
        text = text.replace(f"[agency.{code}]\n", f'[agency.{code}]\nwsdl = "agency-template.wsdl"\n')
    settings.write_text(text, encoding="utf-8")
    assert main(["map", "use", str(mappings), "--home", str(home), "--config", str(settings)]) == 0
    return made


def test_agencies_in_records_and_in_json_approve_a_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mappings, layouts = make_mappings(tmp_path, capsys)
    home = tmp_path / "home"
    home.mkdir()
    made = make_stage(home, mappings, layouts)
    try:
        made.start()
        status, told, words = submit(made, "--attach", LABEL)
        assert (status, told["receipt_verified"]) == (0, True), words
        assert (told["result"]["outcome"], told["result"]["verified"]) == ("APPROVED", True)
        for code in ("KFDA", "NPQS"):
            log = made.get_partner_folder(code) / "log"
            assert [one["effect"] for one in read_journal(log / "effects.jsonl")] == ["SubmitApplication"]
            calls = list(read_journal(log / "calls.jsonl"))
            assert {(one["operation"], one["verified"]) for one in calls} == {("DeliverNotice", True)}
            assert list(read_journal(log / "refusals.jsonl")) == []
        made.check_alive()
    finally:
        made.close()
