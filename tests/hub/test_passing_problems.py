"""What passes (GW806) is no fault of a record: no code takes it for one and goes on without the record."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from gateway.agreements import Security
from gateway.cli import home_folder, hub_findings, registration
from gateway.cli.hub_findings import find_algorithm_warnings
from gateway.config import Settings
from gateway.delivery import fetch_attempt
from gateway.errors import EVIDENCE_BROKEN, MAPPING_WRONG, NO_ROOM, OCTETS_PURGED, GatewayError, Problem
from gateway.harmonize import MappingBundle
from gateway.hub import RecognitionPolicy, TrustedListCache, import_trusted_list
from gateway.hub.answers import case_progress, replayed_notices
from gateway.hub.register import bundle_file, decision_rules
from gateway.hub.trust import fetch_sources, trust_settings, trusted_lists
from gateway.operations import contract_changes, mapping_activation
from gateway.pki import DEFAULT_RULES
from gateway.share import get_data_folder
from gateway.store import (
    InsufficientStorageError,
    NewRevocationList,
    fetched_lists,
    read_transaction,
    write_transaction,
)
from tests.flows.test_algorithm_findings import agree
from tests.kit import house
from tests.kit.house import START, signer_named
from tests.kit.story import Story
from tests.recognition import sample_lists
from tests.recognition.sample_lists import NOW

PASSING = GatewayError(NO_ROOM, "memory is used up")


def fail(problem: Exception = PASSING) -> Callable[..., Any]:
    """Return a function that raises a problem, whatever it gets."""

    def raise_problem(*_: object, **__: object) -> None:
        raise problem

    return raise_problem


def passes() -> Any:
    return pytest.raises(GatewayError, match=r"^GW806")


def test_a_trusted_list_that_is_not_reached_does_not_count_for_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = sample_lists.own_list()
    policy = RecognitionPolicy(frozenset({sample_lists.country("Home").operator.certificate}))
    import_trusted_list(engine, own, NOW, policy)
    with monkeypatch.context() as patch, read_transaction(engine) as conn:
        patch.setattr(trusted_lists, "open_trusted_list", fail())
        with passes():
            TrustedListCache().load_lists(conn, policy)
        patch.setattr(trusted_lists, "open_trusted_list", fail(GatewayError(EVIDENCE_BROKEN)))
        assert TrustedListCache().load_lists(conn, policy).root is None
    with read_transaction(engine) as conn:
        assert TrustedListCache().load_lists(conn, policy).root is not None


def test_stored_revocation_data_that_is_not_read_for_want_of_memory_proves_no_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_sources, "RevocationData", fail())
    with passes():
        fetch_sources._read_stored_data(b"list", "crl", "ab", DEFAULT_RULES)


def test_a_certificate_that_is_not_read_for_want_of_memory_keeps_its_status(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt: Any = SimpleNamespace(
        make_acceptance_terms=lambda: SimpleNamespace(issuer=signer_named("hub").certificate),
        trust=SimpleNamespace(
            policy=SimpleNamespace(certificates=DEFAULT_RULES),
            intermediates=[signer_named("hub").certificate],
        ),
        hub=SimpleNamespace(engine=engine, clock=lambda: START),
    )
    monkeypatch.setattr(fetch_attempt, "read_certificate", fail())
    with passes():
        list(fetch_attempt._list_covered_certificates(attempt))


def test_a_replay_takes_the_codes_in_force_for_mappings_of_another_version_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replayed_notices, "mapping_bundles", SimpleNamespace(has_bundle=lambda *_: True))
    with read_transaction(engine) as conn:
        for problem in (NO_ROOM, EVIDENCE_BROKEN):
            monkeypatch.setattr(replayed_notices, "open_stored_mappings", fail(GatewayError(problem)))
            with pytest.raises(GatewayError, match=problem.id):
                replayed_notices._load_codes(conn, "ab", START)
        monkeypatch.setattr(replayed_notices, "open_stored_mappings", fail(GatewayError(MAPPING_WRONG)))
        assert "R01" in replayed_notices._load_codes(conn, "ab", START)


def test_mappings_that_are_not_read_for_want_of_memory_are_not_compared_as_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = get_data_folder("mappings")
    monkeypatch.setattr(mapping_activation, "load_bundle", fail())
    with passes():
        mapping_activation._load_readable_mappings(folder)
    monkeypatch.setattr(mapping_activation, "load_bundle", fail(GatewayError(MAPPING_WRONG)))
    assert mapping_activation._load_readable_mappings(folder).documents == {}


def test_stored_mappings_that_are_not_read_for_want_of_memory_are_not_given_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise their cases use the mappings in force until the process ends."""
    monkeypatch.setattr(decision_rules, "open_stored_mappings", lambda *_: get_data_folder("mappings"))
    with read_transaction(engine) as conn:
        monkeypatch.setattr(decision_rules, "load_rules", fail())
        with passes():
            decision_rules.load_stored_rules(conn, "ab" * 32)
        monkeypatch.setattr(decision_rules, "load_rules", fail(GatewayError(MAPPING_WRONG)))
        with pytest.raises(GatewayError, match="GW904"):
            decision_rules.load_stored_rules(conn, "ab" * 32)


