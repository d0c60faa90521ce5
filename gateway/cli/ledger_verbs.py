"""The verbs about what certificates leave and about fees; a part of the table of verbs."""

from __future__ import annotations

from typing import Final

from gateway.cli.trust_verbs import Verb

__all__ = ["LEDGER_VERBS"]

LEDGER_VERBS: Final[dict[str, Verb]] = {
    "requirement add": Verb(
        "requirement:add_requirement",
        "register a certificate that was issued outside, with its quantity",
        "gateway requirement add 2026-118 --agency ORG --quantity 1500 --unit KGM --home D",
        effect="changes",
    ),
    "requirement list": Verb(
        "requirement:list_requirements",
        "list certificates with what is left of each",
        "gateway requirement list --home D",
    ),
    "requirement show": Verb(
        "requirement:show_requirement",
        "show a certificate and the declarations that use it",
        "gateway requirement show 2026-118 --home D",
    ),
    "requirement revoke": Verb(
        "requirement:revoke_requirement",
        "let no further declaration use a registered certificate",
        "gateway requirement revoke 2026-118 --agency ORG --home D",
        effect="changes",
    ),
    "requirement check": Verb(
        "requirement:check_requirements",
        "judge what a submission would use of certificates, from files",
        "gateway requirement check submission.xml --ledger ledger.jsonl",
    ),
    "fees waive": Verb(
        "fees:waive_fee",
        "demand a fee no more; a held application is forwarded",
        "gateway fees waive A26000001001N-F01 --reason 'levied twice' --home D",
        effect="changes",
    ),
    "fees settle": Verb(
        "fees:settle_fee",
        "record that a fee was paid elsewhere",
        "gateway fees settle A26000001001N-F01 --reason 'paid at the counter' --home D",
        effect="changes",
    ),
    "fees list": Verb("fees:list_fees", "list the fees of agencies", "gateway fees list --home D"),
    "fees show": Verb(
        "fees:show_fee",
        "show a fee with its payments and refunds",
        "gateway fees show A26000001001N-F01 --home D",
    ),
    "fees reconcile": Verb(
        "fees:reconcile_fees",
        "compare a statement of the payment provider with what was paid",
        "gateway fees reconcile statement.csv --home D",
    ),
}
