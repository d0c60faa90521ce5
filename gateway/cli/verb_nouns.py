"""Every noun of the command line, with its heading in the help, and its help line."""

from __future__ import annotations

from typing import Final, NamedTuple

#: The headings of ``gateway --help``, in their order.
SECTIONS: Final = (
    "Run the gateway",
    "Partners",
    "Look",
    "Act",
    "Mappings",
    "Trust",
    "Evidence",
    "Test",
)


class Noun(NamedTuple):
    """A first word: its heading in ``gateway --help``, and its help line."""

    section: str
    help: str


#: First words and the groups below them. A first word that is itself a verb is also in VERBS.
NOUNS: Final[dict[str, Noun]] = {
    "run": Noun("Run the gateway", "migrate the database, then serve HTTP and make deliveries until stopped"),
    "serve": Noun("Run the gateway", "serve HTTP until stopped"),
    "work": Noun("Run the gateway", "make deliveries until stopped"),
    "console": Noun("Run the gateway", "serve the console until stopped"),
    "api": Noun("Run the gateway", "serve the API until stopped"),
    "check": Noun("Run the gateway", "report problems of settings, keys, data and database"),
    "config": Noun("Run the gateway", "the settings: show"),
    "drain": Noun("Run the gateway", "let a node take no new work"),
    "migrate": Noun("Run the gateway", "migrate the database to the version of this program"),
    "restore": Noun("Run the gateway", "a database from a backup: check, confirm; and its large payloads"),
    "party": Noun("Partners", "parties: add, suspend, resume, mandates, certificates"),
    "party certificate": Noun("Partners", "certificates of a party and the period in which each is accepted"),
    "party mandate": Noun("Partners", "mandates: which party may file for which other"),
    "route": Noun("Partners", "routes of messages that this hub passes on: add, list, remove"),
    "account": Noun("Partners", "people who sign in to the console: add, roles, ways to sign in, suspend"),
    "agreement": Noun(
        "Partners",
        "agreements: lint, load, show, override, export, profile, compose, agree, compare, suspend",
    ),
    "case": Noun("Look", "cases: state and outcome of submissions"),
    "message": Noun("Look", "messages received and sent"),
    "audit": Noun("Look", "who changed what, and how it was before and after"),
    "error": Noun("Look", "explain a problem by its id"),
    "reference": Noun("Look", "print a reference table, for example of verbs, settings or evidence"),
    "queue": Noun("Act", "deliveries: list, show, lanes, hold, release, try, requeue, cancel"),
    "delivery": Noun("Act", "compose refused calls of services anew, by the WSDL of now"),
    "order": Noun("Act", "the order of messages in a conversation: list, show, release, reset"),
    "fees": Noun("Act", "fees of agencies: list, show, compare with a provider's statement"),
    "requirement": Noun("Act", "certificates with a quantity: add, list, show, revoke"),
    "webhook": Noun("Act", "webhooks: a new key for their secrets"),
    "agency": Noun("Act", "agencies at the console: switch, list acts of officers"),
    "submit": Noun("Act", "send a submission as a broker does, and wait for its result"),
    "form": Noun("Mappings", "one form for several documents: show, compose a submission, read one"),
    "sign": Noun("Act", "sign a submission with your own key, as the console asks"),
    "listen": Noun("Act", "receive results and notices as a broker does, and store them in a folder"),
    "pull": Noun("Act", "fetch results and notices as a broker without a server does, and store them"),
    "map": Noun("Mappings", "mappings: check, split, explain, read, build, sample, diff, use"),
    "rules": Noun("Mappings", "rules of need, which documents goods need: ask, check, load, compare"),
    "calendar": Noun("Mappings", "working days of organisations: show, check, load, what is due and overdue"),
    "submission": Noun("Mappings", "judge whole submissions before they are sent"),
    "declaration": Noun("Mappings", "validate declarations"),
    "pki": Noun("Trust", "keys, certificates, trusted lists, sources of revocation lists"),
    "pki list": Noun("Trust", "trusted lists of the gateway and of other authorities"),
    "pki source": Noun("Trust", "sources of revocation data and trusted lists, and their freshness"),
    "signature": Noun("Trust", "XML signatures: verify, make"),
    "payload": Noun("Trust", "encrypted payloads: encrypt, decrypt"),
    "verify": Noun("Trust", "verify an ebMS 2.0 message in a file; nothing is stored"),
    "node": Noun("Act", "the nodes that work on the database"),
    "retention": Noun("Act", "octets of ended cases and old drafts: show what would go, purge"),
    "evidence": Noun("Evidence", "evidence: list, check, seal, prove, verify"),
    "completion": Noun("Test", "print the completion script for a shell"),
}
