"""Judges P-Modes by the profile that their agreement names: each deviation with its clause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.agreements.as4.profile_tables import ADVICE, Profile, ProfileRow
from gateway.agreements.pmode import PMode

__all__ = ["TERMS", "ProfileDeviation", "find_deviations"]

_SHOWN: Final = 120
#: Agreements of keys by the last part of their URI: one of them is what a list of algorithms agrees.
_KEY_AGREEMENTS: Final = ("x25519", "x448", "ecdh-es")


class ProfileDeviation(NamedTuple):
    """A row that a P-Mode does not meet: whether it is only advice, and a sentence."""

    row: ProfileRow
    text: str

    @property
    def is_advice(self) -> bool:
        """Return whether the profile only recommends what the row says."""
        return self.row.level == ADVICE


def find_deviations(pmode: PMode, profile: Profile) -> Iterator[ProfileDeviation]:
    """Yield what a profile demands and a P-Mode does not say."""
    for row in profile.rows:
        if not row.term:
            continue
        value = TERMS[row.term](pmode)
        if not _DEMANDS[row.demand](value, row):
            told = f"{row.term} is {_describe(value)}; {profile.name} wants {_describe_demand(row)}"
            yield ProfileDeviation(row, f"P-Mode {pmode.id}: {told}")


def _list_algorithms(pmode: PMode) -> tuple[str, ...] | None:
    return None if pmode.encryption is None else pmode.encryption.algorithms


def _name_binding(pmode: PMode) -> str:
    """Return how a message travels: a response in the HTTP answer is another binding (core §2.2.5)."""
    if pmode.pull is not None:
        return "pull"
    return "sync" if pmode.has_response_in_answer else "push"


def _find_key_agreement(pmode: PMode) -> str | None:
    names = {_shorten(one): one.rpartition("#")[2] for one in _list_algorithms(pmode) or ()}
    return next((names[one] for one in _KEY_AGREEMENTS if one in names), None)


#: The terms that rows name, as they are read from a P-Mode.
TERMS: Final[Mapping[str, Callable[[PMode], Any]]] = {
    "protocol": lambda one: one.protocol,
    "agreement": lambda one: one.agreement,
    "agreement_type": lambda one: one.agreement_type,
    "mep": lambda one: one.mep,
    "mep_binding": _name_binding,
    "mpc": lambda one: one.mpc or "",
    "service": lambda one: one.service,
    "service_type": lambda one: one.service_type,
    "action": lambda one: one.action,
    "from.ids": lambda one: one.from_party,
    "to.ids": lambda one: one.to_party,
    "from.id": lambda one: one.from_party[0].value,
    "to.id": lambda one: one.to_party[0].value,
    "from.type": lambda one: one.from_party[0].type or one.from_party[0].value,
    "to.type": lambda one: one.to_party[0].type or one.to_party[0].value,
    "from.role": lambda one: one.from_role,
    "to.role": lambda one: one.to_role,
    "endpoint": lambda one: one.endpoint,
    "security.sign": lambda one: one.security.sign,
    "security.signature_algorithm": lambda one: next(iter(one.security.signature_algorithms), None),
    "security.hash_function": lambda one: one.security.hash_function,
    "security.token_reference": lambda one: one.security.token_reference,
    "security.mutual_tls": lambda one: one.security.mutual_tls,
    "encryption": lambda one: one.encryption and one.encryption.algorithms,
    "encryption.algorithms": _list_algorithms,
    "encryption.agreement": _find_key_agreement,
    "compression": lambda one: "gzip" if one.compresses_payloads else "none",
    # A P-Mode that splits nothing meets every demand of splitting.
    "splitting.compression": lambda one: "gzip" if one.splitting is None else one.splitting.compression,
    "reply_pattern": lambda one: one.reply_pattern,
    "reliability.ack_requested": lambda one: one.reliability.ack_requested,
    "reliability.ack_signed": lambda one: one.reliability.ack_signed,
    "reliability.duplicate_elimination": lambda one: one.reliability.duplicate_elimination,
    "reliability.retries": lambda one: one.reliability.retries,
}


def _shorten(algorithm: str) -> str:
    """Return an algorithm without the namespace of its URI: files may name it either way."""
    return algorithm.rpartition("#")[2].lower()


def _includes(value: Any, row: ProfileRow) -> bool:
    # Where nothing is encrypted another row tells it.
    if value is None:
        return True
    found, wanted = {_shorten(one) for one in value}, {_shorten(one) for one in row.value}
    return wanted <= found <= wanted | {_shorten(one) for one in row.allows}


def _is_among(value: Any, row: ProfileRow) -> bool:
    return value in row.value or (value is None and row.term == "encryption.agreement")


_DEMANDS: Final[Mapping[str, Callable[[Any, ProfileRow], bool]]] = {
    "is": lambda value, row: bool(value == row.value),
    "one_of": _is_among,
    "includes": _includes,
    "present": lambda value, _: bool(value),
    "absent": lambda value, _: not value,
    "begins": lambda value, row: value is None or value.startswith(row.value),
    "matches": lambda value, row: re.fullmatch(row.value, value or "") is not None,
    "count": lambda value, row: len(value) == row.value,
    "at_least": lambda value, row: bool(value >= row.value),
}
_PHRASES: Final[Mapping[str, str]] = {
    "is": "{}",
    "one_of": "one of {}",
    "includes": "a list with {}",
    "present": "a value",
    "absent": "none",
    "begins": "a value that begins with {}",
    "matches": "a value like {}",
    "count": "exactly {}",
    "at_least": "at least {}",
}


def _describe_demand(row: ProfileRow) -> str:
    words = _PHRASES[row.demand].format(_describe(row.value))
    beside = [one for one in row.allows if one not in row.value] if row.demand == "includes" else []
    return f"{words}, and beside it only {_describe(beside)}" if beside else words


def _describe(value: Any) -> str:
    if value is None or value in ((), ""):
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_describe(one) for one in value)
    return str(getattr(value, "value", value))[:_SHOWN]
