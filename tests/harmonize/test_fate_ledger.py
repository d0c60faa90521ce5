"""The ledger: which fate wins, what a document claims, and that a lost leaf is seen."""

from __future__ import annotations

import pytest

from gateway.errors import RULE_BROKEN
from gateway.harmonize import MappingBundle
from gateway.harmonize.split import EvaluationTrace, Fate, FateColumn, index_submission
from gateway.harmonize.split.request_writer import build_fate_ledger
from gateway.wire import SourceMark
from tests.harmonize import small_bundle

HERE, THERE = SourceMark("a.yaml", 1), SourceMark("a.yaml", 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return small_bundle.mapping(tmp_path_factory.mktemp("ledger"))


def test_the_stronger_fate_stays_and_the_first_of_equals() -> None:
    trace = EvaluationTrace("D")
    trace.record_fate((1,), "withheld", HERE)
    trace.record_fate((1,), "withheld", THERE)
    assert (trace.fates[1].fate, trace.fates[1].rule) == ("withheld", HERE)
    trace.record_fate((1,), "consumed", THERE)
    trace.record_fate((1,), "withheld", HERE)
    assert (trace.fates[1].fate, trace.fates[1].rule) == ("consumed", THERE)
    trace.record_forwarding((1,), "A/B", HERE)
    trace.record_fate((1,), "consumed", THERE)
    trace.record_forwarding((1,), "A/C", THERE)
    column = FateColumn([None, None, Fate("withheld", HERE)])
    trace.write_fates(column)
    forwarded = Fate("forwarded", HERE, ("A/B", "A/C"))
    assert list(column.list_fates()) == [None, forwarded, Fate("withheld", HERE)]


def test_troubles_are_bounded_and_fail_their_application_only() -> None:
    trace = EvaluationTrace("D")
    for _ in range(600):
        trace.report_problem(RULE_BROKEN, "x", "p", "A1", HERE)
    assert (len(trace.diagnostics), trace.failed_applications) == (500, {"A1"})


def test_a_document_claims_what_its_lines_take(small: MappingBundle) -> None:
    claimed = small.documents["TINY"].source_leaves
    assert claimed >= {
        ("Declaration/IssueDateTime/DateTimeString", False),
        ("Declaration/InvoiceAmount", False),
        ("Declaration/InvoiceAmount/@currencyID", False),
        (f"SUP/{small_bundle.G}/Consignment/TransportContractDocument/ID", False),
        (f"SUP/{small_bundle.ITEM}/Manufacturer/Name", True),
        (f"{small_bundle.ITEM}/Commodity/Classification/ID", True),
        (f"{small_bundle.G}/Consignment/TransportEquipment/Seal/ID", False),
        (f"{small_bundle.ITEM}/SequenceNumeric", True),
    }
    assert len(claimed) == 12


def test_a_leaf_that_the_rules_forgot_is_unaccounted(small: MappingBundle) -> None:
    """An engine that does nothing loses every leaf that the document claims, and only those."""
    facts = index_submission(small_bundle.submission())
    document = small.documents["TINY"]
    lost = {
        leaf.value
        for leaf in build_fate_ledger(facts, [document], {"TINY": EvaluationTrace("TINY")}).unaccounted_leaves
    }
    assert lost >= {
        "한빛무역",
        "20261120093015Z",
        "100.50",
        "L-911",
        "BL-1",
        "Maker One",
        "090",
        "sharp",
        "CONT1",
    }
    assert not lost & {"Maker Two", "0601101000", "911", "304", "GN"}


def test_an_engine_that_forgets_one_value_is_found_out(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission())
    facts = result.submission_index
    forgotten = next(number for number, leaf in enumerate(facts.leaves) if leaf.value == "Maker One")
    trace = EvaluationTrace("TINY")
    trace.fates = {
        number: entry.fates[0]
        for number, entry in enumerate(result.ledger.entries)
        if number != forgotten and entry.fates[0] is not None
    }
    assert [
        leaf.value
        for leaf in build_fate_ledger(facts, [small.documents["TINY"]], {"TINY": trace}).unaccounted_leaves
    ] == ["Maker One"]


def test_rules_of_what_is_withheld(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission())
    document = small.documents["TINY"]
    rules = {e.leaf.value: e.fates[0].rule for e in result.ledger.entries if e.fates[0] is not None}
    assert document.item_repetition_mark is not None
    assert rules["0601101000"] == document.item_repetition_mark
    assert rules["Maker Two"] == document.item_repetition_mark
    assert rules["L-740"] == small.dictionary.meanings["item.licence"].mark
    assert rules["P2"] == small.dictionary.meanings["previous"].mark
    assert rules["R042"] == document.withholds_mark


def test_a_condition_that_does_not_hold_withholds_by_its_own_rule(
    small: MappingBundle, three_items: bytes
) -> None:
    fields = small_bundle.FIELDS.replace(">true<", ">false<")
    result = small_bundle.apply(small, small_bundle.submission(fields))
    (fate,) = [entry.fates[0] for entry in result.ledger.entries if entry.leaf.value == "sharp"]
    assert fate is not None
    line = small_bundle.FILES["agencies/ORG/TINY.yaml"].splitlines()[fate.rule.line - 1]
    assert (fate.fate, line.strip()) == ("withheld", "- Risk:")


def test_sequence_numbers_are_keys_for_every_document(small: MappingBundle) -> None:
    result = small_bundle.apply(small, small_bundle.submission())
    fates = {
        pointer: entry.fates[0]
        for entry, pointer in result.ledger.list_entry_pointers(result.submission_index.root)
    }
    assert [fates[f"42A/67A[1]/68A[{n}]/006"].fate for n in (1, 2)] == ["forwarded", "consumed"]  # type: ignore[union-attr]


def test_counts_are_pairs_of_leaf_and_document(small: MappingBundle) -> None:
    accounts = small_bundle.apply(small, small_bundle.submission()).ledger
    counts = accounts.count_fates()
    assert counts.pop("unaccounted") == 0
    assert sum(counts.values()) == len(accounts.entries)
    assert min(counts.values()) > 5