def test_a_bundle_file_that_is_not_read_for_want_of_memory_is_not_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle_file, "parse_xml", fail())
    with passes():
        bundle_file.read_bundle_file(b"<a/>")
    monkeypatch.setattr(bundle_file.zipfile, "ZipFile", fail(zlib.error("Error -4 while decompressing")))
    with passes():
        bundle_file.unpack_mapping_archive(b"PK")


def test_a_path_that_is_not_found_for_want_of_memory_is_no_missing_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub: Any = SimpleNamespace(
        judge=SimpleNamespace(trust=None),
        clock=lambda: START,
        recognizer=SimpleNamespace(list_trust_stores=lambda *_: ()),
    )
    issuer = signer_named("hub").certificate
    monkeypatch.setattr(trust_settings, "check_issuer_path", fail())
    with passes():
        trust_settings.find_issuer_trust_store(hub, issuer)


def test_a_held_case_of_another_form_hinders_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The change of a parent, such as a decision, is one transaction with the waking of its children."""
    details = {
        1: None,
        2: ["odd"],
        3: {"held": ["odd"]},
        4: {"held": {"parent": 9}},
        5: {"held": {"parent": 8}},
    }
    held = [SimpleNamespace(id=number, detail=detail) for number, detail in details.items()]
    woken: list[int] = []
    monkeypatch.setattr(case_progress, "cases", SimpleNamespace(list_held=lambda *_: held))
    monkeypatch.setattr(case_progress, "enqueue_task", lambda *words: woken.append(words[3]))
    conn: Any = None
    case_progress.wake_held_children(conn, "broker1", {9}, "key", START)
    assert woken == [4]
    assert [record.case_id for record in caplog.records] == [1, 2, 3]


def test_a_partner_whose_messages_are_not_reached_is_not_taken_for_one_that_signs_as_agreed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine)
    story.submit()
    terms = Security(signature_algorithms=("urn:other",))
    known = agree(story.hub.refresh_snapshot(), terms)
    monkeypatch.setattr(hub_findings, "_list_message_algorithms", fail())
    with passes():
        find_algorithm_warnings(Settings(), story.hub, known)
    removed = fail(GatewayError(OCTETS_PURGED))
    monkeypatch.setattr(hub_findings, "_list_message_algorithms", removed)
    assert find_algorithm_warnings(Settings(), story.hub, known) == []


def test_loaded_revocation_lists_that_are_not_read_for_want_of_memory_are_not_left_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_transaction(engine) as conn:
        fetched_lists.insert_crl(conn, NewRevocationList("ab" * 32, "cd" * 32, NOW, None, b"list"), NOW)
    with monkeypatch.context() as patch, read_transaction(engine) as conn:
        patch.setattr(registration, "read_revocation_lists", fail())
        with passes():
            registration._read_lists_in_force(conn, "ab" * 32)
        with passes():
            registration._read_list_if_possible(b"list")
    with read_transaction(engine) as conn:
        assert registration._read_lists_in_force(conn, "ab" * 32) == []
    assert registration._read_list_if_possible(b"list") is None


@pytest.mark.parametrize("problem", [NO_ROOM, OCTETS_PURGED], ids=["not reached", "removed"])
def test_fetched_revocation_lists_that_are_not_reached_are_not_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: Problem
) -> None:
    row = SimpleNamespace(kind="crl", source="S", sha256="ab" * 32)
    monkeypatch.setattr(registration, "fetched_lists", SimpleNamespace(list_in_force=lambda _: [row]))
    octets = SimpleNamespace(get_payload_octets=fail(GatewayError(problem)))
    monkeypatch.setattr(registration, "payloads", octets)
    monkeypatch.setattr(registration, "read_configured_lists", lambda _: {})
    settings = Settings.model_validate({"hub": {"home": tmp_path}})
    conn: Any = None
    if problem is NO_ROOM:
        with passes():
            registration.read_lists_not_loaded(settings, conn)
    else:
        assert registration.read_lists_not_loaded(settings, conn) == {}


def test_a_database_that_is_lost_is_not_one_that_has_its_mark(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"hub": {"home": tmp_path}})
    monkeypatch.setattr(home_folder, "is_database_empty", fail(InsufficientStorageError("it is away")))
    with passes():
        home_folder.find_mark_warning(settings, engine, START)


@pytest.fixture
def taken_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return two calls that KFDA has taken by earlier schemas, each with another document."""
    documents = [name for name, one in house.bundle().documents.items() if one.organisation == "KFDA"][:2]
    requests = {
        number: SimpleNamespace(document=name, mapping_sha256=house.bundle().digest)
        for number, name in enumerate(sorted(documents))
    }
    calls = [
        SimpleNamespace(
            id=number,
            subject_type="request",
            subject_id=str(number),
            payload_sha256="ab" * 32,
            parameters={"operation": "SubmitApplication", contract_changes.SCHEMA_DIGEST: "cd" * 32},
        )
        for number in requests
    ]
    stored = SimpleNamespace(list_documents=lambda *_: requests)
    monkeypatch.setattr(contract_changes, "agency_requests", stored)
    monkeypatch.setattr(contract_changes, "deliveries", SimpleNamespace(list_last_delivered=lambda *_: calls))
    monkeypatch.setattr(contract_changes, "load_bundle", lambda _: house.bundle())
    partners = {"KFDA": SimpleNamespace(is_at_console=False)}
    monkeypatch.setattr(contract_changes, "build_partners", lambda _: partners)
    monkeypatch.setattr(contract_changes, "_find_wsdl_change", lambda *_: None)
    return calls


