"""A notice names the kind of its application: the right one where the mappings know it, never another."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, find_document_mapping, load_bundle, read_delivered_notice
from gateway.share import get_data_folder
from tests.kit.paths import ROOT

PLACE = "/Response/Declaration/TypeCode"


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def read_stated(
    code: str, document: str, notice: str = "GOVCBRRBH", bundle: MappingBundle | None = None
) -> None:
    number = "<ID>A26000001001N</ID>"
    if notice == "CERTIFICATE":
        text = (
            f"<TypeCode>{notice}</TypeCode><Status><NameCode>R01</NameCode></Status>"
            f"<Declaration><TypeCode>{code}</TypeCode>{number}<Consignment><ConsignmentItem><Commodity><ID>1"
            "</ID></Commodity></ConsignmentItem></Consignment></Declaration><ID>S-1</ID>"
            "<IssueDateTime>20261120180000</IssueDateTime><Authenticator><Name>A</Name></Authenticator>"
        )
    else:
        text = (
            f"<TypeCode>{notice}</TypeCode><Declaration><TypeCode>{code}</TypeCode>{number}</Declaration>"
            "<ID>H-1</ID><IssueDateTime>20261120180000</IssueDateTime>"
            "<Status><NameCode>C01</NameCode></Status>"
        )
    space = f"urn:single-window:document:{notice.lower()}:1"
    root = etree.fromstring(f'<Response xmlns="{space}">{text}</Response>')
    found = bundle or shipped()
    read_delivered_notice(root, found, found.documents[document])


@pytest.mark.parametrize(
    ("code", "document", "notice"),
    [
        ("GOVCBRFR2", "KPTA-PHARM-IMP", "GOVCBRRBH"),
        ("GOVCBRBR1", "NPQS-PLA-IMP", "GOVCBRRBH"),
        ("NPQS-PLA-IMP", "NPQS-PLA-IMP", "CERTIFICATE"),
        ("GOVCBRCR2", "NFPQIS-FOOD-IMP", "GOVCBRRBH"),
        ("GOVCBRCR3", "NFPQIS-FOOD-IMP", "GOVCBRRBH"),
        ("GOVCBRXY1", "KFDA-FOOD-IMP", "GOVCBRRBH"),
        ("GOVCBRXY1", "KFDA-FOOD-IMP", "CERTIFICATE"),
        ("KFDA-FOOD-IMP", "KFDA-FOOD-IMP", "CERTIFICATE"),
    ],
)
def test_a_notice_names_the_document_of_its_application(code: str, document: str, notice: str) -> None:
    read_stated(code, document, notice)


@pytest.mark.parametrize(
    ("code", "document", "notice", "told"),
    [
        ("GOVCBRFR3", "KPTA-PHARM-IMP", "GOVCBRRBH", "KPTA-PHARM-IMP is GOVCBRFR2, and the notice is about"),
        ("GOVCBRFR2", "NPQS-PLA-IMP", "GOVCBRRBH", "NPQS-PLA-IMP is GOVCBRBR1, and the notice is about"),
        ("GOVCBRXY1", "NPQS-PLA-IMP", "GOVCBRRBH", "NPQS-PLA-IMP is GOVCBRBR1, and the notice is about"),
        ("GOVCBRBR1", "NFPQIS-QUA-IMP", "GOVCBRRBH", "is GOVCBRCR2 or GOVCBRCR3, and the notice is about"),
        ("GOVCBRFR2", "KFDA-FOOD-IMP", "GOVCBRRBH", "'GOVCBRFR2' is KPTA-PHARM-IMP, and the application is"),
        ("GOVCBRBR1", "KFDA-FOOD-IMP", "CERTIFICATE", "'GOVCBRBR1' is NPQS-PLA-IMP, and the application is"),
        ("NPQS-PLA-EXP", "NPQS-PLA-IMP", "CERTIFICATE", "NPQS-PLA-IMP is GOVCBRBR1, and the notice is about"),
        ("KFDA-HFF-IMP", "KFDA-FOOD-IMP", "CERTIFICATE", "'KFDA-HFF-IMP' is KFDA-HFF-IMP, and the applicati"),
        ("GOVCBRRBH", "KFDA-FOOD-IMP", "GOVCBRRBH", "'GOVCBRRBH' is GOVCBRRBH, and the application is one"),
        ("KFDA-FOOD", "KFDA-FOOD-IMP", "GOVCBRRBH", "'KFDA-FOOD' is no type code that a notice about KFDA"),
        ("govcbrxy1", "KFDA-FOOD-IMP", "GOVCBRRBH", "'govcbrxy1' is no type code that a notice about KFDA"),
    ],
)
def test_a_notice_that_names_another_document_is_refused_at_its_place(
    code: str, document: str, notice: str, told: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        read_stated(code, document, notice)
    assert (refused.value.problem.id, refused.value.location) == ("GW717", PLACE)
    assert refused.value.detail.startswith("GW603 ")
    assert told in refused.value.detail


def test_mappings_that_declare_no_form_of_unknown_codes_take_any_that_is_no_other_document() -> None:
    kinds = dict(shipped().notices.fact_types)
    kinds["document_type"] = replace(kinds["document_type"], pattern=None)
    older = replace(shipped(), notices=replace(shipped().notices, fact_types=kinds))
    read_stated("KFDA-FOOD", "KFDA-FOOD-IMP", bundle=older)
    with pytest.raises(GatewayError, match="is KPTA-PHARM-IMP"):
        read_stated("GOVCBRFR2", "KFDA-FOOD-IMP", bundle=older)


def test_a_document_is_found_by_a_code_that_is_its_own_alone() -> None:
    documents = shipped().documents
    named = {code: find_document_mapping(code, documents.values()) for code in ("GOVCBRBR1", "GOVCBRCR2")}
    assert named == {"GOVCBRBR1": documents["NPQS-PLA-IMP"], "GOVCBRCR2": None}


@pytest.mark.night
def test_a_document_with_a_type_code_in_its_requests_has_no_others(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mappings", tmp_path / "mappings")
    file = tmp_path / "mappings" / "agencies" / "KPTA" / "KPTA-TISSUE-IMP.yaml"
    text = file.read_text("utf-8")
    file.write_text(text.replace("reads:\n", "reads:\n  type_codes: [GOVCBRXY1]\n"), encoding="utf-8")
    with pytest.raises(GatewayError, match="none beside the TypeCode of the requests, found GOVCBRXY1"):
        load_bundle(tmp_path / "mappings")
