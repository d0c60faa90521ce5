"""Every verb that changes something leaves exactly one row of audit; no other verb leaves any."""

from __future__ import annotations

import ast
import io
import json
import os
import pwd
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, insert

from gateway.cases import AgencyAcknowledgment, NamedFee, Notice, read_money
from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.cli.audited_changes import change_database
from gateway.cli.home_folder import read_home_settings
from gateway.cli.verb_groups import Arguments, load_verb
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub.intake.message_order import OrderedArrival, release_or_hold_message
from gateway.message_model import SequenceNumber
from gateway.store import (
    NewDelivery,
    SequenceKey,
    deliveries,
    event_readers,
    fetched_lists,
    make_engine,
    parties,
    read_transaction,
    working_nodes,
    write_transaction,
)
from gateway.store.submission_drafts import submission_drafts
from tests.cli.test_pki_list import AT, DESCRIPTION, party, zed_list
from tests.flows.craft import withdrawal
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT
from tests.kit.paths import ROOT
from tests.kit.rows import stored
from tests.kit.source_tree import walk_source
from tests.kit.story import AGENCIES, Story
from tests.kit.strict_agency import agree, older_template, own_wsdl
from tests.recognition.sample_lists import NOW, country

VERBS = list_verbs()

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
#: Changes of what, and not of whom we believe; a list and the mappings have evidence of their own.
NO_TRUST = {
    *(
        "agency console",
        "calendar load",
        "case unask",
        "drain",
        "evidence seal",
        "fees waive",
        "fees settle",
        "migrate",
        "map use",
        "pki list import",
        "pki source refresh",
        "restore confirm",
        "restore payloads",
        "retention purge",
    ),
    "rules load",
    "webhook renew",
}
SETTINGS = """
[hub]
home = "."
[http]
public_url = "http://hub.invalid"
[agency.KR-A]
endpoint = "http://127.0.0.1:9/"
[agency.KR-A.pki]
signing_key = { file = "pki/hub.key.pem" }
signing_certificate = "pki/hub.cert.pem"
[recognition]
signers = ["home-operator.pem"]
[fetch.root]
kind = "crl"
url = "http://127.0.0.1:9/crl"
issuer = "zed.pem"
"""


