"""The verbs of the conformance suites, for the table of verbs."""

from __future__ import annotations

from typing import Final

from gateway.cli.trust_verbs import Verb

__all__ = ["CONFORMANCE_VERBS"]

CONFORMANCE_VERBS: Final[dict[str, Verb]] = {
    "conformance run": Verb(
        "conformance:run_suite",
        "run a suite against a gateway, or against a hub in its own process",
        "gateway conformance run hostile --only 'SIG-*'",
    ),
    "conformance list": Verb(
        "conformance:list_suite_cases", "list the cases", "gateway conformance list --only 'SIG-*'"
    ),
    "conformance table": Verb(
        "conformance:print_attacks",
        "list the known attacks, and the countermeasure to each",
        "gateway conformance table",
    ),
    "conformance cost": Verb(
        "conformance_cost:measure_message_costs",
        "measure the cost of attacks before the hub has identified their sender",
        "gateway conformance cost --only 'XML-*'",
    ),
    "conformance invite": Verb(
        "conformance:invite_suite",
        "register the parties of the suite in a sandbox home",
        "gateway conformance invite --out D/partner --home D",
        effect="changes",
    ),
    "conformance verify": Verb(
        "conformance:verify_report_signature",
        "verify that a signed report of a suite is as its tester signed it",
        "gateway conformance verify report.html --trust ca.pem",
    ),
}
