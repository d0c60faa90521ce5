"""The verbs of this package for the command line of the gateway, named by an entry point in `setup.cfg`."""

from __future__ import annotations

from typing import Final

from gateway.cli.verb_nouns import Noun
from gateway.cli.verb_table import Verb, VerbTable

_VERBS: Final = "gateway_conformance.verbs"

VERB_TABLE: Final = VerbTable(
    nouns={
        "practice": Noun("Test", "run a hub for practice, with simulated agencies and a console"),
        "demo": Noun("Test", "run a complete declaration with simulated partners"),
        "conformance": Noun("Test", "attack a gateway and evaluate its answers"),
    },
    verbs={
        "pki demo": Verb(
            f"{_VERBS}.pki_sandbox",
            "make a sandbox authority and party certificates, valid and deliberately invalid ones",
            "--out D/pki --party hub --party broker1",
        ),
        "pki issue": Verb(
            f"{_VERBS}.pki_sandbox",
            "issue the certificate for a request, as the sandbox authority",
            "broker1.csr --ca D/pki --out broker1.cert.pem",
        ),
        "pki cross": Verb(
            f"{_VERBS}.pki_sandbox",
            "issue a cross-certificate for another authority (a bridge)",
            "other-ca.pem --ca D/pki --policy 1.2.3=1.2.4 --out bridge.pem",
        ),
        "pki revoke": Verb(
            f"{_VERBS}.pki_sandbox",
            "revoke certificates: write the next revocation list of the sandbox authority",
            "broker1.cert.pem --ca D/pki",
        ),
        "practice": Verb(
            f"{_VERBS}.practice",
            "run a hub for practice, with simulated agencies and a console",
            "--home practice-home",
        ),
        "demo": Verb(
            f"{_VERBS}.demo", "run a complete declaration with simulated partners", "--home demo-home"
        ),
        "conformance run": Verb(
            f"{_VERBS}.conformance",
            "run a suite against a gateway, or against a hub in its own process",
            "hostile --only 'SIG-*'",
        ),
        "conformance list": Verb(f"{_VERBS}.conformance", "list the cases", "--only 'SIG-*'"),
        "conformance table": Verb(
            f"{_VERBS}.conformance", "list the known attacks, and the countermeasure to each"
        ),
        "conformance cost": Verb(
            f"{_VERBS}.conformance_cost",
            "measure the cost of attacks before the hub has identified their sender",
            "--only 'XML-*'",
        ),
        "conformance invite": Verb(
            f"{_VERBS}.conformance",
            "register the parties of the suite in a sandbox home",
            "--out D/partner --home D",
        ),
        "conformance verify": Verb(
            f"{_VERBS}.conformance",
            "verify that a signed report of a suite is as its tester signed it",
            "report.html --trust ca.pem",
        ),
    },
)
