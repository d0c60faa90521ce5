"""What verbs store in the register agrees with the evidence; what is changed by SQL does not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Connection, Engine, Row, Table, delete, insert, select, update

from gateway.cli import main
from gateway.evidence import ComparedTable, RowFindings, list_register_keys, record_register_leaf
from gateway.operations import COMPARED_REGISTER
from gateway.operations.register_comparison import compare_register
from gateway.store import (
    NewFetchedList,
    accounts,
    fetched_lists,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.store.table_types import Instant, metadata
from gateway.store.transitions import evidence
from tests.cli.test_pki_list import AT, DESCRIPTION, party
from tests.kit.databases import BOTH
from tests.kit.paths import ROOT
from tests.recognition.sample_lists import NOW, country

KIND = "urn:example:party-type"
AGREEMENT = "urn:example:agreement:broker1-hub:2026"
SETTINGS = '[hub]\nhome = "."\n[database]\nurl = "{url}"\n[recognition]\nsigners = ["home-operator.pem"]\n'
#: Another value where a constraint of the database allows only some.
ALLOWED = {
    ("parties", "status"): "SUSPENDED",
    ("certificates", "status"): "RETIRED",
    ("certificates", "use"): "tls",
    ("agreements", "status"): "RETIRED",
    ("agreements", "kind"): "cpa",
    ("accounts", "status"): "SUSPENDED",
    ("account_roles", "kind"): "party",
    ("trust_lists", "form"): "etsi",
    ("calendar_editions", "kind"): "terms",
}
Act = Callable[..., dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a home on either database, with keys and lists, and nothing in its register."""
    made = ("--party", "hub", "--party", "broker1", "--party", "importer1")
    assert main(["pki", "demo", "--out", str(tmp_path / "pki"), *made]) == 0
    capsys.readouterr()
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=url))
    party(tmp_path, "home-operator", country("Home").operator)
    for name in ("yan", "zed"):
        party(tmp_path, f"{name}-operator", country(name.title()).operator)
        party(tmp_path, f"{name}-party", country(name.title()).party)
        (tmp_path / f"{name}.pem").write_bytes(country(name.title()).authority.certificate.pem)
    (tmp_path / "ours.toml").write_text(DESCRIPTION, encoding="utf-8")
    return tmp_path


