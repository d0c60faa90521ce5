"""Every verb of the gateway: its module, its help line, and an example.

Help, completion and `gateway reference verbs` are generated from this table, without importing the verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.cli.verb_nouns import Noun


class Verb(NamedTuple):
    """A verb: the module below `gateway.cli.commands` that declares it, its help line, and an example.

    `example` holds only the arguments: `format_example` puts the words of the command before them.
    """

    module: str
    help: str
    example: str = ""

    def format_example(self, verb_words: str) -> str:
        """Return the whole command line of the example; `verb_words` are noun and verb, as ``queue list``."""
        return f"gateway {verb_words} {self.example}".rstrip()


class VerbTable(NamedTuple):
    """The nouns and verbs of another package; each verb names its module in full."""

    nouns: Mapping[str, Noun]
    verbs: Mapping[str, Verb]


VERBS: Final[dict[str, Verb]] = {
    "run": Verb(
        "process",
        "migrate the database, then serve HTTP and make deliveries until stopped",
        "--home D --workers 2",
    ),
    "serve": Verb("process", "serve HTTP until stopped", "--home D"),
    "work": Verb("process", "make deliveries until stopped", "--home D"),
    "console": Verb("process", "serve the console until stopped", "--home D"),
    "api": Verb("process", "serve the API until stopped", "--home D"),
    "check": Verb("check", "report problems of settings, keys, data and database", "--home D"),
    "config show": Verb(
        "reference",
        "show every setting with its value in effect, and where the value comes from",
        "http --home D",
    ),
    "migrate": Verb("migrate", "migrate the database to the version of this program", "--home D"),
    "restore check": Verb(
        "migrate", "compare the database with what the hub has acknowledged", "--head head.txt --home D"
    ),
    "restore confirm": Verb(
        "migrate",
        "let the hub go on with a database that was restored from a backup",
        "--reason 'the disk of hub1 is lost' --home D",
    ),
    "restore payloads": Verb(
        "payload_store",
        "let the hub go on with a folder or bucket of large payloads that has lost its mark",
        "--reason 'payloads were moved to a bucket' --home D",
    ),
    "party add": Verb(
        "party",
        "register a party, or give it more identifiers",
        "broker1 --id 'urn:example|B1' --certificate broker1.cert.pem --home D",
    ),
    "party list": Verb("party", "list the parties", "--home D"),
    "party show": Verb("party", "show one party with its ids, certificates and mandates", "broker1 --home D"),
    "party suspend": Verb("party", "suspend a party; its messages are refused", "broker1 --home D"),
    "party resume": Verb(
        "party", "resume a suspended party; its messages are accepted again", "broker1 --home D"
    ),
    "party mandate add": Verb(
        "party",
        "register a mandate: one party may file for another",
        "broker1 importer1 --until 2027-01-01 --home D",
    ),
    "party mandate list": Verb("party", "list the mandates with their periods", "--party broker1 --home D"),
    "party mandate revoke": Verb("party", "revoke a mandate", "3 --home D"),
    "requirement add": Verb(
        "requirement",
        "register a certificate that was issued outside, with its quantity",
        "2026-118 --agency ORG --quantity 1500 --unit KGM --home D",
    ),
    "requirement list": Verb("requirement", "list certificates with what is left of each", "--home D"),
    "requirement show": Verb(
        "requirement", "show a certificate and the declarations that use it", "2026-118 --home D"
    ),
    "requirement revoke": Verb(
        "requirement",
        "let no further declaration use a registered certificate",
        "2026-118 --agency ORG --home D",
    ),
    "fees waive": Verb(
        "requirement",
        "demand a fee no more; a held application is forwarded",
        "A26000001001N-F01 --reason 'levied twice' --home D",
    ),
    "fees settle": Verb(
        "requirement",
        "record that a fee was paid elsewhere",
        "A26000001001N-F01 --reason 'paid at the counter' --home D",
    ),
    "fees list": Verb("requirement", "list the fees of agencies", "--home D"),
    "fees show": Verb(
        "requirement", "show a fee with its payments and refunds", "A26000001001N-F01 --home D"
    ),
    "fees reconcile": Verb(
        "requirement",
        "compare a statement of the payment provider with what was paid",
        "statement.csv --home D",
    ),
    "webhook renew": Verb(
        "webhook",
        "make a new key of the webhooks, and delete all webhooks",
        "--reason 'the key is lost' --home D",
    ),
    "route add": Verb(
        "party",
        "pass messages for another party on to the next message handler",
        "'urn:example|B1' hub2 https://hub2.example/msh/ebms2 --from broker1 --home D",
    ),
    "route list": Verb("party", "list the routes of messages", "--home D"),
    "route remove": Verb("party", "pass no more messages on by a route", "3 --home D"),
    "party certificate add": Verb(
        "party",
        "validate a certificate and register it for a party",
        "broker1 new.cert.pem --cut 2027-01-01 --home D",
    ),
    "party certificate list": Verb(
        "party", "list certificates with their periods, the earliest end first", "--party broker1 --home D"
    ),
    "party certificate end": Verb(
        "party", "accept a certificate only until a given time", "SHA256 --at 2027-01-01 --home D"
    ),
    "party certificate retire": Verb(
        "party", "stop accepting a certificate of a party now", "SHA256 --home D"
    ),
    "account add": Verb(
        "account",
        "add a person who signs in to the console",
        "kim --organisation party/broker1 --role filer --home D",
    ),
    "account list": Verb(
        "account",
        "list the people who may sign in, with their roles",
        "--organisation party/broker1 --home D",
    ),
    "account show": Verb("account", "show a person with roles and sessions", "kim --home D"),
    "account role": Verb(
        "account",
        "set the roles of a person in one organisation",
        "kim --organisation party/broker1 --role manager --home D",
    ),
    "account password": Verb("account", "set the password of a person", "kim --home D"),
    "account suspend": Verb("account", "suspend a person; the sessions of the person end", "kim --home D"),
    "account resume": Verb("account", "let a suspended person sign in again", "kim --home D"),
    "account certificate": Verb(
        "account", "set the client certificate by which a person signs in", "kim kim.cert.pem --home D"
    ),
    "account oidc": Verb(
        "account",
        "set the subject of an OpenID provider by which a person signs in",
        "kim --subject 248289761001 --home D",
    ),
    "agreement load": Verb(
        "agreement",
        "activate the P-Modes of a YAML file or a CPA, unless they cannot work",
        "broker1.yaml --home D",
    ),
    "agreement check": Verb(
        "agreement",
        "report what would not work in a YAML file or a CPA; nothing is loaded",
        "broker1.yaml --home D",
    ),
    "agreement lint": Verb(
        "agreement_lint",
        "report what is wrong with a YAML file or a CPA, with clause and XPath; no home is needed",
        "partner-cpa.xml --json",
    ),
    "agreement export": Verb(
        "agreement_documents",
        "write an agreement as a CPA of CPPA 2.0 that loads again",
        "broker1-hub --out broker1-cpa.xml --home D",
    ),
    "agreement profile": Verb(
        "agreement_documents",
        "write what we offer in an agreement as our profile (CPP of CPPA 2.0), for any partner",
        "agreement.yaml --out ours.xml --home D",
    ),
    "agreement compose": Verb(
        "agreement_documents",
        "write what two profiles (CPP) have in common as a proposed CPA",
        "ours.xml theirs.xml --id CPA --start 2027-01-01T00:00Z --end 2029-01-01T00:00Z --out cpa.xml",
    ),
    "agreement agree": Verb(
        "agreement_documents",
        "write a proposed CPA as the agreed one that both parties load",
        "proposal.xml --out cpa.xml",
    ),
    "agreement diff": Verb(
        "agreement_documents",
        "tell what differs between two agreements, files or loaded ones, in words of the business",
        "old-cpa.xml new-cpa.xml",
    ),
    "agreement override": Verb(
        "agreement_override",
        "do something differently from the document of an agreement, which stays as it is",
        "broker1-hub --retries 5 --reason 'slow line' --home D",
    ),
    "agreement show": Verb(
        "agreement",
        "show one agreement: parties, P-Modes, endpoints, state, and what does not work",
        "broker1-hub --home D",
    ),
    "agreement list": Verb("agreement", "list the agreements", "--home D"),
    "agreement suspend": Verb(
        "agreement", "suspend an agreement; its messages are refused", "broker1-hub --home D"
    ),
    "case list": Verb("case", "list cases, newest first", "--state IN_PROGRESS --older 2h --home D"),
    "case show": Verb("case", "show one case with everything about it", "SW260000001X --home D"),
    "case replay": Verb(
        "case_replay",
        "tell which notices of the agencies count for a case, and why the others do not",
        "SW260000001X --home D",
    ),
    "case unask": Verb(
        "case",
        "ask a silent agency no longer whether it cancels; the application stands",
        "A26000001002K --reason 'no answer since Monday' --home D",
    ),
    "message list": Verb("case", "list messages, newest first", "--direction in --limit 20 --home D"),
    "message show": Verb("case", "show one message", "7 --home D"),
    "message dump": Verb(
        "case", "write the stored octets of a message as an HTTP message", "7 --home D > message.http"
    ),
    "message admit": Verb(
        "case",
        "give submissions that rest in the mailbox to their cases, when their agreement delivers them so now",
        "7 --reason 'the agreement lacked deliver_to' --home D",
    ),
    "message split": Verb(
        "verify",
        "split an AS4 message in a file into signed fragments",
        "large.http --size 1000000 --compress --key key.pem --certificate cert.pem --out fragments",
    ),
    "message join": Verb(
        "verify",
        "verify the fragments of an AS4 message and join them",
        "fragments/*.http --trust ca.pem --out joined.http",
    ),
    "message refusals": Verb(
        "case", "count refused messages and calls, by sender and problem", "--problem GW209 --home D"
    ),
    "retention show": Verb("queue", "show which octets of ended cases would be removed", "--home D"),
    "retention purge": Verb("queue", "remove the octets of ended cases that nothing keeps", "--home D"),
    "audit list": Verb(
        "audit",
        "list the changes by verbs and by the gateway itself, newest first",
        "--since 2027-01-01 --what broker1 --home D",
    ),
    "audit show": Verb("audit", "show one change with its object before and after", "17 --home D"),
    "error": Verb("error", "explain a problem by its id", "GW206"),
    "reference": Verb(
        "reference", "print a reference table, for example of verbs, settings or evidence", "errors"
    ),
    "queue list": Verb("queue", "list deliveries that are not done", "--state HELD --home D"),
    "queue show": Verb("queue", "show one delivery", "12 --home D"),
    "queue lanes": Verb("queue", "list the lanes: how much is in each, and which are held", "--home D"),
    "queue hold": Verb(
        "queue",
        "hold queued deliveries, or all that go to an agency or party, also later ones",
        "--agency CODE --reason 'planned maintenance until 18:00' --home D",
    ),
    "queue release": Verb("queue", "release held deliveries, or a held lane", "--agency CODE --home D"),
    "queue try": Verb(
        "queue",
        "try now what waits for its next attempt: deliveries, or a whole lane",
        "--agency CODE --home D",
    ),
    "queue requeue": Verb("queue", "put a failed delivery back in the queue", "12 --home D"),
    "queue cancel": Verb("queue", "cancel a queued, held or failed delivery", "12 --home D"),
    "delivery compose": Verb(
        "queue",
        "compose refused calls anew, by the WSDL that the agency has agreed to now, and queue them again",
        "12 --reason 'the agency has the WSDL of May' --home D",
    ),
    "drain": Verb(
        "drain", "let a node take no new work, and wait until it holds none", "--reason 'upgrade' --home D"
    ),
    "node list": Verb("drain", "list the nodes that work on the database", "--home D"),
    "order list": Verb(
        "order", "list conversations in which messages wait for an earlier one", "--json --home D"
    ),
    "order show": Verb("order", "show what waits in one conversation, and for which number", "3 --home D"),
    "order release": Verb(
        "order",
        "release what waits, although an earlier message is missing",
        "3 --reason 'the sender has lost number 4' --home D",
    ),
    "order reset": Verb(
        "order",
        "give up what waits and tell its sender, or begin our own numbers anew",
        "3 --reason 'the sender begins anew' --home D",
    ),
    "agency acts": Verb(
        "agency",
        "list what officers did with an application, and verify how they confirmed it",
        "A26000001001N --home D",
    ),
    "agency console": Verb(
        "agency",
        "let an agency's officers decide at the console while its system is away, and back",
        "CODE --reason 'its data centre is away' --home D",
    ),
    "submit": Verb(
        "submit",
        "send a submission as a broker does, and wait for its result",
        "submission.xml --as broker1 --to http://127.0.0.1:8080/msh/ebms2 --wait 60",
    ),
    "submission check": Verb(
        "submission",
        "judge a whole submission as the hub does, and list every problem",
        "submission.xml --attach label@1=label.pdf --home D",
    ),
    "form show": Verb(
        "declaration",
        "print the form of some documents: what they share once, then what each one asks",
        "DOCUMENT OTHER --json",
    ),
    "form compose": Verb(
        "declaration",
        "write the submission that the values of a form make",
        "values.json --out submission.xml",
    ),
    "form read": Verb(
        "declaration",
        "write the values that a submission has in the form of its documents",
        "submission.xml --out values.json",
    ),
    "sign": Verb(
        "signature",
        "sign a submission with your own key, as the console asks",
        "submission.xml --key key.pem --certificate cert.pem",
    ),
    "listen": Verb(
        "submit",
        "receive the hub's results and notices as a broker does, until stopped",
        "--as broker1 --partner partner --folder results",
    ),
    "pull": Verb(
        "submit",
        "pull the hub's results and notices by AS4 as a broker without a server does",
        "--as broker1 --partner partner --folder results",
    ),
    "rules ask": Verb(
        "rules",
        "tell which documents goods need: law, organisation, documents, certain or possible",
        "--hs 3002904000 --direction import --date 2026-11-22 --json",
    ),
    "rules check": Verb(
        "rules",
        "tell which documents the goods of a submission need, and which of them it lacks",
        "submission.xml --json",
    ),
    "rules load": Verb(
        "rules",
        "load a table of needs; every mistake is told with line and column",
        "border-2027.csv --home D",
    ),
    "rules list": Verb(
        "rules", "list the tables of needs with the days on which each is in force", "--home D"
    ),
    "rules impact": Verb(
        "rules",
        "tell which stored cases a new table of needs would have changed, and how",
        "border-2027.csv --since 2026-10-01 --home D",
    ),
    "rules diff": Verb("rules", "tell the rows in which two tables of needs differ", "old.csv new.csv"),
    "map check": Verb(
        "map_check", "prove properties of the mappings, or report where a proof fails", "--path mappings"
    ),
    "map split": Verb(
        "map_explain", "show the requests that a submission gives for each agency", "submission.xml"
    ),
    "map explain": Verb(
        "map_explain",
        "show the source and the destinations of a value",
        "/Declaration/GoodsShipment --submission submission.xml",
    ),
    "map read": Verb("map_document", "show the facts in a notice of an agency", "notice.xml"),
    "map render": Verb(
        "map_document",
        "convert a request or a notice between XML, JSON and fixed records",
        "request.xml --document DOCUMENT --form json",
    ),
    "map sample": Verb(
        "map_document",
        "print a valid random submission with one application, or a notice",
        "DOCUMENT --items 3 --seed 7",
    ),
    "map build": Verb(
        "map_document",
        "write the files generated from the mappings: schemas, WSDLs, labels",
        "--path mappings --out built",
    ),
    "map diff": Verb(
        "map_diff",
        "tell what changes from one folder of mappings to another, field by field",
        "shipped mappings",
    ),
    "map impact": Verb(
        "map_diff",
        "tell which stored cases new mappings would have changed, and how, field by field",
        "mappings --home D",
    ),
    "map pack": Verb(
        "map_check",
        "write a folder of mappings to one signed file with its address, its dates and its proofs",
        "mappings --out mappings.bundle.xml --key publisher.key.pem --certificate publisher.cert.pem",
    ),
    "map verify": Verb(
        "map_check",
        "verify a bundle file: signature, publisher, address and dates; prove its mappings again",
        "mappings.bundle.xml --publisher publisher.cert.pem",
    ),
    "map use": Verb(
        "map_use",
        "show what a folder changes in the active mappings, and activate it now or from a day on",
        "mappings --home D",
    ),
    "map export": Verb(
        "map_use",
        "write all active mappings to a folder, to change it and activate it again",
        "mappings --home D",
    ),
    "map list": Verb(
        "map_use",
        "list the active documents, and the mappings that are planned or were active before",
        "--home D",
    ),
    "declaration check": Verb(
        "declaration", "validate declarations and report their problems", "declaration.xml"
    ),
    "calendar show": Verb(
        "calendar",
        "show the working days and the holidays of an organisation",
        "AGENCY --from 2026-09-21 --until 2026-10-11",
    ),
    "calendar check": Verb(
        "calendar",
        "check a file of a calendar or of terms; every mistake is told with its line",
        "holidays-2028.csv --json",
    ),
    "calendar deadline": Verb(
        "calendar",
        "compute when something is due, in the working days of an organisation",
        "AGENCY --from 2026-09-21T10:00:00+09:00 --days 5 --json",
    ),
    "calendar load": Verb(
        "calendar",
        "load an edition of a calendar or of terms; every mistake is told with its line",
        "holidays-2028.csv --home D",
    ),
    "calendar list": Verb(
        "calendar", "list the calendars and terms with the days on which each is in force", "--home D"
    ),
    "calendar overdue": Verb(
        "calendar", "list what is overdue, or the deadlines in another state", "--home D --json"
    ),
    "pki request": Verb(
        "pki_key",
        "make a key and the request (PKCS#10) for its certificate",
        "CN=broker1,O=Example --key broker1.key.pem --out broker1.csr",
    ),
    "pki key": Verb("pki_key", "show the signing key of the gateway and make a test signature", "--home D"),
    "pki ours": Verb(
        "pki_key",
        "show the current and the next signing certificate of the gateway, for partners",
        "--out hub.pem --home D",
    ),
    "pki validate": Verb(
        "pki_validate",
        "validate a certificate with the given data only",
        "--leaf broker1.cert.pem --anchor ca.pem --crl crl.pem",
    ),
    "pki recognize": Verb(
        "pki_recognize",
        "show whether a signer is accepted, and how",
        "document.xml --root our-list.xml --signer ours.pem --list theirs.xml",
    ),
    "pki vouch": Verb(
        "pki_recognize",
        "add a vouching signature to a signed document; its own signature stays",
        "document.xml --territory NO --level qualified --key k.pem --out vouched.xml",
    ),
    "pki list make": Verb(
        "pki_list",
        "make and sign a trusted list of the gateway from its description",
        "list.toml --key key.pem --certificate cert.pem --out list.xml",
    ),
    "pki list show": Verb(
        "pki_list", "verify a trusted list and show its content", "list.xml --signer signer.pem"
    ),
    "pki list import": Verb(
        "pki_list", "verify a trusted list and store it in place of the current one", "list.xml --home D"
    ),
    "pki list list": Verb(
        "pki_list", "list the stored trusted lists, and which of them are in force", "--home D"
    ),
    "pki crl": Verb("pki_source", "load revocation lists and use them from now on", "crl.pem --home D"),
    "pki source list": Verb(
        "pki_source", "list the sources, their URLs and the freshness of their data", "--home D"
    ),
    "pki source refresh": Verb(
        "pki_source", "fetch from the sources now, through the queue", "root --wait 30 --home D"
    ),
    "pki source forget": Verb(
        "pki_source", "deactivate the data that were fetched from a source", "root --home D"
    ),
    "signature verify": Verb(
        "signature",
        "verify the XML signature of a document; nothing is fetched",
        "document.xml --trust ca.pem",
    ),
    "signature make": Verb(
        "signature",
        "sign a document with XAdES-B, as a party signs its submission",
        "document.xml --key key.pem --certificate cert.pem --out signed.xml",
    ),
    "payload encrypt": Verb(
        "signature",
        "encrypt one payload for the holder of a certificate",
        "payload.xml --for partner.pem --out encrypted.xml",
    ),
    "payload decrypt": Verb(
        "signature",
        "decrypt one payload with a key",
        "encrypted.xml --decryption-key key.pem --decryption-certificate cert.pem --out payload.xml",
    ),
    "verify": Verb(
        "verify", "verify an ebMS 2.0 message in a file; nothing is stored", "message.http --trust ca.pem"
    ),
    "evidence list": Verb("evidence", "list the sealed heads with their time stamps", "--home D"),
    "evidence check": Verb(
        "evidence_check", "verify all evidence, and compare the working rows with it", "--rows --home D"
    ),
    "evidence seal": Verb(
        "evidence", "seal at once the evidence that no head covers yet", "--now --to head.txt --home D"
    ),
    "evidence prove": Verb(
        "evidence", "write the proof of the evidence about one object", "case 4 --to proof.json --home D"
    ),
    "evidence certificate": Verb(
        "evidence_certificate",
        "validate a signer again, with the stored data of the first validation only",
        "7 --home D",
    ),
    "evidence verify": Verb(
        "evidence", "verify a proof without the gateway that wrote it", "proof.json --signer hub.cert.pem"
    ),
    "completion": Verb(
        "completion", "print the completion script for a shell", "bash > gateway-completion.bash"
    ),
}
