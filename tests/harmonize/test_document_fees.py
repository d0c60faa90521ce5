"""A document says when its fee is due; what it does not say is that there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.harmonize.proofs import check_bundle
from gateway.share import get_data_folder
from tests.harmonize import small_bundle

FEE = "status: modelled\nfee: {due: before_result, ko: 수수료, en: Fee}"


def test_a_document_without_fee_has_none(tmp_path: Path) -> None:
    assert small_bundle.mapping(tmp_path).documents["TINY"].fee.due == "none"


def test_a_fee_is_read_with_both_labels(tmp_path: Path) -> None:
    fee = small_bundle.mapping(tmp_path, document=("status: modelled", FEE)).documents["TINY"].fee
    assert (fee.due, fee.ko, fee.en) == ("before_result", "수수료", "Fee")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (FEE.replace("before_result", "someday"), "one of before_forwarding, before_result, found someday"),
        (FEE.replace("ko: 수수료, ", ""), "the key 'ko'"),
        (FEE.replace("en: Fee", "en: Fee, amount: 5"), "unknown key 'amount'"),
    ],
)
def test_a_wrong_fee_is_refused_with_its_line(tmp_path: Path, wrong: str, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        small_bundle.mapping(tmp_path, document=("status: modelled", wrong))
    assert refused.value.problem.id == "GW502"
    lines = (tmp_path / "agencies/ORG/TINY.yaml").read_text("utf-8").splitlines()
    assert lines[int(refused.value.location.rpartition(":")[2]) - 1].startswith("fee: ")
    assert words in str(refused.value)


@pytest.mark.night
def test_only_the_electrical_confirmation_is_paid_before_it_is_forwarded() -> None:
    documents = load_bundle(get_data_folder("mappings")).documents
    gated = [name for name, document in documents.items() if document.fee.due == "before_forwarding"]
    assert gated == ["KTL-ELEC-IMP"]


@pytest.mark.night
def test_the_report_of_the_proofs_names_the_fee() -> None:
    (note,) = [
        note
        for note in check_bundle(load_bundle(get_data_folder("mappings")), sample_count=0).notes
        if note.startswith("fee ")
    ]
    assert note.startswith("fee before_forwarding for KTL-ELEC-IMP: ")
    assert "Y17" in note
