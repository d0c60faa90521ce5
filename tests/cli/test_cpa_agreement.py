"""The verbs of agreements with CPA documents: lint, load, show."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.store import ListFilter, list_searches, parties, read_transaction, write_transaction
from gateway.wire import parse_xml, serialize_element
from tests.agreements.cpa.documents import list_real_files, mutate_agreement
from tests.agreements.cpa.written_cpa import BEGINS, write_cpa, write_envelope
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT

Run = Callable[..., tuple[int, str, str]]
NAME = "urn:example:cpa:1"
BUYER, SELLER = (f"urn:example:party-type|party-{one}" for one in "ab")


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def run(*words: Any, home: bool = True) -> tuple[int, str, str]:
        status = main([*map(str, words), *(["--home", str(tmp_path)] if home else [])])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def write(folder: Path, data: bytes, name: str = "a.xml") -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


@BOTH
def test_lint_tells_every_finding_of_a_file_alone(tmp_path: Path, run: Run) -> None:
    good = write(tmp_path, write_cpa())
    assert run("agreement", "lint", good, home=False) == (0, "nothing found\n", "")
    doubtful = write(tmp_path, write_cpa(("P1D</tp:PersistDuration>", "PT19M</tp:PersistDuration>")))
    status, out, err = run("agreement", "lint", doubtful, "--json", home=False)
    told = json.loads(out)
    assert (status, err, told["readable"], told["agreement"]) == (0, "", True, NAME)
    (found, _) = told["findings"]
    assert found["id"] == "persist-short"
    assert found["severity"] == "warning"
    assert found["xpath"].endswith("/tp:DocExchange[2]/tp:ebXMLReceiverBinding")
    assert found["message"] == "Order may be repeated for 1200 seconds, and is remembered for 1140"
    assert found["clause"] == "ebMS 2.0 §6.4.6"
    bad = write(tmp_path, write_cpa(('tp:value="agreed"', 'tp:value="proposed"')))
    assert run("agreement", "lint", bad, home=False)[0] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"<a",
        b"",
        b"\x00\x01",
        b"<?xml version='1.0'?><a/>",
        b"a: [",
        b"\xff\xfe<\x00",
        b"<!DOCTYPE a []><a/>",
    ],
)
def test_lint_of_what_is_no_agreement_finds_it_wanting(tmp_path: Path, run: Run, data: bytes) -> None:
    status, out, err = run("agreement", "lint", write(tmp_path, data), "--json", home=False)
    told = json.loads(out)
    assert (status, err, told["readable"], told["agreement"]) == (1, "", False, None)
    assert {"id", "severity", "xpath", "message", "clause"} <= set(told["findings"][0])


def test_lint_takes_yaml_and_refuses_misuse(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, AGREEMENT, "a.yaml")
    status, out, _ = run("agreement", "lint", file, "--json", home=False)
    assert (status, json.loads(out)["readable"]) == (0, True)
    order = AGREEMENT.replace(b"    retries: 3", b"    message_order: true\n    retries: 3")
    assert order != AGREEMENT
    status, out, _ = run("agreement", "lint", write(tmp_path, order, "b.yaml"), "--json", home=False)
    assert (status, {one["id"] for one in json.loads(out)["findings"]}) == (1, {"order-incomplete"})
    for wrong in (b"http://127.0.0.1:89010/", b"http://name:word@127.0.0.1/"):
        data = AGREEMENT.replace(b"http://127.0.0.1:8901/", wrong)
        assert data != AGREEMENT
        assert run("agreement", "lint", write(tmp_path, data, "c.yaml"), home=False)[0] != 0
    assert run("agreement", "lint", tmp_path / "none.xml", home=False)[0] == 2
    assert run("agreement", "lint", home=False)[0] == 2


@pytest.mark.night
def test_no_mutant_makes_lint_or_load_fail(tmp_path: Path, run: Run) -> None:
    rng, document = random.Random(5), parse_xml(write_cpa(nested=True))
    for _ in range(6):
        data = serialize_element(mutate_agreement(rng, document)[0])
        file = write(tmp_path, data)
        assert run("agreement", "lint", file, "--json", home=False)[0] in (0, 1)
        assert run("agreement", "load", file, "--accept-warnings")[0] in (0, 1)


def test_a_bad_cpa_changes_nothing_and_its_place_is_told(tmp_path: Path, run: Run, engine: Engine) -> None:
    file = write(tmp_path, write_cpa(("<tp:Retries>3", "<tp:Retries>many")))
    status, out, err = run("agreement", "load", file, "--accept-warnings")
    assert (status, out) == (1, "")
    assert "error schema: 'many' is not allowed; expected is a whole number (a.xml:" in err
    assert "/tp:ReliableMessaging/tp:Retries)" in err
    assert "GW313 not loaded: 4 errors at a.xml" in err
    with read_transaction(engine) as conn:
        assert list_searches.search_agreements(conn, ListFilter()).rows == []
        assert parties.list_parties(conn) == []


@pytest.mark.night
def test_a_cpa_is_loaded_into_an_empty_home_and_shown(tmp_path: Path, run: Run, engine: Engine) -> None:
    file = write(tmp_path, write_cpa())
    status, out, err = run("agreement", "load", file)
    assert (status, out) == (1, "")
    assert "warning hub-missing: neither party is this hub" in err
    assert "GW314" in err
    status, out, err = run("agreement", "load", file, "--accept-warnings")
    assert (status, err) == (0, "")
    assert out.endswith(f"Agreement {NAME} is loaded with 2 P-Modes: a-send, b-send.\n")
    status, out, _ = run("agreement", "show", NAME, "--json")
    told = json.loads(out)
    assert (status, told["kind"], told["state"]) == (0, "cpa", "in force")
    assert [one["id"] for one in told["pmodes"]] == ["a-send", "b-send"]
    assert told["pmodes"][0]["transport"]["security_version"] == "1.2"
    assert {use for one in told["certificates"] for use in one["uses"]} == {
        *("signing", "anchor", "client", "server"),
    }
    assert run("agreement", "show", NAME)[0] == 0
    with read_transaction(engine) as conn:
        assert parties.list_parties(conn) == []


def test_the_side_of_the_hub_is_named_and_the_partner_is_registered_without_a_bad_certificate(
    tmp_path: Path, run: Run, engine: Engine
) -> None:
    file = write(tmp_path, write_cpa())
    status, out, _ = run("agreement", "load", file, "--as", BUYER, "--accept-warnings", "--json")
    told = json.loads(out)
    assert (status, told["loaded"]) == (0, True)
    refused = [one for one in told["findings"] if one["id"] == "certificate-unverified"]
    assert {one["severity"] for one in refused} == {"warning"}
    assert "certificate b-cert is not registered for signing" in refused[0]["message"]
    with read_transaction(engine) as conn:
        assert {row.id for row in parties.list_parties(conn)} == {"hub", "party-b"}
        assert [one.value for one in parties.list_identifiers(conn, "hub")] == ["party-a"]
        assert [one.value for one in parties.list_identifiers(conn, "party-b")] == ["party-b"]
        assert parties.list_certificates(conn, "party-b") == []


@pytest.mark.parametrize("partner_name", ["party-b", "Hub"])
def test_a_new_partner_is_never_registered_as_another_party(
    tmp_path: Path, run: Run, engine: Engine, partner_name: str
) -> None:
    """The name of the CPA and that of its identifier are taken, and so is the first one with a number."""
    changes = (
        ('tp:partyName="party-b"', f'tp:partyName="{partner_name}"'),
        (">party-b</tp:PartyId>", ">hub</tp:PartyId>"),
    )
    with write_transaction(engine) as conn:
        for name in ("party-b", "hub-2", "hub-3"):
            parties.register_party(conn, name, name, "applicant", BEGINS, [])
    file = write(tmp_path, write_cpa(*changes))
    status, _, err = run("agreement", "load", file, "--as", BUYER, "--accept-warnings")
    assert status == 0, err
    with read_transaction(engine) as conn:
        owners = {
            row.id: [identifier.value for identifier in parties.list_identifiers(conn, row.id)]
            for row in parties.list_parties(conn)
        }
    assert owners == {"hub": ["party-a"], "party-b": [], "hub-2": [], "hub-3": [], "hub-4": ["hub"]}


@pytest.mark.night
def test_the_side_of_the_hub_is_a_party_of_the_document(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, write_cpa())
    for wrong in ("urn:example:party-type|party-c", "", "urn:other|party-a"):
        status, out, err = run("agreement", "load", file, "--as", wrong, "--accept-warnings")
        assert (status, out) == (2, "")
        assert "is of no one party; the parties of the CPA are " in err
        assert BUYER in err
        assert SELLER in err
    assert run("agreement", "load", file, "--as", BUYER, "--accept-warnings")[0] == 0
    status, _, err = run("agreement", "load", file, "--as", SELLER, "--accept-warnings")
    assert (status, "is of the partner: this hub is the other party" in err) == (2, True)
    assert run("agreement", "load", file, "--as", "party-a", "--accept-warnings")[0] == 0


@pytest.mark.night
def test_a_receiver_that_forgets_before_the_last_repeat_is_no_override(tmp_path: Path, run: Run) -> None:
    assert run("agreement", "load", write(tmp_path, write_cpa()), "--as", BUYER, "--accept-warnings")[0] == 0
    kept = show_pmodes(run, NAME)[0]["reliability"]["persist_duration"]
    status, _, err = run("agreement", "override", NAME, "--retry-interval", kept, "--reason", "r")
    assert status == 2
    assert f"repeated for {4 * kept} seconds, and their receiver remembers them for {kept}" in err
    assert run("agreement", "override", NAME, "--retry-interval", kept // 4, "--reason", "r")[0] == 0
    assert show_pmodes(run, NAME)[0]["reliability"]["persist_duration"] == kept


@pytest.mark.vectors
def test_the_real_agreements_are_loaded_and_shown(tmp_path: Path, run: Run, vectors: Path) -> None:
    for file in list_real_files(vectors)[::5]:
        status, out, err = run("agreement", "load", file, "--accept-warnings", "--json")
        assert (status, err) == (0, ""), file.name
        name = json.loads(out)["agreement"]
        status, out, _ = run("agreement", "show", name, "--json")
        assert (status, len(json.loads(out)["pmodes"]) > 0) == (0, True)


def test_only_signed_agreements_are_loaded_where_the_settings_want_it(tmp_path: Path, run: Run) -> None:
    settings = (tmp_path / "gateway.toml").read_text()
    (tmp_path / "gateway.toml").write_text(settings.replace("[hub]", "[hub]\nsigned_agreements = true"))
    status, _, err = run("agreement", "load", write(tmp_path, write_cpa()), "--accept-warnings")
    assert status == 1
    assert "error signature-missing: hub.signed_agreements is set" in err


def show_pmodes(run: Run, name: str) -> Any:
    status, out, _ = run("agreement", "show", name, "--json")
    assert status == 0
    return json.loads(out)["pmodes"]


@pytest.mark.night
def test_what_was_exported_shows_equal_pmodes_in_another_home(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["migrate", "--home", str(other), "--new"]) == 0
    file, copy, original = write(tmp_path, write_cpa(nested=True)), tmp_path / "b.xml", tmp_path / "c.xml"
    status, out, err = run("agreement", "load", file, "--accept-warnings")
    assert (status, err) == (0, "")
    shown = show_pmodes(run, NAME)
    status, out, _ = run("agreement", "export", NAME, "--out", copy)
    assert (status, out) == (0, f"Agreement {NAME} is written to {copy}.\n")
    assert main(["agreement", "load", str(copy), "--home", str(other), "--accept-warnings"]) == 0
    capsys.readouterr()
    assert main(["agreement", "show", NAME, "--home", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pmodes"] == shown
    assert run("agreement", "export", NAME, "--out", original, "--original")[0] == 0
    assert original.read_bytes() == file.read_bytes()
    assert run("agreement", "export", "none", "--out", copy)[0] == 1


@pytest.mark.night
def test_two_agreements_are_compared_in_words(tmp_path: Path, run: Run) -> None:
    old = write(tmp_path, write_cpa(), "old.xml")
    new = write(tmp_path, write_cpa(("<tp:Retries>3", "<tp:Retries>5")), "new.xml")
    status, out, _ = run("agreement", "diff", old, new, home=False)
    words = ["retries of Order: 3 becomes 5", "retries of OrderResponse: 3 becomes 5"]
    assert (status, out.splitlines()) == (0, words)
    assert run("agreement", "diff", old, old, home=False)[1] == "nothing differs\n"
    assert run("agreement", "load", old, "--accept-warnings")[0] == 0
    status, out, _ = run("agreement", "diff", NAME, new, "--json")
    assert json.loads(out)["differences"][0]["sentence"] == "retries of Order: 3 becomes 5"
    assert run("agreement", "diff", "nothing", new, home=False)[0] == 2
    assert run("agreement", "diff", "nothing", new)[0] == 1


@pytest.mark.night
def test_an_override_is_kept_beside_the_document(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, write_cpa())
    assert run("agreement", "load", file, "--as", BUYER, "--accept-warnings")[0] == 0
    words = ("--endpoint", "https://new.example/msh", "--retries", 9, "--reason", "moved", "--by", "Kim")
    status, out, err = run("agreement", "override", NAME, *words)
    assert (status, err) == (0, "")
    assert out == f"Agreement {NAME} is in force with endpoint https://new.example/msh, retries 9.\n"
    order, answer = show_pmodes(run, NAME)
    assert (order["endpoint"], answer["reply_endpoint"]) == ("https://new.example/msh",) * 2
    assert order["reply_endpoint"] == "https://a.example/msh"
    assert order["reliability"]["retries"] == answer["reliability"]["retries"] == 9
    shown = json.loads(run("agreement", "show", NAME, "--json")[1])["overrides"]
    assert [(one["term"], one["by"], one["reason"]) for one in shown] == [
        ("endpoint", "Kim", "moved"),
        ("retries", "Kim", "moved"),
    ]
    assert "override: retries 9, by Kim at " in run("agreement", "show", NAME)[1]
    assert run("agreement", "load", file, "--accept-warnings")[0] == 0
    assert show_pmodes(run, NAME)[0]["reliability"]["retries"] == 9
    assert run("agreement", "override", NAME, "--remove", "endpoint", "--reason", "back")[0] == 0
    one = ("--retries", 1, "--pmode", "a-send", "--reason", "slow")
    assert run("agreement", "override", NAME, *one)[0] == 0
    order, answer = show_pmodes(run, NAME)
    assert (order["endpoint"], order["reliability"]["retries"]) == ("https://b.example/msh", 1)
    assert answer["reliability"]["retries"] == 9
    original = tmp_path / "original.xml"
    assert run("agreement", "export", NAME, "--out", original, "--original")[0] == 0
    assert original.read_bytes() == file.read_bytes()


@pytest.mark.night
def test_an_override_of_a_pmode_counts_before_and_is_removed_alone(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path, write_cpa())
    assert run("agreement", "load", file, "--as", BUYER, "--accept-warnings")[0] == 0

    def override(*words: Any) -> list[int]:
        assert run("agreement", "override", NAME, *words, "--reason", "r")[0] == 0
        return [one["reliability"]["retries"] for one in show_pmodes(run, NAME)]

    assert override("--retries", 1, "--pmode", "a-send") == [1, 3]
    assert override("--retries", 2) == [1, 2]
    assert override("--remove", "retries") == [1, 3]
    assert override("--retries", 2) == [1, 2]
    assert override("--remove", "retries", "--pmode", "a-send") == [2, 2]


@pytest.mark.night
def test_the_policy_of_encryption_is_an_override(tmp_path: Path, run: Run) -> None:
    """A CPA names algorithms; whether older ones are read is said by this hub."""
    confidential = ('tp:isConfidential="none"', 'tp:isConfidential="persistent"')
    gcm = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
    sides = [
        (f"<!--{me}-{way}-->", write_envelope(side, gcm).replace("b-cert", f"{me}-cert"))
        for me in "ab"
        for way, side in (("decrypt", "Receiver"), ("encrypt", "Sender"))
    ]
    file = write(tmp_path, write_cpa(confidential, *sides))
    assert run("agreement", "load", file, "--as", BUYER, "--accept-warnings")[0] == 0
    assert {one["encryption"]["policy"] for one in show_pmodes(run, NAME)} == {"strict"}
    words = ("--encryption-policy", "legacy-cbc", "--reason", "an old product")
    assert run("agreement", "override", NAME, *words)[0] == 0
    assert {one["encryption"]["policy"] for one in show_pmodes(run, NAME)} == {"legacy-cbc"}
    assert run("agreement", "override", NAME, "--encryption-policy", "loose", "--reason", "r")[0] == 2


@pytest.mark.night
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--retries", "1"),
        ("--endpoint", "ftp://x", "--reason", "r"),
        ("--endpoint", "https://x.example:99999/msh", "--reason", "r"),
        ("--endpoint", "https://name:word@x.example/msh", "--reason", "r"),
        ("--endpoint", "https://x.example/", "--party", "urn:nobody", "--reason", "r"),
        ("--retries", "1", "--pmode", "none", "--reason", "r"),
        ("--retries", "1", "--reason", ""),
        ("--retries", "9999", "--reason", "r"),
        ("--retries", "1", "--remove", "retries", "--reason", "r"),
        ("--remove", "retries", "--reason", "r"),
        ("--reason", "r"),
    ],
)
def test_a_wrong_override_changes_nothing(tmp_path: Path, run: Run, words: tuple[str, ...]) -> None:
    assert run("agreement", "load", write(tmp_path, write_cpa()), "--as", BUYER, "--accept-warnings")[0] == 0
    before = show_pmodes(run, NAME)
    assert run("agreement", "override", NAME, *words)[0] == 2
    assert show_pmodes(run, NAME) == before
