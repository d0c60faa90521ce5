"""The suite of ebMS 2.0 as a party of a sandbox home, or of a gateway that loads its CPA."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.cli.invited_suites import InvitedSuite
from gateway.cli.registration import load_agreement, make_certificate_row, register_certificate
from gateway.conformance.standard import (
    PASSING,
    SECOND_PARTY,
    SECOND_PARTY_ID,
    SUITE_PARTY,
    SUITE_PARTY_ID,
    Invitation,
    make_invitation,
)
from gateway.hub import make_rule_columns
from gateway.store import forwarding_rules, parties

__all__ = ["OWN_PROFILE", "STANDARD_SUITE"]

#: What this product declares about itself, written into the partner folder.
OWN_PROFILE: Final = """\
# What the tested gateway declares; every key is described in the manual page of the suite.
name: this product
features:
  - ping
  - status
  - signed-messages
  - signed-signals
  - back-channel
  - callback
  - per-message
  - agreement-period
  - outbound
  - order
  - response-only
  - signals-and-response
  - xml-encryption
  - cms-encryption
  - intermediary
message: {action: Store}
outbound: {reply_to: Submit}
patience: 10
"""
#: What can be said of a gateway about which nothing is known.
_PLAIN_PROFILE: Final = """\
# Name what the tested gateway has; `gateway conformance list ebms2` says which requirements ask for it.
name: the tested gateway
features: [signed-messages, signed-signals]
message: {action: Store}
patience: 10
"""


def _register_suite(conn: Connection, made: Invitation, at: datetime) -> Mapping[str, Any]:
    """Store the two parties of the suite, and return what the audit says."""
    parties.register_party(conn, SUITE_PARTY, "ebMS 2.0 suite", "applicant", at, [SUITE_PARTY_ID])
    register_certificate(conn, SUITE_PARTY, made.issued.certificate.der, at)
    parties.add_certificate(
        conn, SUITE_PARTY, make_certificate_row(made.decryption.certificate, "encryption"), at
    )
    for kind, text in made.agreements.items():
        if kind != PASSING:
            load_agreement(conn, text, f"{kind}.yaml", at)
    _register_second_party(conn, made, at)
    digests = [one.certificate.sha256 for one in (made.issued, made.decryption, made.second)]
    return {"parties": [SUITE_PARTY, SECOND_PARTY], "certificates": digests}


def _register_second_party(conn: Connection, made: Invitation, at: datetime) -> None:
    """Register the party behind the hub, and the routes by which messages go there and come back."""
    parties.register_party(conn, SECOND_PARTY, "ebMS 2.0 suite, behind", "applicant", at, [SECOND_PARTY_ID])
    register_certificate(conn, SECOND_PARTY, made.second.certificate.der, at)
    for to, party, path, sender in (
        (SECOND_PARTY_ID, SECOND_PARTY, "behind", SUITE_PARTY),
        (SUITE_PARTY_ID, SUITE_PARTY, PASSING, SECOND_PARTY),
    ):
        rule = ForwardingRule(
            to, party, f"{made.callback}/suite/{path}", (sender,), retries=1, retry_interval=2
        )
        forwarding_rules.insert_rule(conn, make_rule_columns(rule), at)


STANDARD_SUITE: Final = InvitedSuite(
    protocol="ebms2",
    subject="party of the ebMS 2.0 suite",
    own_profile=OWN_PROFILE,
    plain_profile=_PLAIN_PROFILE,
    make=make_invitation,
    register=_register_suite,
    # What is in the agreements is believed: the certificate that signs.
    believes_receiver=False,
)
