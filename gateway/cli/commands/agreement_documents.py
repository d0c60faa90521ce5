"""``gateway agreement export|profile|compose|agree|diff``: agreements as CPAs and profiles in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from gateway.agreements import (
    CpaDocument,
    CpaTerms,
    ProfileFile,
    RegisteredParty,
    accept_cpa,
    check_cpa,
    compose_cpa,
    list_differences,
    list_omitted_actions,
    write_cpa,
    write_profile,
)
from gateway.cli.home_folder import read_database, read_verb_settings
from gateway.cli.loaded_agreements import collect_certificates, find_loaded_agreement, read_named_pmodes
from gateway.cli.named_files import read_file, write_file
from gateway.cli.registration import (
    MissingCertificate,
    PartyRegister,
    collect_registered_parties,
    describe_missing_certificates,
    list_missing_certificates,
    read_party_id,
)
from gateway.cli.result_output import print_json, print_report, print_sentence
from gateway.cli.shared_options import FILE, ZONED_MOMENT, home_verb, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import AGREEMENT_UNWORKABLE, MISUSE, GatewayError
from gateway.hub import get_current_time
from gateway.message_model import PartyId
from gateway.operations import finding_to_json, format_finding, format_finding_counts
from gateway.store import parties

_OLD_WORDS = "the earlier agreement: a file, or the name of a loaded one"
_NEW_WORDS = "the later agreement: a file, or the name of a loaded one"


@home_verb("agreement export")
@click.argument("agreement", help="the agreement's name (`eb:CPAId`)")
@click.option("--out", type=FILE, required=True, help="the file to write")
@click.option("--original", is_flag=True, help="the file as it was loaded, with its signatures")
def export_agreement(arguments: Arguments) -> None:
    """Write an agreement as a CPA; raise GW301 for an unknown one, GW313 for one that no CPA can say."""
    settings = read_verb_settings(arguments)
    with read_database(arguments) as conn:
        loaded = find_loaded_agreement(conn, arguments.agreement)
        register = collect_registered_parties(conn, settings, loaded.pmodes, get_current_time())
        pinned = {pin: certificate.der for pin, certificate in collect_certificates(conn, loaded).items()}
    _copy_party_names(register, loaded.cpa)
    data = loaded.row.source
    missing: list[MissingCertificate] = []
    if not arguments.original:
        data = write_cpa(loaded.pmodes, register.parties, register.certificates | pinned)
        missing = list_missing_certificates(data)
    sentence = f"Agreement {arguments.agreement} is written to {arguments.out}."
    facts = {"octets": len(data), "pmodes": [pmode.id for pmode in loaded.pmodes]}
    _write_document(arguments, data, sentence, facts, missing)


def _write_document(
    arguments: Arguments,
    octets: bytes,
    sentence: str,
    json_values: Mapping[str, Any],
    missing: Sequence[MissingCertificate],
) -> None:
    """Write an agreement or a profile to ``--out``; print that, and which certificates it lacks."""
    write_file(arguments.out, octets, location="--out")
    if missing:
        sentence += f" {describe_missing_certificates(missing)}"
    report = {"done": sentence, "file": str(arguments.out), **json_values}
    report["missing_certificates"] = [entry._asdict() for entry in missing]
    print_report(report, as_json=arguments.json, as_text=lambda report: print_sentence(report["done"]))


def _copy_party_names(register: PartyRegister, document: CpaDocument | None) -> None:
    """Give parties the names that a loaded CPA has for them."""
    for party in document.parties if document is not None else ():
        for name in party.ids:
            ids = PartyId(name.value, name.type)
            registered = register.parties.get(ids, RegisteredParty(party.name))
            register.parties[ids] = replace(registered, name=party.name)


@home_verb("agreement diff")
@click.argument("old", help=_OLD_WORDS)
@click.argument("new", help=_NEW_WORDS)
def compare_agreements(arguments: Arguments) -> None:
    """Print what differs between two agreements, in words of the business; nothing where they are equal."""
    differences = list_differences(
        *(read_named_pmodes(arguments, name) for name in (arguments.old, arguments.new))
    )
    if arguments.json:
        print_json(
            {
                "differences": [
                    difference._asdict() | {"sentence": difference.sentence} for difference in differences
                ]
            }
        )
        return
    for difference in differences:
        print(difference.sentence)
    if not differences:
        print_sentence("nothing differs")


_AGREEMENT_WORDS = "what we offer, as an agreement: a file (YAML, CPA), or the name of a loaded one"
_PARTY_WORDS = "an identifier of the party whose profile it is (default: this hub)"


@home_verb("agreement profile")
@click.argument("agreement", help=_AGREEMENT_WORDS)
@click.option("--out", type=FILE, required=True, help="the file to write")
@click.option(
    "--id", help="the name of the profile (`cppid`; default: that of the agreement with `:profile`)"
)
@click.option("--party", metavar="[TYPE|]VALUE", help=_PARTY_WORDS)
def write_own_profile(arguments: Arguments) -> None:
    """Write what one party can send and receive as a CPP; raise GW313 for one that is no party."""
    settings, now = read_verb_settings(arguments), get_current_time()
    pmodes = read_named_pmodes(arguments, arguments.agreement)
    name = arguments.id or f"{pmodes[0].agreement}:profile"
    sides = dict.fromkeys(ids for pmode in pmodes for ids in (*pmode.from_party, *pmode.to_party))
    with read_database(arguments) as conn:
        if arguments.party is not None:
            own_id = read_party_id(arguments.party)
        else:
            ours = parties.list_identifiers(conn, settings.hub.party)
            own_id = _find_own_id(ours, list(sides))
        register = collect_registered_parties(conn, settings, pmodes, now)
    octets = write_profile(pmodes, own_id, name, register.parties, register.certificates)
    sentence = f"The profile {name} of {own_id.value} is written to {arguments.out}."
    facts = {"profile": name, "octets": len(octets)}
    _write_document(arguments, octets, sentence, facts, list_missing_certificates(octets, is_profile=True))


def _find_own_id(hub_ids: Sequence[PartyId], agreement_ids: Sequence[PartyId]) -> PartyId:
    """Return the identifier of this hub among those of an agreement; raise GW808 where there is none."""
    own_id = next((identifier for identifier in agreement_ids if identifier in hub_ids), None)
    if own_id is None:
        identifiers = ", ".join(f"{ids.type}|{ids.value}" if ids.type else ids.value for ids in agreement_ids)
        detail = f"no party of the agreement is this hub; --party names one of {identifiers[:300]}"
        raise GatewayError(MISUSE, detail, "--party")
    return own_id


@verb("agreement agree")
@click.argument("file", type=FILE, help="a proposed CPA, as `gateway agreement compose` writes it")
@click.option("--out", type=FILE, required=True, help="the file to write")
@json_option()
def agree_proposal(arguments: Arguments) -> None:
    """Write a proposed CPA as an agreed one, which both parties load; raise GW313 when it has an error."""
    source, name = read_file(arguments.file), arguments.file.name
    octets = accept_cpa(source, name)
    findings = check_cpa(octets, name, get_current_time()).findings
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        detail = f"nobody can keep this agreement: {format_finding_counts(findings)}, first {errors[0].text}"
        raise GatewayError(AGREEMENT_UNWORKABLE, detail, errors[0].location)
    write_file(arguments.out, octets, location="--out")
    sentence = f"The agreement in {arguments.out} is agreed: {format_finding_counts(findings)} found."
    if arguments.json:
        listed = list(map(finding_to_json, findings))
        print_json({"done": sentence, "file": str(arguments.out), "findings": listed})
        return
    for finding in findings:
        print(format_finding(finding))
    print_sentence(sentence)


@verb("agreement compose")
@click.argument("first", type=FILE, help="a profile of one party (CPP), or a template in this form")
@click.argument("second", type=FILE, help="the profile of the other party (CPP)")
@click.option("--id", required=True, help="the name of the agreement (`cpaid`)")
@click.option("--start", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it begins")
@click.option("--end", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it ends")
@click.option("--out", type=FILE, required=True, help="the file to write")
@json_option()
def compose_profiles(arguments: Arguments) -> None:
    """Write what two parties have in common as a proposed CPA, and say what does not fit in it."""
    if arguments.start >= arguments.end:
        raise GatewayError(MISUSE, "an agreement ends after its begin", "--end")
    first, second = (ProfileFile(read_file(file), file.name) for file in (arguments.first, arguments.second))
    data = compose_cpa(first, second, CpaTerms(arguments.id, arguments.start, arguments.end))
    write_file(arguments.out, data, location="--out")
    name = arguments.out.name
    judged = check_cpa(data, name, get_current_time())
    # The verb makes a proposed CPA: its status is no finding.
    findings = [finding for finding in judged.findings if finding.rule != "status-proposed"]
    left_out = [action for profile in (first, second) for action in list_omitted_actions(profile, data)]
    sentence = (
        f"Agreement {arguments.id} is proposed in {arguments.out}: {format_finding_counts(findings)} found."
    )
    if arguments.json:
        rows = list(map(finding_to_json, findings))
        print_json({"done": sentence, "file": str(arguments.out), "findings": rows, "left_out": left_out})
        return
    for action in left_out:
        print_sentence(f"left out: {action}")
    for finding in findings:
        print(format_finding(finding))
    print_sentence(sentence)
