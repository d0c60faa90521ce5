"""``gateway agreement override``: what this hub does differently from the document of an agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.agreements import (
    ENCRYPTION_POLICIES,
    PMode,
    PModeOverride,
    apply_overrides,
    find_endpoint_fault,
    pmode_from_json,
    read_overrides,
    write_overrides,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.loaded_agreements import find_loaded_agreement
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import demand_usable_certificate, make_certificate_row, read_party_id
from gateway.cli.shared_options import FILE, change_options, read_reason
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.operations import DatabaseChange, make_plain
from gateway.store import agreements, parties

__all__ = ["override_terms"]

_TERMS: Final = ("endpoint", "certificate", "retries", "retry_interval", "encryption_policy")
_POLICY_WORDS: Final = "the algorithms of encrypted payloads that are read and written"
_PARTY_WORDS: Final = "an identifier of the party whose endpoint or certificate it is (the partner)"
_PMODE_WORDS: Final = "only this P-Mode"
_REMOVE_WORDS: Final = "remove the override: the document counts again; repeatable"


@verb
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@click.option("--endpoint", metavar="URL", help="the URL of the party's message handler")
@click.option("--certificate", type=FILE, help="a further signing certificate of the party, valid now")
@click.option("--retries", type=click.IntRange(0, 10_000), help="how often messages are repeated")
@click.option("--retry-interval", type=click.IntRange(1), metavar="SECONDS", help="the time between retries")
@click.option("--encryption-policy", type=click.Choice(ENCRYPTION_POLICIES), help=_POLICY_WORDS)
@click.option("--party", metavar="[TYPE|]VALUE", help=_PARTY_WORDS)
@click.option("--pmode", metavar="ID", help=_PMODE_WORDS)
@click.option("--remove", multiple=True, type=click.Choice(_TERMS), help=_REMOVE_WORDS)
@click.option("--reason", required=True, help="why the hub differs from the document")
@change_options()
def override_terms(arguments: Arguments) -> int:
    """Set and remove overrides of one agreement; raise GW301 for an unknown one."""
    name = arguments.agreement
    given = {term: getattr(arguments, term) for term in _TERMS if getattr(arguments, term) is not None}
    _check_given_terms(given, arguments.remove)
    reason = read_reason(arguments) or ""
    with change_database(arguments) as change:
        loaded = find_loaded_agreement(change.conn, name)
        known = read_overrides(loaded.row.overrides)
        party = _find_party(change, arguments, loaded.pmodes)
        if arguments.pmode is not None and arguments.pmode not in {one.id for one in loaded.pmodes}:
            detail = f"agreement {name[:80]} has no P-Mode {arguments.pmode[:80]}"
            raise GatewayError(MISUSE, detail, "--pmode")
        kept = _remove_overrides(known, arguments.remove, arguments.pmode)
        for term, value in given.items():
            one = _make_override(change, (arguments, reason), term, value, party)
            kept = [other for other in kept if other.key != one.key]
            kept.append(one)
        _check_pmodes(change.conn, name, kept, repeats="retries" in given or "retry_interval" in given)
        agreements.set_overrides(change.conn, name, write_overrides(kept))
        before, after = ({"overrides": write_overrides(one)} for one in (known, kept))
        change.record_trust_change(f"agreement {name}", before=before, after=after)
    sentence = _describe_change(name, given, arguments.remove)
    print_change(change, sentence, as_json=arguments.json, agreement=name, overrides=write_overrides(kept))
    return 0


def _check_given_terms(given: Mapping[str, Any], removed: Sequence[str]) -> None:
    """Raise GW808 where nothing is given, or a term is given and removed."""
    if not given and not removed:
        raise GatewayError(MISUSE, f"give one of --{', --'.join(_TERMS).replace('_', '-')} or --remove")
    if "endpoint" in given and (fault := find_endpoint_fault(given["endpoint"])):
        raise GatewayError(MISUSE, f"the endpoint {fault}", "--endpoint")
    both = next((term for term in given if term in removed), None)
    if both is not None:
        raise GatewayError(MISUSE, f"--{both.replace('_', '-')} is given and removed", "--remove")


def _remove_overrides(
    known: Sequence[PModeOverride], terms: Sequence[str], pmode: str | None
) -> list[PModeOverride]:
    """Return the overrides without some terms of a P-Mode, or of the whole agreement; raise GW808."""
    for term in terms:
        if not any(one.term == term and one.pmode == pmode for one in known):
            where = f"P-Mode {pmode[:80]}" if pmode is not None else "the whole agreement"
            raise GatewayError(
                MISUSE, f"there is no override of {term.replace('_', ' ')} of {where}", "--remove"
            )
    return [one for one in known if one.term not in terms or one.pmode != pmode]


def _describe_change(name: str, given: dict[str, Any], removed: Sequence[str]) -> str:
    told = [f"{term.replace('_', ' ')} {value}" for term, value in given.items()]
    told += [f"{term.replace('_', ' ')} as in the document" for term in removed]
    return f"Agreement {name} is in force with {', '.join(told)}."


def _find_party(change: DatabaseChange, arguments: Arguments, pmodes: Sequence[PMode]) -> tuple[PartyId, ...]:
    """Return the identifiers of the party that is meant: the named one, else the one that is not the hub."""
    sides = list(dict.fromkeys(ids for one in pmodes for ids in (one.from_party, one.to_party)))
    if arguments.party is not None:
        wanted = read_party_id(arguments.party)
        found = [ids for ids in sides if wanted in ids]
    else:
        ours = set(parties.list_identifiers(change.conn, change.settings.hub.party))
        found = [ids for ids in sides if ours.isdisjoint(ids)]
    if len(found) != 1:
        raise GatewayError(MISUSE, "name the party of the agreement that is meant, by --party", "--party")
    return found[0]


def _make_override(
    change: DatabaseChange, act: tuple[Arguments, str], term: str, value: Any, party: tuple[PartyId, ...]
) -> PModeOverride:
    arguments, reason = act
    of_party = term in ("endpoint", "certificate")
    if term == "certificate":
        value = _register_certificate(change, arguments, party)
    at = str(make_plain(change.at))
    return PModeOverride(term, value, reason, change.by, at, arguments.pmode, party if of_party else ())


def _register_certificate(change: DatabaseChange, arguments: Arguments, party: tuple[PartyId, ...]) -> str:
    """Register a certificate that is valid now for its party; return its SHA-256."""
    found, moments = read_certificate_file(arguments.certificate), (change.at, change.at)
    place = str(arguments.certificate)
    demand_usable_certificate(change.settings, change.conn, (found, "signing"), moments, place)
    owner = parties.find_by_identifier(change.conn, party[0])
    if owner is None:
        raise GatewayError(MISUSE, f"no party is registered as {party[0].value[:80]}", "--certificate")
    parties.add_certificate(change.conn, owner.id, make_certificate_row(found), change.at)
    return found.sha256


def _check_pmodes(conn: Connection, name: str, overrides: Sequence[PModeOverride], *, repeats: bool) -> None:
    """Raise GW808 for an override that a P-Mode cannot have; `repeats` says that retries are overridden."""
    for row in agreements.list_agreement_pmodes(conn, name):
        agreed = pmode_from_json(row.parameters)
        changed = apply_overrides(agreed, overrides)
        if repeats:
            _check_memory(agreed, changed)


def _check_memory(agreed: PMode, changed: PMode) -> None:
    """Raise GW808 where the receiver would forget a message before its last repeat (ebMS 2.0 §6.4.6)."""
    terms = changed.reliability
    if not terms.persists_long_enough and terms.time_to_live > agreed.reliability.time_to_live:
        detail = (
            f"messages of P-Mode {agreed.id[:80]} would be repeated for {terms.time_to_live} seconds, "
            f"and their receiver remembers them for {terms.persist_duration}"
        )
        raise GatewayError(MISUSE, detail, "--retries")
