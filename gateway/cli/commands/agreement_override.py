"""``gateway agreement override``: the values of this hub that differ from the document of an agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from sqlalchemy import Connection

from gateway.agreements import (
    DESTINATIONS,
    ENCRYPTION_POLICIES,
    OVERRIDDEN_TERMS,
    PULL_AUTHORIZATIONS,
    SIGNATURE_POLICIES,
    AgreementFinding,
    PMode,
    PModeOverride,
    apply_overrides,
    find_endpoint_fault,
    write_overrides,
)
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.loaded_agreements import find_loaded_agreement
from gateway.cli.named_files import read_certificate_file
from gateway.cli.registration import demand_usable_certificate, make_certificate_row, read_party_id
from gateway.cli.shared_options import FILE, changing_verb, read_reason
from gateway.cli.verb_groups import Arguments
from gateway.errors import AGREEMENT_UNWORKABLE, MISUSE, GatewayError
from gateway.hub import load_agreed_pmodes, read_stored_overrides
from gateway.message_model import PartyId
from gateway.operations import (
    DatabaseChange,
    find_new_findings,
    finding_to_json,
    format_finding,
    make_json_value,
)
from gateway.store import agreements, parties

_YES_OR_NO: Final = ("yes", "no")
_DELIVER_WORDS: Final = "where messages go: of --pmode, else all those by which submissions are filed"
_SIGNATURE_WORDS: Final = "the algorithms of signatures that are believed"
_STATUS_WORDS: Final = "whether a StatusRequest must be signed"
_TLS_WORDS: Final = "whether messages come only over TLS with a certificate of their sender"
_PULL_WORDS: Final = "what shows who pulls"
_POLICY_WORDS: Final = "the algorithms of encrypted payloads that are read and written"
_PARTY_WORDS: Final = "an identifier of the party whose endpoint or certificate it is (the partner)"
_PMODE_WORDS: Final = "only this P-Mode"
_REMOVE_WORDS: Final = "remove the override: the document counts again; repeatable"


@changing_verb("agreement override")
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@click.option("--endpoint", metavar="URL", help="the URL of the party's message handler")
@click.option("--certificate", type=FILE, help="a further signing certificate of the party, valid now")
@click.option("--retries", type=click.IntRange(0, 10_000), help="how often messages are repeated")
@click.option("--retry-interval", type=click.IntRange(1), metavar="SECONDS", help="the time between retries")
@click.option("--encryption-policy", type=click.Choice(ENCRYPTION_POLICIES), help=_POLICY_WORDS)
@click.option("--deliver-to", type=click.Choice(DESTINATIONS), help=_DELIVER_WORDS)
@click.option("--signature-policy", type=click.Choice(SIGNATURE_POLICIES), help=_SIGNATURE_WORDS)
@click.option("--sign-status", type=click.Choice(_YES_OR_NO), help=_STATUS_WORDS)
@click.option("--mutual-tls", type=click.Choice(_YES_OR_NO), help=_TLS_WORDS)
@click.option("--pull-authorization", type=click.Choice(PULL_AUTHORIZATIONS), help=_PULL_WORDS)
@click.option("--party", metavar="[TYPE|]VALUE", help=_PARTY_WORDS)
@click.option("--pmode", metavar="ID", help=_PMODE_WORDS)
@click.option("--remove", multiple=True, type=click.Choice(OVERRIDDEN_TERMS), help=_REMOVE_WORDS)
@click.option("--reason", required=True, help="why the hub differs from the document")
def override_terms(arguments: Arguments) -> None:
    """Set and remove overrides of one agreement; raise GW301 for an unknown one."""
    name = arguments.agreement
    options = vars(arguments)
    terms = {term: options[term] for term in OVERRIDDEN_TERMS if options[term] is not None}
    _check_given_terms(terms, arguments.remove)
    reason = read_reason(arguments) or ""
    with change_database(arguments) as change:
        loaded = find_loaded_agreement(change.conn, name)
        overrides = read_stored_overrides(loaded.row)
        is_of_party = "endpoint" in terms or "certificate" in terms or arguments.party is not None
        party = _find_party(change, arguments, loaded.pmodes) if is_of_party else ()
        if arguments.pmode is not None and arguments.pmode not in {pmode.id for pmode in loaded.pmodes}:
            detail = f"agreement {name[:80]} has no P-Mode {arguments.pmode[:80]}"
            raise GatewayError(MISUSE, detail, "--pmode")
        kept_overrides = _remove_overrides(overrides, arguments.remove, arguments.pmode)
        for term, value in terms.items():
            override = _make_override(change, arguments, reason, term, value, party)
            _require_changed_pmode(override, loaded.pmodes)
            kept_overrides = [earlier for earlier in kept_overrides if earlier.key != override.key]
            kept_overrides.append(override)
        _check_pmodes(
            change.conn,
            name,
            kept_overrides,
            has_retry_override="retries" in terms or "retry_interval" in terms,
        )
        agreements.set_overrides(change.conn, name, write_overrides(kept_overrides))
        after = find_loaded_agreement(change.conn, name).pmodes
        findings = find_new_findings(change.conn, change.settings, loaded.pmodes, after, change.at)
        _refuse_errors(findings, name)
        old, new = (
            {"overrides": write_overrides(override_list)} for override_list in (overrides, kept_overrides)
        )
        change.record_trust_change(f"agreement {name}", before=old, after=new)
    sentence = _describe_change(name, terms, arguments.remove)
    if not arguments.json:
        for finding in findings:
            print(format_finding(finding))
    print_change(
        change,
        sentence,
        as_json=arguments.json,
        agreement=name,
        overrides=write_overrides(kept_overrides),
        findings=[finding_to_json(finding) for finding in findings],
    )


def _check_given_terms(terms: Mapping[str, Any], removed: Sequence[str]) -> None:
    """Raise GW808 where nothing is given, or a term is given and removed."""
    if not terms and not removed:
        options = ", --".join(OVERRIDDEN_TERMS).replace("_", "-")
        raise GatewayError(MISUSE, f"give one of --{options} or --remove")
    if "endpoint" in terms and (fault := find_endpoint_fault(terms["endpoint"])):
        raise GatewayError(MISUSE, f"the endpoint {fault}", "--endpoint")
    both = next((term for term in terms if term in removed), None)
    if both is not None:
        raise GatewayError(MISUSE, f"--{both.replace('_', '-')} is given and removed", "--remove")


def _remove_overrides(
    overrides: Sequence[PModeOverride], terms: Sequence[str], pmode: str | None
) -> list[PModeOverride]:
    """Return the overrides without those of some terms, of a P-Mode or (None) of the whole agreement.

    Raises GW808 for a term without an override.
    """
    for term in terms:
        if not any(override.term == term and override.pmode == pmode for override in overrides):
            scope = f"P-Mode {pmode[:80]}" if pmode is not None else "the whole agreement"
            raise GatewayError(
                MISUSE, f"there is no override of {term.replace('_', ' ')} of {scope}", "--remove"
            )
    return [override for override in overrides if override.term not in terms or override.pmode != pmode]


def _describe_change(name: str, terms: dict[str, Any], removed: Sequence[str]) -> str:
    changes = [f"{term.replace('_', ' ')} {value}" for term, value in terms.items()]
    changes += [f"{term.replace('_', ' ')} as in the document" for term in removed]
    return f"Agreement {name} is in force with {', '.join(changes)}."


def _find_party(change: DatabaseChange, arguments: Arguments, pmodes: Sequence[PMode]) -> tuple[PartyId, ...]:
    """Return the identifiers of the party to change: the named party, else the party that is not the hub."""
    sides = list(dict.fromkeys(ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party)))
    if arguments.party is not None:
        identifier = read_party_id(arguments.party)
        candidates = [ids for ids in sides if identifier in ids]
    else:
        ours = set(parties.list_identifiers(change.conn, change.settings.hub.party))
        candidates = [ids for ids in sides if ours.isdisjoint(ids)]
    if len(candidates) != 1:
        raise GatewayError(MISUSE, "name the party of the agreement that is meant, by --party", "--party")
    return candidates[0]


def _make_override(
    change: DatabaseChange,
    arguments: Arguments,
    reason: str,
    term: str,
    value: Any,
    party: tuple[PartyId, ...],
) -> PModeOverride:
    """Return the override of one term; for `certificate`, register the certificate: its SHA-256 is the value.

    `party` is stored only with the terms `endpoint` and `certificate`: they are terms of one party.
    """
    is_of_party = term in ("endpoint", "certificate")
    if term == "certificate":
        value = _register_certificate(change, arguments, party)
    elif term in ("sign_status", "mutual_tls"):
        value = value == "yes"
    at = str(make_json_value(change.at))
    return PModeOverride(term, value, reason, change.actor, at, arguments.pmode, party if is_of_party else ())


def _register_certificate(change: DatabaseChange, arguments: Arguments, party: tuple[PartyId, ...]) -> str:
    """Register a certificate that is valid now for its party; return its SHA-256."""
    certificate, file_name = read_certificate_file(arguments.certificate), str(arguments.certificate)
    demand_usable_certificate(change.settings, change.conn, certificate, "signing", file_name, change.at)
    owner = parties.find_by_identifier(change.conn, party[0])
    if owner is None:
        raise GatewayError(MISUSE, f"no party is registered as {party[0].value[:80]}", "--certificate")
    parties.add_certificate(change.conn, owner.id, make_certificate_row(certificate), change.at)
    return certificate.sha256


def _check_pmodes(
    conn: Connection, name: str, overrides: Sequence[PModeOverride], *, has_retry_override: bool
) -> None:
    """Raise GW808 for an override that a P-Mode cannot have.

    `has_retry_override` says that retries are overridden: the persist duration is checked only then.
    """
    for agreed in load_agreed_pmodes(conn, name):
        changed = apply_overrides(agreed, overrides)
        if has_retry_override:
            _check_persist_duration(agreed, changed)


def _require_changed_pmode(override: PModeOverride, pmodes: Sequence[PMode]) -> None:
    """Raise GW808 for an override that changes no P-Mode of the agreement."""
    if not any(override.changes_pmode(pmode) for pmode in pmodes):
        missing_pmode = (
            "by which submissions are filed: name it by --pmode"
            if override.term == "deliver_to"
            else "with it"
        )
        option = f"--{override.term.replace('_', '-')}"
        raise GatewayError(MISUSE, f"the agreement has no P-Mode {missing_pmode}", option)


def _refuse_errors(findings: Sequence[AgreementFinding], name: str) -> None:
    """Raise GW313 where the agreement would not work with its overrides, and did before."""
    wrong = [finding.text for finding in findings if finding.severity == "error"]
    if wrong:
        raise GatewayError(AGREEMENT_UNWORKABLE, f"not overridden: {'; '.join(wrong)}", name[:80])


def _check_persist_duration(agreed: PMode, changed: PMode) -> None:
    """Raise GW808 where the receiver would forget a message before its last repeat (ebMS 2.0 §6.4.6)."""
    terms = changed.reliability
    if not terms.persists_long_enough and terms.time_to_live > agreed.reliability.time_to_live:
        detail = (
            f"messages of P-Mode {agreed.id[:80]} would be repeated for {terms.time_to_live} seconds, "
            f"and their receiver remembers them for {terms.persist_duration}"
        )
        raise GatewayError(MISUSE, detail, "--retries")