@pytest.fixture
def act(home: Path, capsys: pytest.CaptureFixture[str]) -> Act:
    def run(verb: str, *words: object) -> dict[str, Any]:
        status = main([*verb.split(), *map(str, words), "--home", str(home), "--by", "Kim", "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed
        told: dict[str, Any] = json.loads(printed.out.splitlines()[0])
        return told

    return run


@pytest.fixture
def full_home(
    home: Path, act: Act, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """Return a home whose register has a row in every table, each stored by a verb."""
    keys = home / "pki"
    act("party add", "hub", "--role", "hub", "--id", f"{KIND}|hub", "--certificate", keys / "hub.cert.pem")
    act("party add", "broker1", "--id", f"{KIND}|broker1", "--certificate", keys / "broker1.cert.pem")
    act("party add", "importer1", "--id", f"{KIND}|importer1")
    act("party certificate add", "importer1", keys / "importer1.cert.pem", "--until", "2200-01-01T00:00:00Z")
    act("party mandate add", "broker1", "importer1", "--until", "2200-01-01T00:00:00Z")
    mandate = act("party mandate add", "hub", "importer1")["mandate"]
    act("party mandate revoke", mandate)
    way = ("importer1", "http://far.example/msh", "--from", "broker1")
    act("route remove", act("route add", f"{KIND}|far", *way)["route"])
    act("route add", f"{KIND}|near", *way)
    act("agreement load", ROOT / "conformance" / "agreements" / "example.yaml", "--accept-warnings")
    act("agreement override", AGREEMENT, "--retries", 5, "--reason", "a slow line")
    where = ("--organisation", "agency/KPTA")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    act("account add", "Kim", *where, "--role", "officer")
    act("account role", "kim", *where, "--role", "approver", "--role", "head")
    act("account oidc", "kim", "--issuer", "https://id.example", "--subject", "17")
    act("account certificate", "kim", keys / "broker1.cert.pem")
    act("pki crl", keys / "crl.pem")
    _load_lists(home, act, capsys)
    _fetch_list(engine)
    return home


def _load_lists(home: Path, act: Act, capsys: pytest.CaptureFixture[str]) -> None:
    """Load a trusted list, a table of needs, a calendar, and mappings of our own."""
    key = ("--key", home / "home-operator.key", "--certificate", home / "home-operator.pem")
    words = ("pki", "list", "make", home / "ours.toml", "--out", home / "ours.xml", "--at", AT, *key)
    assert main([str(word) for word in words]) == 0
    capsys.readouterr()
    act("pki list import", home / "ours.xml", "--at", AT)
    table = "# table: border\n# edition: 1\n# valid_from: 2027-01-01\nhs,direction,law\n03,import,05\n"
    (home / "border.csv").write_text(table)
    act("rules load", home / "border.csv")
    shipped = (ROOT / "mappings/calendars/kr-public-offices-2026.csv").read_text("utf-8")
    (home / "calendar.csv").write_text(shipped.replace("kr-public-offices", "own-offices"), "utf-8")
    act("calendar load", home / "calendar.csv")
    assert main(["map", "export", str(home / "mappings"), "--home", str(home)]) == 0
    capsys.readouterr()
    (home / "mappings" / "own.txt").write_text("ours")
    act("map use", home / "mappings")


def _fetch_list(engine: Engine) -> None:
    """Activate a fetched list as the agent of fetches does it."""
    new_list = NewFetchedList("", "crl", b"a list", "CN=Zed", "7", NOW, NOW + timedelta(days=1))
    with write_transaction(engine) as conn:
        fetched_lists.ensure_source(conn, "root", "crl", "http://lists.example/root")
        fetched_lists.activate_lists(conn, "root", [new_list], NOW)
        digest = fetched_lists.list_by_source(conn, "root")[""].sha256
        data = {"kind": "crl", "issuer": "CN=Zed", "number": "7"}
        record_register_leaf(conn, "fetched", "source", "root", digest, data, NOW)


def compare(conn: Connection) -> RowFindings:
    findings = RowFindings()
    compare_register(conn, findings)
    return findings


def list_differing_tables(conn: Connection) -> set[str]:
    return {difference.table for difference in compare(conn).differences}


@pytest.fixture
def tampered(engine: Engine) -> Iterator[Connection]:
    """Give a connection that is rolled back, on which references between tables are not enforced."""
    with engine.connect() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        else:
            conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
        yield conn
        conn.rollback()
        conn.invalidate()


def _make_other_value(column: Column[Any], value: Any) -> Any:
    """Return a value that a column can have and does not have, the nearest one."""
    allowed = ALLOWED.get((column.table.name, column.name))
    if allowed is not None:
        return allowed
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, bytes):
        return value + b" "
    if isinstance(value, (list, dict)):
        return {"other": 1}
    if value is None:
        if isinstance(column.type, Instant):
            return NOW
        return 77 if isinstance(column.type, BigInteger) else "other"
    return f"{value}x"


def _find_audit_row(conn: Connection) -> Row[Any]:
    """Return a row of the audit that a leaf about the register names."""
    about_register = select(evidence.c.data).where(evidence.c.subject_type == "register")
    numbers = {json.loads(data).get("audit") for data in conn.execute(about_register).scalars()}
    table = metadata.tables["audit"]
    return conn.execute(select(table).where(table.c.id.in_(numbers - {None})).order_by(table.c.id)).first()  # type: ignore[return-value]


def _list_rows(conn: Connection, table: Table) -> list[Row[Any]]:
    return [_find_audit_row(conn)] if table.name == "audit" else list(conn.execute(select(table)).all())


def _match(table: Table, row: Row[Any]) -> list[Any]:
    return [column == getattr(row, column.name) for column in table.primary_key]


@pytest.mark.long
@BOTH
def test_every_changed_column_is_found(full_home: Path, engine: Engine, tampered: Connection) -> None:
    assert full_home.is_dir()
    with read_transaction(engine) as conn:
        findings = compare(conn)
    assert findings.differences == []
    assert sum(findings.older.values()) == 0
    missed = []
    for compared in COMPARED_REGISTER:
        table = metadata.tables[compared.table]
        row = _list_rows(tampered, table)[-1]
        for name in compared.columns:
            column = table.c[name]
            savepoint = tampered.begin_nested()
            values = {name: _make_other_value(column, getattr(row, name))}
            tampered.execute(update(table).where(*_match(table, row)).values(values))
            if compared.table not in list_differing_tables(tampered):
                missed.append((compared.table, name))
            savepoint.rollback()
    assert missed == []


@pytest.mark.long
@BOTH
def test_a_removed_row_and_an_inserted_one_are_found(
    full_home: Path, engine: Engine, tampered: Connection
) -> None:
    assert full_home.is_dir()
    missed: list[Any] = []
    for compared in COMPARED_REGISTER:
        table = metadata.tables[compared.table]
        for row in _list_rows(tampered, table):
            savepoint = tampered.begin_nested()
            tampered.execute(delete(table).where(*_match(table, row)))
            if compared.table not in list_differing_tables(tampered):
                missed.append(("removed", compared.table))
            savepoint.rollback()
        if compared.table in ("audit", "mapping_bundles"):
            continue
        savepoint = tampered.begin_nested()
        tampered.execute(insert(table).values(_make_copy(compared, table, row)))
        if compared.table not in list_differing_tables(tampered):
            missed.append(("inserted", compared.table))
        savepoint.rollback()
    assert missed == []


def _make_copy(compared: ComparedTable, table: Table, row: Row[Any]) -> dict[str, Any]:
    """Return the values of another row like one of a table, with unique values of its own."""
    values = {column.name: getattr(row, column.name) for column in table.columns}
    unique = {"name", "edition", "to_value", "certificate_sha256", "oidc_subject", "account_id"}
    for name in {*table.primary_key.columns.keys(), *(unique & values.keys())}:
        if (compared.table, name) not in ALLOWED:
            values[name] = _make_other_value(table.c[name], values[name])
    return values


@BOTH
def test_verbs_after_verbs_agree(home: Path, act: Act, engine: Engine) -> None:
    keys = home / "pki"
    act("party add", "firm", "--certificate", keys / "broker1.cert.pem")
    act("party suspend", "firm")
    act("party resume", "firm")
    cut = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    certificate = act("party certificate add", "firm", keys / "importer1.cert.pem", "--cut", cut)[
        "certificate"
    ]
    act("party certificate end", certificate)
    act("party certificate retire", certificate)
    act("party certificate add", "firm", keys / "importer1.cert.pem")
    act("pki crl", keys / "crl.pem")
    act("pki crl", keys / "crl.pem", "--withdraw")
    with read_transaction(engine) as conn:
        findings = compare(conn)
    assert findings.differences == []
    assert sum(findings.older.values()) == 0


@BOTH
def test_what_was_there_before_the_first_statement_is_stated_by_it(
    home: Path, act: Act, engine: Engine, tampered: Connection
) -> None:
    assert home.is_dir()
    with write_transaction(engine) as conn:
        parties.register_party(conn, "old", "Old", "applicant", NOW)
    with read_transaction(engine) as conn:
        findings = compare(conn)
    assert (findings.differences, findings.older["parties"]) == ([], 1)
    act("party add", "firm")
    table = metadata.tables["parties"]
    values = {"id": "theirs", "name": "T", "role": "hub", "status": "ACTIVE", "created_at": NOW}
    tampered.execute(insert(table).values(values))
    tampered.execute(update(table).where(table.c.id == "old").values(name="New"))
    found = {difference.row: difference.detail for difference in compare(tampered).differences}
    assert found.keys() == {"old", "theirs"}
    assert found["theirs"] == "no evidence says that it was stored"


@BOTH
def test_a_leaf_of_an_earlier_version_is_compared_by_its_values(home: Path, act: Act, engine: Engine) -> None:
    keys = home / "pki"
    act("party add", "firm", "--id", f"{KIND}|firm", "--certificate", keys / "broker1.cert.pem")
    act("party add", "other")
    number = act("party mandate add", "firm", "other")["mandate"]
    _forget_statements(engine)
    with read_transaction(engine) as conn:
        findings = compare(conn)
    assert findings.differences == []
    assert findings.older["parties"] == 2
    with write_transaction(engine) as conn:
        conn.execute(update(metadata.tables["parties"]).values(role="hub"))
        conn.execute(update(metadata.tables["certificates"]).values(status="RETIRED"))
        conn.execute(delete(metadata.tables["party_ids"]))
        conn.execute(delete(metadata.tables["mandates"]))
    with read_transaction(engine) as conn:
        found = [(difference.table, difference.row) for difference in compare(conn).differences]
        sha256 = list_register_keys(conn, "certificates")[0][0]
    assert found == [
        ("parties", "firm"),
        ("parties", "other"),
        ("party_ids", "firm"),
        ("certificates", sha256),
        ("mandates", str(number)),
    ]


def _forget_statements(engine: Engine) -> None:
    """Make leaves such as an earlier version has written: without `stored`."""
    with write_transaction(engine) as conn:
        conn.execute(delete(evidence).where(evidence.c.subject_id == "register"))
        for row in conn.execute(select(evidence)).all():
            data = {name: value for name, value in json.loads(row.data).items() if name != "stored"}
            conn.execute(update(evidence).where(evidence.c.id == row.id).values(data=json.dumps(data)))


@BOTH
def test_a_changed_password_is_found(home: Path, act: Act, engine: Engine, tampered: Connection) -> None:
    assert home.is_dir()
    act("party add", "firm")
    with write_transaction(engine) as conn:
        account_id = accounts.insert_account(conn, accounts.NewAccount("kim", "Kim", "op"), NOW)
        accounts.set_roles(conn, account_id, "operator", "hub", ["operator"], NOW)
        accounts.set_password(conn, account_id, "a hash", NOW)
        record_register_leaf(conn, "register", "register", "account kim", None, {"verb": "v"}, NOW)
    with read_transaction(engine) as conn:
        assert compare(conn).differences == []
    table = metadata.tables["accounts"]
    tampered.execute(update(table).values(language="ko"))
    assert compare(tampered).differences == []
    tampered.execute(update(table).values(password="another hash"))
    (difference,) = compare(tampered).differences
    assert (difference.table, difference.row) == ("accounts", str(account_id))