class Desk:
    """A home, whose verbs are run one after another, with what each of them left in the audit."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.capsys = capsys
        self.engine = make_engine(read_home_settings(home).database.url)
        self.ran: set[str] = set()

    def rows(self) -> list[Row[Any]]:
        with read_transaction(self.engine) as conn:
            return list(reversed(list_actions(conn, limit=1000)))

    def act(self, verb: str, *words: object, home: bool = True) -> dict[str, Any]:
        """Run a verb that changes something, check its row, and return its object."""
        before = self.rows() if self.ran else []
        where = ["--home", str(self.home)] if home else []
        typed = [*verb.split(), *map(str, words), *where, "--by", "Kim", "--json"]
        assert main(typed) in (0, 1 if verb == "pki source refresh" else 0), self.capsys.readouterr()
        told: dict[str, Any] = json.loads(self.capsys.readouterr().out.splitlines()[0])
        (row,) = self.rows()[len(before) :]
        assert (row.actor, row.account, row.action, row.outcome) == ("Kim", ACCOUNT, verb, "done")
        assert row.before is not None or row.after is not None
        assert row.before != row.after, "nothing is changed"
        if verb != "pki source refresh":  # it prints a row for each fetch
            assert (told["verb"], told["done"][0].isupper(), told["done"][-1]) == (verb, True, ".")
        self.check_evidence(row)
        self.ran.add(verb)
        return told

    def check_evidence(self, row: Row[Any]) -> None:
        with read_transaction(self.engine) as conn:
            leaves = list_subject_leaves(conn, "register", row.object)
        told = [json.loads(leaf.data) for leaf in leaves]
        trusted = row.action not in NO_TRUST and not row.action.startswith(
            ("queue ", "delivery ", "order ", "message ")
        )
        assert [one["after"] for one in told if one["audit"] == row.id] == [row.after] * trusted


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "gateway.toml").write_text(SETTINGS)
    for name in ("home", "zed", "yan"):
        party(home, f"{name}-operator", country(name.title()).operator)
        party(home, f"{name}-party", country(name.title()).party)
        (home / f"{name}.pem").write_bytes(country(name.title()).authority.certificate.pem)
    (home / "ours.toml").write_text(DESCRIPTION, encoding="utf-8")
    (home / "zed.xml").write_bytes(zed_list())
    return home


@pytest.mark.long
def test_every_changing_verb_leaves_one_row(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(home, capsys)
    desk.act("migrate", "--new")
    _change_files(desk)
    _change_partners(desk)
    _change_trust(desk)
    _change_queue(desk)
    _change_order(desk)
    _change_accounts(desk, monkeypatch)
    mappings = desk.home / "mappings"
    assert main(["map", "export", str(mappings), "--home", str(desk.home)]) == 0
    capsys.readouterr()
    desk.act("map use", mappings)
    table = desk.home / "border.csv"
    table.write_text(
        "# table: border\n# edition: 1\n# valid_from: 2027-01-01\nhs,direction,law\n03,import,05\n"
    )
    desk.act("rules load", table)
    desk.act("evidence seal", "--now")
    desk.act("calendar load", _write_calendar(desk.home))
    _unask_agency(desk)
    _admit_resting_message(desk)
    _compose_refused_call(desk)
    stated = ("2026-118", "--agency", "KFDA")
    desk.act("requirement add", *stated, "--quantity", "1500", "--unit", "KGM")
    desk.act("requirement revoke", *stated)
    desk.act("conformance invite", "--out", home / "suite")
    desk.act("restore confirm", "--without-proof", "--reason", "the disk is lost")
    (desk.home / "payloads" / "database-mark").unlink()
    desk.act("restore payloads", "--reason", "the mark was not in the backup")
    _purge_draft(desk)
    assert desk.ran == {words for words in VERBS if any(one.name == "by" for one in load_verb(words).params)}
    _check_no_secret(desk)
    desk.engine.dispose()


def _write_calendar(folder: Path) -> Path:
    """Write a shipped calendar under a name of its own; return its place."""
    shipped = (ROOT / "mappings/calendars/kr-public-offices-2026.csv").read_text("utf-8")
    place = folder / "calendar.csv"
    place.write_text(shipped.replace("kr-public-offices", "own-offices"), "utf-8")
    return place


def _make_other_home(desk: Desk, name: str) -> Desk:
    home = desk.home.parent / name
    home.mkdir()
    (home / "gateway.toml").write_text('[hub]\nhome = "."\n')
    other = Desk(home, desk.capsys)
    other.act("migrate", "--new")
    return other


def _admit_resting_message(desk: Desk) -> None:
    """Open the case of a submission that an agreement has left in the mailbox."""
    other = _make_other_home(desk, "resting")
    story = Story(other.engine, agreement=AGREEMENT.replace(b", deliver_to: case", b""))
    story.submit()
    story.tick()
    agreement = "urn:example:agreement:broker1-hub:2026"
    other.act("agreement override", agreement, "--deliver-to", "case", "--reason", "their file lacks it")
    other.act("message admit", 1, "--reason", "it rested")
    other.engine.dispose()
    desk.ran |= other.ran


def _compose_refused_call(desk: Desk) -> None:
    """Compose the call anew that an agency has refused, by the WSDL that it has."""
    other = _make_other_home(desk, "composing")
    story = Story(other.engine)
    agree(story, "agency-template.wsdl")
    story.say("KPTA", GatewayError(REFUSED_FOR_GOOD, "the attribute 'items' is not allowed"))
    story.submit()
    story.tick()
    own = own_wsdl(other.home, older_template())
    with (other.home / "gateway.toml").open("a") as settings:
        settings.write(
            '[share]\nfolders = ["."]\n[agency.KPTA]\nendpoint = "http://partner.example/KPTA"\n'
            f'wsdl = "{own.relative_path}"\nwsdl_sha256 = "{own.sha256}"\n'
        )
    other.act("delivery compose", story.delivery(destination="KPTA").id, "--reason", "they have that of May")
    other.engine.dispose()
    desk.ran |= other.ran


def _unask_agency(desk: Desk) -> None:
    """End two fees, and a question that an agency does not answer, in a home with a case."""
    other = _make_other_home(desk, "asking")
    story = Story(other.engine)
    story.submit()
    story.tick()
    for number in ("Y-1", "Y-2"):
        story.hear("KFDA", Notice(number, story.clock(), "Y05", fee=NamedFee(read_money("3", "KRW"))))
    fee = f"{story.number_of('KFDA')}-F0"
    other.act("fees waive", f"{fee}1", "--reason", "levied twice")
    other.act("fees settle", f"{fee}2", "--reason", "paid at the counter")
    story.decide_all()
    for agency in AGENCIES:
        story.say(agency, AgencyAcknowledgment("again"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    other.act("case unask", story.number_of("KFDA"), "--reason", "no answer since Monday")
    other.engine.dispose()
    desk.ran |= other.ran


def _purge_draft(desk: Desk) -> None:
    """Remove a draft of long ago, as the settings then allow."""
    settings = desk.home / "gateway.toml"
    settings.write_text(settings.read_text() + '\n[retention]\ndrafts = "1d"\n')
    long_ago = NOW - timedelta(days=3650)
    with write_transaction(desk.engine) as conn:
        values = {"party": "hub", "reference": "R", "documents": "[]", "content": "{}", "version": 1}
        values |= {"created_at": long_ago, "changed_at": long_ago, "created_by": "a", "changed_by": "a"}
        conn.execute(insert(submission_drafts).values(**values))
    desk.act("retention purge")


def _change_files(desk: Desk) -> None:
    pki = desk.home / "pki"
    made = ("--party", "hub", "--party", "broker1", "--party", "importer1")
    assert main(["pki", "demo", "--out", str(desk.home.parent / "other")]) == 0
    desk.capsys.readouterr()
    desk.act("pki demo", "--out", pki, *made, "--bridges", home=False)
    files = [str(desk.home / f"firm.{end}.pem") for end in ("key", "csr", "cert")]
    assert main(["pki", "request", "CN=Firm", "--key", files[0], "--out", files[1]]) == 0
    desk.capsys.readouterr()
    desk.act("pki issue", files[1], "--ca", pki, "--out", files[2], home=False)
    other = desk.home.parent / "other" / "ca.pem"
    to = ("--ca", pki, "--policy", "1.2.3=1.2.4", "--out", desk.home / "bridge.pem")
    desk.act("pki cross", other, *to, home=False)
    desk.act("pki revoke", pki / "importer1.cert.pem", "--ca", pki, home=False)


def _change_partners(desk: Desk) -> None:
    pki, kind = desk.home / "pki", "urn:example:party-type"
    desk.act(
        "party add", "hub", "--role", "hub", "--id", f"{kind}|hub", "--certificate", pki / "hub.cert.pem"
    )
    desk.act("party add", "broker1", "--id", f"{kind}|broker1", "--certificate", pki / "broker1.cert.pem")
    desk.act("party add", "importer1")
    way = (f"{kind}|far", "importer1", "http://far.example/msh", "--from", "broker1")
    route = desk.act("route add", *way)["route"]
    desk.act("route remove", route)
    desk.act("party suspend", "broker1")
    desk.act("party resume", "broker1")
    mandate = desk.act("party mandate add", "broker1", "importer1")["mandate"]
    desk.act("party mandate revoke", mandate)
    told = desk.act("party certificate add", "broker1", desk.home / "firm.cert.pem")
    desk.act("party certificate end", told["certificate"])
    desk.act("party certificate retire", told["certificate"])
    desk.act("agreement load", ROOT / "conformance" / "agreements" / "example.yaml", "--accept-warnings")
    name = "urn:example:agreement:broker1-hub:2026"
    desk.act("agreement override", name, "--retries", 5, "--reason", "a slow line")
    desk.act("agreement suspend", name)


def _change_trust(desk: Desk) -> None:
    signed = desk.home / "ours.xml"
    key = ("--key", desk.home / "home-operator.key", "--certificate", desk.home / "home-operator.pem")
    words = ("pki", "list", "make", desk.home / "ours.toml", "--out", signed, "--at", NOW.isoformat(), *key)
    assert main([str(word) for word in words]) == 0
    desk.capsys.readouterr()
    desk.act("pki list import", signed, "--at", AT)
    desk.act("pki crl", desk.home / "pki" / "crl.pem")
    desk.act("pki source refresh", "root")
    with write_transaction(desk.engine) as conn:
        fetched_lists.ensure_source(conn, "root", "crl", "http://127.0.0.1:9/crl")
    desk.act("pki source forget", "root")


def _change_queue(desk: Desk) -> None:
    new = NewDelivery(
        agent="msh", destination="broker1", subject_type="message", subject_id="1", dedupe_key="1"
    )
    with write_transaction(desk.engine) as conn:
        first = deliveries.enqueue_delivery(conn, new, NOW)
        second = deliveries.enqueue_delivery(conn, replace(new, dedupe_key="2"), NOW)
    desk.act("agency console", "KR-A", "--reason", "a fire")
    desk.act("agency console", "KR-A", "--back", "--reason", "it is back")
    desk.act("queue hold", first, second)
    desk.act("queue release", first)
    desk.act("queue try", first)
    with write_transaction(desk.engine) as conn:
        conn.exec_driver_sql(f"UPDATE deliveries SET state = 'FAILED' WHERE id = {first}")
    desk.act("queue requeue", first)
    desk.act("queue cancel", second)
    with write_transaction(desk.engine) as conn:
        working_nodes.note_node(conn, "hub1", "1", "1", NOW)
    desk.act("drain", "hub1", "--wait", 0)
    with write_transaction(desk.engine) as conn:
        event_readers.insert_webhook(conn, "hook1", "broker1", "https://hooks.example/events", NOW)
    told = desk.act("webhook renew", "--reason", "the key is lost")
    assert [row["webhook"] for row in told["webhooks"]] == ["hook1"]


def _change_order(desk: Desk) -> None:
    key, later = SequenceKey("in", "broker", "urn:cpa", "talk"), NOW + timedelta(days=9)
    with write_transaction(desk.engine) as conn:
        for number in (2, 4):
            held = OrderedArrival(stored(conn), SequenceNumber(number), later, True, 9)
            release_or_hold_message(conn, key, held, NOW)
    desk.act("order release", 1, "--reason", "1 is lost")
    desk.act("order reset", 1, "--reason", "3 is lost")


def _change_accounts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("--organisation", "agency/KPTA")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    desk.act("account add", "kim", *where, "--role", "officer")
    desk.act("account role", "kim", *where, "--role", "approver", "--role", "head")
    monkeypatch.setattr("sys.stdin", io.StringIO("another long sentence\n"))
    desk.act("account password", "kim")
    desk.act("account oidc", "kim", "--issuer", "https://id.example", "--subject", "17")
    desk.act("account certificate", "kim", desk.home / "firm.cert.pem")
    desk.act("account suspend", "kim")
    desk.act("account resume", "kim")


def _check_no_secret(desk: Desk) -> None:
    told = "".join(f"{row.before}{row.after}" for row in desk.rows())
    assert "PRIVATE KEY" not in told
    assert "argon2" not in told
    for file in desk.home.rglob("*.key.pem"):
        assert file.read_text().splitlines()[1] not in told, file


@pytest.fixture
def own(tmp_path: Path, engine: Engine) -> Path:
    """Return a home on either database."""
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
    return tmp_path


@pytest.mark.long
@BOTH
def test_an_act_says_in_one_sentence_what_it_did(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed for people is the sentence that JSON has, and nothing else."""
    told = []
    for words in (
        ("add", "firm"),
        ("add", "other"),
        ("mandate", "add", "firm", "other"),
        ("suspend", "firm"),
    ):
        assert main(["party", *words, "--home", str(own)]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == "Registered party firm as applicant.\n"
    assert told[2].startswith("Mandate 1: firm may file for other from ")
    sentence = "its messages are refused, its people and its software are signed out"
    assert told[3] == f"Party firm is suspended: {sentence}.\n"
    assert main(["party", "mandate", "revoke", "1", "--home", str(own)]) == 0
    assert capsys.readouterr().out == "Mandate 1 is revoked: firm may no longer file for other.\n"


def _list_audit(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["audit", "list", "--json", "--home", str(home), *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.long
def test_the_audit_is_listed_and_shown(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("add", "firm"), ("suspend", "firm", "--by", "Lee"), ("add", "other")):
        assert main(["party", *words, "--home", str(own)]) == 0
    capsys.readouterr()
    found = _list_audit(own, capsys)
    assert [(row["verb"], row["object"], row["by"]) for row in found] == [
        ("party add", "party other", ACCOUNT),
        ("party suspend", "party firm", "Lee"),
        ("party add", "party firm", ACCOUNT),
    ]
    for number, words in (
        (1, ("--who", "Lee")),
        (3, ("--who", ACCOUNT)),
        (2, ("--verb", "party add")),
        (3, ("--verb", "party")),
        (0, ("--verb", "part")),
        (2, ("--what", "firm")),
        (0, ("--what", "%")),
        (3, ("--since", "2020-01-01")),
        (0, ("--since", "2999-01-01")),
    ):
        assert len(_list_audit(own, capsys, *words)) == number, words
    assert main(["audit", "show", str(found[1]["id"]), "--json", "--home", str(own)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["before"]["status"], told["after"]["status"]) == ("ACTIVE", "SUSPENDED")
    assert main(["audit", "show", "99", "--home", str(own)]) == 1


def test_a_verb_that_forgets_its_record_changes_nothing(own: Path, engine: Engine) -> None:
    arguments = Arguments(home=str(own), config=None, verb_words="party add", by=None)
    with pytest.raises(RuntimeError, match="does not record"), change_database(arguments) as change:
        parties.register_party(change.conn, "firm", "Firm", "applicant", NOW)
    with read_transaction(engine) as conn:
        assert parties.find_party(conn, "firm") is None
    reading = Arguments(home=str(own), config=None, verb_words="party list")
    with pytest.raises(RuntimeError, match="reading only"), change_database(reading):
        pass


@pytest.mark.long
def test_what_is_refused_leaves_no_row(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused: Sequence[Sequence[str]] = (
        ("party", "suspend", "nobody"),
        ("party", "mandate", "revoke", "7"),
        ("party", "certificate", "retire", "00" * 32),
        ("agreement", "suspend", "none"),
        ("queue", "hold", "7"),
    )
    for words in refused:
        assert main([*words, "--home", str(own)]) == 1, words
    assert main(["party", "add", "firm", "--by", " ", "--home", str(own)]) == 2
    assert main(["migrate", "--new", "--home", str(own)]) == 0
    capsys.readouterr()
    assert _list_audit(own, capsys) == []


@pytest.mark.long
def test_no_verb_writes_by_another_way() -> None:
    """A home of the suite and the demo are made by verbs that record them, or are homes of their own."""
    allowed = {"audited_changes.py", "conformance_home.py", "demo_stage.py", "invited_suites.py"}
    for path in (*(ROOT / "gateway" / "cli").rglob("*.py"), *(ROOT / "conformance").rglob("*.py")):
        names = {node.id for node in walk_source(path) if isinstance(node, ast.Name)}
        if path.name not in allowed:
            assert not names & {"write_transaction", "write_call_transaction", "run_in_group_commit"}, (
                path.name
            )