def find_changes(engine: Engine, tmp_path: Path) -> list[str]:
    with read_transaction(engine) as conn:
        return list(
            contract_changes.find_contract_changes(
                conn, Settings.model_validate({"hub": {"home": tmp_path}}), START
            )
        )


@pytest.mark.parametrize("problem", [OCTETS_PURGED, EVIDENCE_BROKEN], ids=["removed", "changed"])
@pytest.mark.parametrize("place", ["the WSDL", "a schema"])
def test_a_call_that_cannot_be_read_hides_no_other_change_of_its_partner(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken_calls: list[Any],
    place: str,
    problem: Problem,
) -> None:
    assert len(find_changes(engine, tmp_path)) == len(taken_calls) == 2
    if place == "the WSDL":
        monkeypatch.setattr(contract_changes, "_find_wsdl_change", fail(GatewayError(problem)))
    else:
        write = contract_changes._write_former_schema

        def break_first(conn: Connection, bundle: MappingBundle, request: Any) -> bytes | None:
            if request is contract_changes.agency_requests.list_documents(conn, [])[0]:
                raise GatewayError(problem)
            return write(conn, bundle, request)

        monkeypatch.setattr(contract_changes, "_write_former_schema", break_first)
    found = find_changes(engine, tmp_path)
    assert [f"delivery {call.id}," in "".join(found) for call in taken_calls] == [place == "the WSDL", True]


def test_a_call_that_is_not_reached_is_no_call_without_changes(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_calls: list[Any]
) -> None:
    for name in ("_find_wsdl_change", "_write_former_schema"):
        with monkeypatch.context() as patch, passes():
            patch.setattr(contract_changes, name, fail())
            find_changes(engine, tmp_path)
