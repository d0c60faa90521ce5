"""Reads the description of the hub's own trusted list: a TOML file, with certificate files beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
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
from gateway.wire import convert_to_utc

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
_STATUS_KEYS: Final = {"type", "status", "since", "additional"}
_SCHEME: Final = {"territory", "role", "location", "signers", "equivalence"}
_RULE: Final = {"identifier", "kinds", "statuses", "levels", "since", "until", "state"}


def read_description(path: Path) -> TrustedListDraft:
    """Read a description; raise GW808 naming the wrong key."""
    try:
        table = tomllib.loads(read_file(path).decode("utf-8-sig"))
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

    def _read_service(self, table: Mapping[str, Any], path: str) -> TrustService:
        self._refuse_unknown_keys(table, _SERVICE, path)
        statuses = []
        for each, status_path in self._list_tables(table, "standing", path):
            self._refuse_unknown_keys(each, _STATUS_KEYS, status_path)
            kind, status = (self._read_word(each, name, status_path) for name in ("type", "status"))
            since, additional = (
                self._read_zoned_moment(each, "since", status_path),
                self._read_word_list(each, "additional", status_path),
            )
            statuses.append(ServiceStatus(kind, status, since, additional))
        if not statuses:
            self._refuse_key("a service without a status", path)
        name = self._read_word(table, "name", path)
        certificates = self._read_listed_certificates(table, "certificates", path)
        return TrustService(self._read_word(table, "provider", path), name, certificates, tuple(statuses))

    def _read_scheme(self, table: Mapping[str, Any], path: str) -> SchemePointer:
        self._refuse_unknown_keys(table, _SCHEME, path)
        role = table.get("role", "list")
        if role not in ("list", "voucher"):
            self._refuse_key("neither list nor voucher", f"{path}role")
        return SchemePointer(
            territory=self._read_word(table, "territory", path),
            signers=self._read_listed_certificates(table, "signers", path),
            role=cast("Role", role),
            location=self._read_word(table, "location", path) if "location" in table else "",
            rules=self._read_rules(table, path),
        )

    def _read_bridge(self, table: Mapping[str, Any], path: str) -> CrossCertificateBridge:
        self._refuse_unknown_keys(table, {"certificate", "policies"}, path)
        policies = table.get("policies")
        if not isinstance(policies, dict) or not policies:
            self._refuse_key("not a table of policies and their levels", f"{path}policies")
        certificates = self._read_certificate_file(self._read_word(table, "certificate", path))
        if len(certificates) != 1:
            self._refuse_key("not one certificate", f"{path}certificate")
        policies_path = f"{path}policies."
        return CrossCertificateBridge(
            certificates[0],
            tuple((each, self._read_word(policies, each, policies_path)) for each in policies),
        )

    def _read_rules(self, table: Mapping[str, Any], path: str) -> tuple[EquivalenceRule, ...]:
        return tuple(self._read_rule(*each) for each in self._list_tables(table, "equivalence", path))

    def _read_rule(self, table: Mapping[str, Any], path: str) -> EquivalenceRule:
        self._refuse_unknown_keys(table, _RULE, path)
        state = table.get("state", "enacted")
        if state not in ("enacted", "repealed"):
            self._refuse_key("neither enacted nor repealed", f"{path}state")
        word_lists = {
            name: self._read_word_list(table, name, path) for name in ("kinds", "statuses", "levels")
        }
        for name, listed in word_lists.items():
            if not listed:
                self._refuse_key("names nothing", f"{path}{name}")
        kinds = (kind_text.partition(" ") for kind_text in word_lists["kinds"])
        return EquivalenceRule(
            identifier=self._read_word(table, "identifier", path),
            kinds=frozenset(ServiceKind(kind, additional) for kind, _, additional in kinds),
            statuses=word_lists["statuses"],
            levels=word_lists["levels"],
            since=self._read_zoned_moment(table, "since", path),
            until=self._read_zoned_moment(table, "until", path) if "until" in table else None,
            enacted=state == "enacted",
        )

    def _list_tables(
        self, table: Mapping[str, Any], name: str, path: str
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        tables = table.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            self._refuse_key(f"written as [[{name}]]", f"{path}{name}")
        for number, each in enumerate(tables, 1):
            yield each, f"{path}{name}[{number}]."

    def _read_listed_certificates(
        self, table: Mapping[str, Any], name: str, path: str
    ) -> tuple[Certificate, ...]:
        files = table.get(name)
        if not isinstance(files, list) or not files or not all(isinstance(each, str) for each in files):
            self._refuse_key("not a list of files", f"{path}{name}")
        return tuple(certificate for each in files for certificate in self._read_certificate_file(each))

    def _read_certificate_file(self, name: str) -> tuple[Certificate, ...]:
        return read_certificate_files([self._path.parent / name])

    def _read_word(self, table: Mapping[str, Any], name: str, path: str) -> str:
        word = table.get(name)
        if not isinstance(word, str) or not word.strip() or not word.isprintable():
            self._refuse_key("not a text", f"{path}{name}")
        return word

    def _read_word_list(self, table: Mapping[str, Any], name: str, path: str) -> frozenset[str]:
        listed = table.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(each, str) and each for each in listed):
            self._refuse_key("not a list of texts", f"{path}{name}")
        return frozenset(listed)

    def _read_zoned_moment(self, table: Mapping[str, Any], name: str, path: str) -> datetime:
        moment = table.get(name)
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            self._refuse_key("not a time with its zone", f"{path}{name}")
        try:
            return convert_to_utc(moment)
        except ValueError as fault:
            self._refuse_key(str(fault), f"{path}{name}")

    def _refuse_unknown_keys(self, table: Mapping[str, Any], allowed_keys: set[str], path: str) -> None:
        unknown = sorted(set(table) - allowed_keys)
        if unknown:
            self._refuse_key("unknown key", f"{path}{unknown[0][:80]}")

    def _refuse_key(self, detail: str, key: str) -> NoReturn:
        raise GatewayError(MISUSE, detail, f"{self._path.name} {key}")
