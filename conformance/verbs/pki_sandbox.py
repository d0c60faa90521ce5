"""``gateway pki demo|issue|cross|revoke``: a sandbox authority and its certificates."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.audited_changes import FileChange, change_files
from gateway.cli.home_folder import keep_files_private
from gateway.cli.named_files import read_certificate_file, read_file, write_file
from gateway.cli.result_output import print_json, print_sentence, print_table
from gateway.cli.shared_options import FILE, by_option, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.hub import get_current_time
from gateway.operations import format_count
from gateway.pki import Certificate, load_shipped_policy, read_certificate_request
from gateway_conformance.pki import (
    CertificateOrder,
    SandboxParty,
    issue_cross_certificate,
    issue_requested_certificate,
    load_authority,
    load_demo_parties,
    load_profiles,
    make_sandbox,
    revoke_certificates,
)

_PARTIES = sorted(name for name in load_profiles() if name != "authority")
_NAMES = "an alternative name, dns:HOST or uri:URI; repeatable"
_CROSS_WORDS = "own policy and the equivalent foreign policy; repeatable"


@verb("pki demo")
@click.option("--out", type=FILE, required=True, help="the folder to write")
@click.option(
    "--party", multiple=True, metavar="NAME[:rsa-2048|:p-256]", help="an additional party; repeatable"
)
@click.option(
    "--authority",
    metavar="NAME",
    help="the name of the authority, CN=…,O=…; if not given, that of the sandbox",
)
@click.option("--bridges", is_flag=True, help="the authority may issue cross-certificates")
@click.option("--overwrite", is_flag=True, help="replace an existing sandbox")
@by_option()
@json_option()
def make_authority(arguments: Arguments) -> None:
    """Make a sandbox authority with its parties, and print where their certificates are."""
    named_parties = [_read_sandbox_party(text) for text in arguments.party]
    names = {party.name for party in named_parties}
    parties = [*(party for party in load_demo_parties() if party.name not in names), *named_parties]
    authority_option = {"authority": arguments.authority} if arguments.authority else {}
    length = 1 if arguments.bridges else 0
    with keep_files_private(), change_files(arguments, arguments.out) as change:
        sandbox = make_sandbox(
            arguments.out,
            parties,
            get_current_time(),
            overwrite=arguments.overwrite,
            path_length=length,
            **authority_option,
        )
        digests = {party.name: sandbox.signers[party.name].certificate.sha256 for party in parties}
        after = {"folder": str(arguments.out), "certificates": digests}
        change.record_trust_change("sandbox authority", after=after)
    rows = [
        {
            "name": party.name,
            "state": party.state,
            "key": party.key_kind,
            "sha256": sandbox.signers[party.name].certificate.sha256,
            "certificate": str(arguments.out / f"{party.name}.cert.pem"),
        }
        for party in parties
    ]
    sentence = f"Made a sandbox authority with {format_count(len(rows), 'certificate')} in {arguments.out}."
    if not arguments.json:
        print_table(rows, as_json=False, columns=("name", "state", "key", "certificate"))
    _print_recorded_act(change, sentence, as_json=arguments.json, certificates=rows)


def _print_recorded_act(change: FileChange, sentence: str, *, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json(change.describe_act(sentence, **more))
    else:
        print_sentence(sentence)


def _read_sandbox_party(party_option: str) -> SandboxParty:
    name, _, kind = party_option.partition(":")
    return SandboxParty(name, key_kind=kind or "p-256")


@verb("pki issue")
@click.argument("request", type=FILE, help="the request, PEM or DER")
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@click.option("--out", type=FILE, required=True, help="the file to write the certificate to")
@click.option("--profile", type=click.Choice(_PARTIES), default="signing", help="the certificate profile")
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="days of validity; if not given, those of the profile"
)
@click.option("--name", multiple=True, metavar="dns:HOST", help=_NAMES)
@click.option("--policy", multiple=True, metavar="OID", help="a certificate policy; repeatable")
@by_option()
@json_option()
def issue_certificate(arguments: Arguments) -> None:
    """Issue the certificate of a request, as the sandbox authority, and print its content."""
    request = read_certificate_request(read_file(arguments.request), load_shipped_policy().certificates)
    order = CertificateOrder(
        arguments.profile,
        days=arguments.days,
        alternative_names=tuple(arguments.name),
        policies=tuple(arguments.policy),
    )
    with change_files(arguments, arguments.ca) as change:
        certificate = issue_requested_certificate(
            load_authority(arguments.ca), request, get_current_time(), order
        )
        write_file(arguments.out, certificate.pem)
        change.record_trust_change(
            f"certificate {certificate.sha256}", after=_describe_certificate(certificate)
        )
    not_granted = [name for name in request.alternative_names if name not in arguments.name]
    row = {**_describe_certificate(certificate), "not_granted": not_granted}
    sentence = f"Issued certificate {certificate.sha256} for {certificate.subject}: {arguments.out}."
    if not arguments.json:
        print_table([row], as_json=False, columns=("subject", "sha256", "from", "until", "not_granted"))
    _print_recorded_act(change, sentence, as_json=arguments.json, **row)


def _describe_certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "serial": str(certificate.serial),
        "sha256": certificate.sha256,
        "from": certificate.not_before,
        "until": certificate.not_after,
    }


@verb("pki cross")
@click.argument("certificate", type=FILE, help="the self-signed certificate of the other authority")
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@click.option("--policy", multiple=True, required=True, metavar="OURS=THEIRS", help=_CROSS_WORDS)
@click.option("--out", type=FILE, required=True, help="the file to write the certificate to")
@by_option()
@json_option()
def certify_authority(arguments: Arguments) -> None:
    """Certify another authority's key: a bridge for its parties."""
    authority_certificate = read_certificate_file(arguments.certificate)
    policies = {ours: theirs for ours, _, theirs in (each.partition("=") for each in arguments.policy)}
    with change_files(arguments, arguments.ca) as change:
        certificate = issue_cross_certificate(
            load_authority(arguments.ca), authority_certificate, policies, get_current_time()
        )
        write_file(arguments.out, certificate.pem)
        after = _describe_certificate(certificate) | {"policies": policies}
        change.record_trust_change(f"certificate {certificate.sha256}", after=after)
    sentence = f"Certified {certificate.subject}: certificate {certificate.sha256} is {arguments.out}."
    _print_recorded_act(change, sentence, as_json=arguments.json, **_describe_certificate(certificate))


@verb("pki revoke")
@click.argument(
    "certificate",
    type=FILE,
    nargs=-1,
    help="a certificate to revoke; if there is none, the list is only renewed",
)
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@by_option()
@json_option()
def revoke_sandbox_certificates(arguments: Arguments) -> None:
    """Write the next revocation list of the sandbox authority, with the named certificates."""
    certificates = [read_certificate_file(path) for path in arguments.certificate]
    with change_files(arguments, arguments.ca) as change:
        number = revoke_certificates(arguments.ca, certificates, get_current_time())
        after = {"number": number, "revoked": [certificate.sha256 for certificate in certificates]}
        change.record_trust_change(f"revocation list {arguments.ca / 'crl.pem'}", after=after)
    revoked = (
        f"Revoked {format_count(len(certificates), 'certificate')}" if certificates else "Revoked nothing"
    )
    sentence = f"{revoked}; {arguments.ca / 'crl.pem'} is now revocation list number {number}."
    _print_recorded_act(change, sentence, as_json=arguments.json, **after)
