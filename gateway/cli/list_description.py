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


def read_list_description(path: Path) -> TrustedListDraft:
    """Read a description; raise GW808 naming the wrong key."""
    try:
        table = tomllib.loads(read_file(path).decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise GatewayError(MISUSE, f"not TOML: {describe_exception(wrong)}", str(path)) from wrong
    return _DescriptionReader(path).read_draft(table)


class _DescriptionReader:
    """One description file; its certificate files are in the same folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read_draft(self, table: Mapping[str, Any]) -> TrustedListDraft:
        """Return the trusted list that a TOML table describes; raise GW808 naming the wrong key."""
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

    def _read_service(self, table: Mapping[str, Any], key_path: str) -> TrustService:
        """Return a trust service with its certificates and the history of its statuses."""
        self._refuse_unknown_keys(table, _SERVICE, key_path)
        statuses = []
        for each, status_path in self._list_tables(table, "standing", key_path):
            self._refuse_unknown_keys(each, _STATUS_KEYS, status_path)
            service_type, status = (self._read_word(each, name, status_path) for name in ("type", "status"))
            since, additional = (
                self._read_zoned_moment(each, "since", status_path),
                self._read_word_list(each, "additional", status_path),
            )
            statuses.append(ServiceStatus(service_type, status, since, additional))
        if not statuses:
            self._refuse_key("a service without a status", key_path)
        name = self._read_word(table, "name", key_path)
        certificates = self._read_listed_certificates(table, "certificates", key_path)
        return TrustService(self._read_word(table, "provider", key_path), name, certificates, tuple(statuses))

    def _read_scheme(self, table: Mapping[str, Any], key_path: str) -> SchemePointer:
        """Return the pointer to the list, or to the voucher, of another territory with its signers."""
        self._refuse_unknown_keys(table, _SCHEME, key_path)
        role = table.get("role", "list")
        if role not in ("list", "voucher"):
            self._refuse_key("neither list nor voucher", f"{key_path}role")
        return SchemePointer(
            territory=self._read_word(table, "territory", key_path),
            signers=self._read_listed_certificates(table, "signers", key_path),
            role=cast("Role", role),
            location=self._read_word(table, "location", key_path) if "location" in table else "",
            rules=self._read_rules(table, key_path),
        )

    def _read_bridge(self, table: Mapping[str, Any], key_path: str) -> CrossCertificateBridge:
        """Return a cross-certificate with the level of each of its certificate policies."""
        self._refuse_unknown_keys(table, {"certificate", "policies"}, key_path)
        policies = table.get("policies")
        if not isinstance(policies, dict) or not policies:
            self._refuse_key("not a table of policies and their levels", f"{key_path}policies")
        certificates = self._read_certificate_file(self._read_word(table, "certificate", key_path))
        if len(certificates) != 1:
            self._refuse_key("not one certificate", f"{key_path}certificate")
        policies_path = f"{key_path}policies."
        return CrossCertificateBridge(
            certificates[0],
            tuple((each, self._read_word(policies, each, policies_path)) for each in policies),
        )

    def _read_rules(self, table: Mapping[str, Any], key_path: str) -> tuple[EquivalenceRule, ...]:
        return tuple(self._read_rule(*each) for each in self._list_tables(table, "equivalence", key_path))

    def _read_rule(self, table: Mapping[str, Any], key_path: str) -> EquivalenceRule:
        """Return an equivalence rule; a kind is a service type, or a type, a space and a qualifier."""
        self._refuse_unknown_keys(table, _RULE, key_path)
        state = table.get("state", "enacted")
        if state not in ("enacted", "repealed"):
            self._refuse_key("neither enacted nor repealed", f"{key_path}state")
        word_lists = {
            name: self._read_word_list(table, name, key_path) for name in ("kinds", "statuses", "levels")
        }
        for name, listed in word_lists.items():
            if not listed:
                self._refuse_key("names nothing", f"{key_path}{name}")
        kinds = (kind_text.partition(" ") for kind_text in word_lists["kinds"])
        return EquivalenceRule(
            identifier=self._read_word(table, "identifier", key_path),
            kinds=frozenset(ServiceKind(kind, additional) for kind, _, additional in kinds),
            statuses=word_lists["statuses"],
            levels=word_lists["levels"],
            since=self._read_zoned_moment(table, "since", key_path),
            until=self._read_zoned_moment(table, "until", key_path) if "until" in table else None,
            enacted=state == "enacted",
        )

    def _list_tables(
        self, table: Mapping[str, Any], key: str, key_path: str
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Yield each table of an array of tables with its key path, which begins the paths of its keys."""
        tables = table.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            self._refuse_key(f"written as [[{key}]]", f"{key_path}{key}")
        for number, each in enumerate(tables, 1):
            yield each, f"{key_path}{key}[{number}]."

    def _read_listed_certificates(
        self, table: Mapping[str, Any], key: str, key_path: str
    ) -> tuple[Certificate, ...]:
        """Return the certificates in the files that a key lists; raise GW808 if it lists none."""
        files = table.get(key)
        if not isinstance(files, list) or not files or not all(isinstance(each, str) for each in files):
            self._refuse_key("not a list of files", f"{key_path}{key}")
        return tuple(certificate for each in files for certificate in self._read_certificate_file(each))

    def _read_certificate_file(self, file_name: str) -> tuple[Certificate, ...]:
        return read_certificate_files([self._path.parent / file_name])

    def _read_word(self, table: Mapping[str, Any], key: str, key_path: str) -> str:
        word = table.get(key)
        if not isinstance(word, str) or not word.strip() or not word.isprintable():
            self._refuse_key("not a text", f"{key_path}{key}")
        return word

    def _read_word_list(self, table: Mapping[str, Any], key: str, key_path: str) -> frozenset[str]:
        listed_words = table.get(key, [])
        if not isinstance(listed_words, list) or not all(
            isinstance(each, str) and each for each in listed_words
        ):
            self._refuse_key("not a list of texts", f"{key_path}{key}")
        return frozenset(listed_words)

    def _read_zoned_moment(self, table: Mapping[str, Any], key: str, key_path: str) -> datetime:
        """Return a time of the description in UTC; raise GW808 for a time without a zone."""
        moment = table.get(key)
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            self._refuse_key("not a time with its zone", f"{key_path}{key}")
        try:
            return convert_to_utc(moment)
        except ValueError as fault:
            self._refuse_key(str(fault), f"{key_path}{key}")

    def _refuse_unknown_keys(self, table: Mapping[str, Any], allowed_keys: set[str], key_path: str) -> None:
        unknown = sorted(set(table) - allowed_keys)
        if unknown:
            self._refuse_key("unknown key", f"{key_path}{unknown[0][:80]}")

    def _refuse_key(self, detail: str, key: str) -> NoReturn:
        raise GatewayError(MISUSE, detail, f"{self._path.name} {key}")
