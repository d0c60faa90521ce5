"""Reads what leaves about the register describe: the values of rows, as an operator reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.evidence import RegisterLeaf

_AGREEMENT_COLUMNS: Final = ("kind", "status", "sha256", "valid_from", "valid_until")
_ACCOUNT_COLUMNS: Final = ("display_name", "status", "certificate_sha256", "oidc_issuer", "oidc_subject")
_TRUST_LIST_COLUMNS: Final = ("form", "territory", "sequence", "named_by")
#: The tables of the objects that have the number that their subject names.
_NUMBERED_TABLES: Final = {"mandate": "mandates", "route": "forwarding_rules"}

#: The verbs on certificates of the register; `pki issue` and others act on files.
_CERTIFICATE_VERBS: Final = "party certificate "


@dataclass(frozen=True, slots=True)
class RowStatement:
    """What a leaf describes of rows with one key: the values of columns as the data of leaves has them.

    `part` names one of several rows with this key (`name_row_part`). `values` is None where the leaf changed
    the rows and does not describe them. `is_there` is False for rows that were removed.
    """

    table: str
    key: str
    values: Mapping[str, Any] | None
    part: str = ""
    is_there: bool = True


def name_row_part(table: str, row: Any) -> str:
    """Return which of several rows with one key a row is: by its use, or by its identifier; else empty."""
    if table == "certificates":
        return str(row.use)
    return _join_identifier(row.type, row.value) if table == "party_ids" else ""


def _join_identifier(identifier_type: str, value: str) -> str:
    return f"{identifier_type}|{value}" if identifier_type else value


def list_row_statements(leaf: RegisterLeaf, account_keys: Mapping[str, str]) -> Iterator[RowStatement]:
    """Yield what a leaf describes of rows; `account_keys` has the key of each account by its name."""
    if leaf.kind == "register":
        yield from _list_register_statements(leaf, account_keys)
    elif leaf.kind == "trust_list":
        values = {name: leaf.data.get(name) for name in _TRUST_LIST_COLUMNS}
        yield RowStatement("trust_lists", leaf.subject_id, values | {"sha256": leaf.digest})
    elif leaf.kind in ("calendar", "need_table"):
        yield _read_edition(leaf)
    elif leaf.kind == "fetched":
        answers: Mapping[str, str | None] = leaf.data.get("answers") or {"": leaf.digest}
        for subject, sha256 in answers.items():
            yield RowStatement("fetched_lists", f"{leaf.subject_id} {subject}", {"sha256": sha256})


def _read_edition(leaf: RegisterLeaf) -> RowStatement:
    name, _, edition = leaf.subject_id.rpartition("@")
    values = {column: leaf.data[column] for column in ("valid_from", "valid_until")}
    values |= {"sha256": leaf.digest, "row_count": int(leaf.data["rows"])}
    if leaf.kind == "need_table":
        return RowStatement("need_tables", f"{name} {edition}", values)
    return RowStatement("calendar_editions", f"{leaf.data['kind']} {name} {edition}", values)


def _list_register_statements(leaf: RegisterLeaf, account_keys: Mapping[str, str]) -> Iterator[RowStatement]:
    """Yield what the leaf of a verb describes: the object that it names, and those in its data."""
    noun, _, name = leaf.subject_id.partition(" ")
    after = leaf.data.get("after")
    if leaf.data.get("audit") is not None:
        yield _read_audit(leaf)
    if noun == "party":
        yield from _list_party_statements(name, after)
    elif noun == "certificate" and leaf.data["verb"].startswith(_CERTIFICATE_VERBS):
        for row in after or ():
            values = {column: value for column, value in row.items() if column != "use"}
            yield RowStatement("certificates", name, values, row["use"])
    elif noun in _NUMBERED_TABLES:
        yield RowStatement(_NUMBERED_TABLES[noun], name, after, is_there=after is not None)
    elif noun == "account":
        yield from _list_account_statements(account_keys.get(name.casefold()), after)
    elif noun == "agreement":
        yield from _list_agreement_statements(name, after or {})
    elif leaf.subject_id.startswith("revocation list of "):
        for crl in after or ():
            for digest in (crl["sha256"], *crl.get("replaces", ())):
                yield RowStatement("revocations", digest, None)


def _read_audit(leaf: RegisterLeaf) -> RowStatement:
    columns = {"by": "actor", "verb": "action", "account": "account", "before": "before", "after": "after"}
    values = {column: leaf.data[name] for name, column in columns.items() if name in leaf.data}
    return RowStatement("audit", str(leaf.data["audit"]), values)


def _list_party_statements(party: str, description: Mapping[str, Any] | None) -> Iterator[RowStatement]:
    """Yield the party of a description, its identifiers, and the certificates that it may use."""
    if description is None or "certificates" not in description:
        return
    columns = ("name", "role", "status")
    yield RowStatement("parties", party, {column: description[column] for column in columns})
    for identifier in description["ids"]:
        yield RowStatement("party_ids", party, {}, identifier)
    for certificate in description["certificates"]:
        values = {"party_id": party, "status": "ACTIVE"}
        values |= {"valid_from": certificate["from"], "valid_until": certificate["until"]}
        yield RowStatement("certificates", certificate["sha256"], values, certificate["use"])


def _list_account_statements(key: str | None, after: Any) -> Iterator[RowStatement]:
    if key is None:
        return
    described = after if isinstance(after, Mapping) else {}
    yield RowStatement(
        "accounts", key, {name: described[name] for name in _ACCOUNT_COLUMNS if name in described}
    )
    for table in ("account_roles", "account_certificates"):
        yield RowStatement(table, key, None)


def _list_agreement_statements(name: str, after: Mapping[str, Any]) -> Iterator[RowStatement]:
    """Yield the agreements of a description and the parties that they have changed."""
    if "overrides" in after:
        yield RowStatement("agreements", name, {})
        yield from _list_overriding_certificates(after["overrides"])
        return
    for object_name, description in after.items():
        if object_name.startswith("party ") and "pmodes" not in (description or {}):
            yield from _list_party_statements(object_name.removeprefix("party "), description)
            continue
        values = {column: description[column] for column in _AGREEMENT_COLUMNS}
        yield RowStatement("agreements", object_name, values)
        yield RowStatement("pmodes", object_name, None)


def _list_overriding_certificates(overrides: Iterable[Mapping[str, Any]]) -> Iterator[RowStatement]:
    for override in overrides:
        if override["term"] == "certificate":
            yield RowStatement("certificates", override["value"], None)
