"""Reads the description of our own trusted list: a TOML file, with certificate files beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from gateway.cli.named_files import read_certificate_files, read_file
from gateway.errors import MISUSE, GatewayError, describe_exception
from gateway.pki import Certificate
from gateway.recognition import (
    CrossCertificateBridge,
    EquivalenceRule,
    Role,
    SchemePointer,
    ServiceKind,
    ServiceStatus,
    TrustedListDraft,
    TrustService,
)

__all__ = ["read_description"]

_LIST: Final = {
    "operator",
    "territory",
    "sequence",
    "next_update",
    "service",
    "scheme",
    "bridge",
    "equivalence",
}
_SERVICE: Final = {"provider", "name", "certificates", "standing"}
_STANDING: Final = {"type", "status", "since", "additional"}
_SCHEME: Final = {"territory", "role", "location", "signers", "equivalence"}
_RULE: Final = {"identifier", "kinds", "statuses", "levels", "since", "until", "state"}


def read_description(path: Path) -> TrustedListDraft:
    """Read a description; raise GW808 naming the wrong key."""
    try:
        table = tomllib.loads(read_file(path).decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise GatewayError(MISUSE, f"not TOML: {describe_exception(wrong)}", str(path)) from wrong
    return _Description(path).read_draft(table)


class _Description:
    """One description file; its certificate files are in the same folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_draft(self, table: Mapping[str, Any]) -> TrustedListDraft:
        self._refuse_unknown_keys(table, _LIST, "")
        sequence = table.get("sequence")
        if not table:
            raise GatewayError(MISUSE, "the description is empty", self._path.name)
        if sequence is None:
            self._refuse_key("missing", "sequence")
        if type(sequence) is not int or not 0 < sequence < 10**9:
            self._refuse_key("not a number above 0", "sequence")
        return TrustedListDraft(
            operator=self._read_word(table, "operator", ""),
            territory=self._read_word(table, "territory", ""),
            sequence=sequence,
            next_update=self._read_zoned_moment(table, "next_update", ""),
            services=tuple(self._read_service(*each) for each in self._list_tables(table, "service", "")),
            schemes=tuple(self._read_scheme(*each) for each in self._list_tables(table, "scheme", "")),
            bridges=tuple(self._read_bridge(*each) for each in self._list_tables(table, "bridge", "")),
            rules=self._read_rules(table, ""),
        )

    def _read_service(self, table: Mapping[str, Any], where: str) -> TrustService:
        self._refuse_unknown_keys(table, _SERVICE, where)
        standings = []
        for each, place in self._list_tables(table, "standing", where):
            self._refuse_unknown_keys(each, _STANDING, place)
            kind, status = (self._read_word(each, name, place) for name in ("type", "status"))
            since, additional = (
                self._read_zoned_moment(each, "since", place),
                self._read_word_list(each, "additional", place),
            )
            standings.append(ServiceStatus(kind, status, since, additional))
        if not standings:
            self._refuse_key("a service without a status", where)
        name = self._read_word(table, "name", where)
        found = self._read_listed_certificates(table, "certificates", where)
        return TrustService(self._read_word(table, "provider", where), name, found, tuple(standings))

    def _read_scheme(self, table: Mapping[str, Any], where: str) -> SchemePointer:
        self._refuse_unknown_keys(table, _SCHEME, where)
        role = table.get("role", "list")
        if role not in ("list", "voucher"):
            self._refuse_key("neither list nor voucher", f"{where}role")
        return SchemePointer(
            territory=self._read_word(table, "territory", where),
            signers=self._read_listed_certificates(table, "signers", where),
            role=cast("Role", role),
            location=self._read_word(table, "location", where) if "location" in table else "",
            rules=self._read_rules(table, where),
        )

    def _read_bridge(self, table: Mapping[str, Any], where: str) -> CrossCertificateBridge:
        self._refuse_unknown_keys(table, {"certificate", "policies"}, where)
        policies = table.get("policies")
        if not isinstance(policies, dict) or not policies:
            self._refuse_key("not a table of policies and their levels", f"{where}policies")
        found = self._read_certificate_file(self._read_word(table, "certificate", where))
        if len(found) != 1:
            self._refuse_key("not one certificate", f"{where}certificate")
        place = f"{where}policies."
        return CrossCertificateBridge(
            found[0], tuple((each, self._read_word(policies, each, place)) for each in policies)
        )

    def _read_rules(self, table: Mapping[str, Any], where: str) -> tuple[EquivalenceRule, ...]:
        return tuple(self._read_rule(*each) for each in self._list_tables(table, "equivalence", where))

    def _read_rule(self, table: Mapping[str, Any], where: str) -> EquivalenceRule:
        self._refuse_unknown_keys(table, _RULE, where)
        state = table.get("state", "enacted")
        if state not in ("enacted", "repealed"):
            self._refuse_key("neither enacted nor repealed", f"{where}state")
        named = {name: self._read_word_list(table, name, where) for name in ("kinds", "statuses", "levels")}
        for name, found in named.items():
            if not found:
                self._refuse_key("names nothing", f"{where}{name}")
        kinds = (one.partition(" ") for one in named["kinds"])
        return EquivalenceRule(
            identifier=self._read_word(table, "identifier", where),
            kinds=frozenset(ServiceKind(kind, additional) for kind, _, additional in kinds),
            statuses=named["statuses"],
            levels=named["levels"],
            since=self._read_zoned_moment(table, "since", where),
            until=self._read_zoned_moment(table, "until", where) if "until" in table else None,
            enacted=state == "enacted",
        )

    def _list_tables(
        self, table: Mapping[str, Any], name: str, where: str
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        found = table.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self._refuse_key(f"written as [[{name}]]", f"{where}{name}")
        for number, each in enumerate(found, 1):
            yield each, f"{where}{name}[{number}]."

    def _read_listed_certificates(
        self, table: Mapping[str, Any], name: str, where: str
    ) -> tuple[Certificate, ...]:
        files = table.get(name)
        if not isinstance(files, list) or not files or not all(isinstance(each, str) for each in files):
            self._refuse_key("not a list of files", f"{where}{name}")
        return tuple(one for each in files for one in self._read_certificate_file(each))

    def _read_certificate_file(self, name: str) -> tuple[Certificate, ...]:
        return read_certificate_files([self._path.parent / name])

    def _read_word(self, table: Mapping[str, Any], name: str, where: str) -> str:
        found = table.get(name)
        if not isinstance(found, str) or not found.strip() or not found.isprintable():
            self._refuse_key("not a text", f"{where}{name}")
        return found

    def _read_word_list(self, table: Mapping[str, Any], name: str, where: str) -> frozenset[str]:
        found = table.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
            self._refuse_key("not a list of texts", f"{where}{name}")
        return frozenset(found)

    def _read_zoned_moment(self, table: Mapping[str, Any], name: str, where: str) -> datetime:
        found = table.get(name)
        if not isinstance(found, datetime) or found.tzinfo is None:
            self._refuse_key("not a time with its zone", f"{where}{name}")
        return found.astimezone(UTC)

    def _refuse_unknown_keys(self, table: Mapping[str, Any], known: set[str], where: str) -> None:
        unknown = sorted(set(table) - known)
        if unknown:
            self._refuse_key("unknown key", f"{where}{unknown[0][:80]}")

    def _refuse_key(self, detail: str, key: str) -> NoReturn:
        raise GatewayError(MISUSE, detail, f"{self._path.name} {key}")
