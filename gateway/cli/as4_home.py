"""The suite of AS4 as a party of a sandbox home, or of a gateway of another make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cli.invited_suites import InvitedSuite
from gateway.cli.registration import load_agreement, make_certificate_row, register_certificate
from gateway.conformance.as4 import AS4_PARTY, AS4_PARTY_ID, As4Invitation, make_as4_invitation
from gateway.conformance.standard import InvitedGateway
from gateway.pki import CertificationAuthority
from gateway.store import parties

__all__ = ["AS4_SUITE"]

#: What this product declares about itself, written into the partner folder.
_OWN_PROFILE: Final = """\
# What the tested gateway declares; every key is described in the manual page of the suite.
# pull-login may be added where [puller.suite-as4] of its settings has the password of suite.password.
name: this product
features: [two-way, two-way-sync, test-service, pull, callback]
message: {action: Store}
outbound: {reply_to: Submit}
patience: 10
"""
#: What can be said of a gateway about which nothing is known.
_PLAIN_PROFILE: Final = """\
# Name what the tested gateway has, and the commands that make it send and show what it has delivered.
name: the tested gateway
features: []
message: {action: Store}
patience: 10
"""


def _make_invitation(
    authority: CertificationAuthority, gateway: InvitedGateway, callback: str, at: datetime
) -> As4Invitation:
    """Return the invitation of a gateway by its first party id: a message of AS4 names one."""
    return make_as4_invitation(authority, replace(gateway, ids=gateway.ids[:1]), callback, at)


def _register_suite(conn: Connection, made: As4Invitation, at: datetime) -> Mapping[str, Any]:
    """Store the party of the suite, and return what the audit says."""
    parties.register_party(conn, AS4_PARTY, "AS4 suite", "applicant", at, [AS4_PARTY_ID])
    register_certificate(conn, AS4_PARTY, made.issued.certificate.der, at)
    row = make_certificate_row(made.decryption.certificate, "encryption")
    parties.add_certificate(conn, AS4_PARTY, row, at)
    for kind, text in made.agreements.items():
        load_agreement(conn, text, f"{kind}.yaml", at)
    return {"parties": [AS4_PARTY], "certificates": list(made.digests)}


AS4_SUITE: Final = InvitedSuite(
    protocol="as4",
    subject="party of the AS4 suite",
    own_profile=_OWN_PROFILE,
    plain_profile=_PLAIN_PROFILE,
    make=_make_invitation,
    register=_register_suite,
    believes_receiver=True,
)
