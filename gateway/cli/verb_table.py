"""Every noun and verb of the command line: its function, its help line, and an example.

Help, completion and the manual are generated from this table, without importing the verbs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NOUNS", "OLD_SPELLINGS", "SECTIONS", "VERBS", "Noun", "Verb"]

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


class Verb(NamedTuple):
    """A verb: its function as ``module:name`` below `gateway.cli.commands`, its help, its example."""

    place: str
    help: str
    example: str


#: First words and the groups below them. A first word that is itself a verb is also in VERBS.
NOUNS: Final[dict[str, Noun]] = {
    "run": Noun("Run the gateway", "migrate, then serve HTTP and deliver until stopped"),
    "serve": Noun("Run the gateway", "serve HTTP until stopped"),
    "work": Noun("Run the gateway", "deliver until stopped"),
    "check": Noun("Run the gateway", "say what is wrong with settings, keys, data and database"),
    "migrate": Noun("Run the gateway", "bring the database to the version of this code"),
    "party": Noun("Partners", "parties: add, suspend, resume, mandates, certificates"),
    "party certificate": Noun("Partners", "the certificates of a party, and when each counts"),
    "agreement": Noun("Partners", "agreements: load, list, suspend"),
    "case": Noun("Look", "cases: what became of submissions"),
    "message": Noun("Look", "messages: what was received and sent"),
    "error": Noun("Look", "explain a problem by its id"),
    "queue": Noun("Act", "deliveries: list, show, hold, release, requeue, cancel"),
    "submit": Noun("Act", "send a submission as a broker does, and wait for its result"),
    "map": Noun("Mappings", "mappings: check, split, explain, read, build, sample, import, use"),
    "declaration": Noun("Mappings", "judge declarations by their schema"),
    "pki": Noun("Trust", "keys, certificates, trusted lists, sources of revocation lists"),
    "pki list": Noun("Trust", "trusted lists, ours and those of others"),
    "pki source": Noun("Trust", "what is fetched to judge certificates by, and how fresh it is"),
    "signature": Noun("Trust", "XML signatures of any kind: verify, make"),
    "verify": Noun("Trust", "judge a stored ebMS 2.0 message; nothing is stored"),
    "evidence": Noun("Evidence", "what is kept as proof: list, check, prove, verify"),
    "demo": Noun("Test", "play a whole declaration with simulated partners"),
    "conformance": Noun("Test", "attack a gateway and judge its answers"),
    "completion": Noun("Test", "print the script that completes verbs in a shell"),
}

VERBS: Final[dict[str, Verb]] = {
    "run": Verb(
        "process:run_gateway",
        "migrate, then serve HTTP and deliver until stopped",
        "gateway run --home D --workers 2",
    ),
    "serve": Verb("process:serve_http", "serve HTTP until stopped", "gateway serve --home D"),
    "work": Verb("process:run_worker", "deliver until stopped", "gateway work --home D"),
    "check": Verb(
        "check:check_gateway",
        "say what is wrong with settings, keys, data and database",
        "gateway check --home D",
    ),
    "migrate": Verb(
        "migrate:migrate_database",
        "bring the database to the version of this code",
        "gateway migrate --home D",
    ),
    "party add": Verb(
        "party:add_party",
        "register a party, or give it more identifiers",
        "gateway party add broker1 --id 'urn:example|B1' --certificate broker1.cert.pem --home D",
    ),
    "party list": Verb("party:list_parties", "list the parties", "gateway party list --home D"),
    "party show": Verb(
        "party:show_party",
        "show one party with ids, certificates, mandates",
        "gateway party show broker1 --home D",
    ),
    "party suspend": Verb(
        "party:suspend_party", "take nothing more from a party", "gateway party suspend broker1 --home D"
    ),
    "party resume": Verb(
        "party:resume_party",
        "take messages of a suspended party again",
        "gateway party resume broker1 --home D",
    ),
    "party mandate": Verb(
        "party:add_mandate",
        "let one party file for another",
        "gateway party mandate broker1 importer1 --until 2027-01-01 --home D",
    ),
    "party revoke": Verb("party:revoke_mandate", "end a mandate", "gateway party revoke 3 --home D"),
    "party certificate add": Verb(
        "party_certificate:add_certificate",
        "let a party use a certificate that is good by our trust",
        "gateway party certificate add broker1 new.cert.pem --cut 2027-01-01 --home D",
    ),
    "party certificate list": Verb(
        "party_certificate:list_certificates",
        "list certificates with their times, the soonest end first",
        "gateway party certificate list --party broker1 --home D",
    ),
    "party certificate end": Verb(
        "party_certificate:end_certificate",
        "take a certificate until a moment only",
        "gateway party certificate end SHA256 --at 2027-01-01 --home D",
    ),
    "party certificate retire": Verb(
        "party_certificate:retire_certificate",
        "end a certificate of a party",
        "gateway party certificate retire SHA256 --home D",
    ),
    "agreement load": Verb(
        "agreement:load_file",
        "put the P-Modes of a YAML file in force",
        "gateway agreement load broker1.yaml --home D",
    ),
    "agreement list": Verb(
        "agreement:list_agreements", "list the agreements", "gateway agreement list --home D"
    ),
    "agreement suspend": Verb(
        "agreement:suspend_agreement", "end an agreement", "gateway agreement suspend broker1-hub --home D"
    ),
    "case list": Verb(
        "case:list_cases", "list cases, newest first", "gateway case list --state OPEN --home D"
    ),
    "case show": Verb(
        "case:show_case", "show one case with everything about it", "gateway case show SW26000001 --home D"
    ),
    "message list": Verb(
        "message:list_messages",
        "list messages, newest first",
        "gateway message list --direction in --limit 20 --home D",
    ),
    "message show": Verb("message:show_message", "show one message", "gateway message show 7 --home D"),
    "message dump": Verb(
        "message:dump_message",
        "write the stored octets of a message as an HTTP message",
        "gateway message dump 7 --home D > message.http",
    ),
    "error": Verb("error:explain_problem", "explain a problem by its id", "gateway error GW206"),
    "queue list": Verb(
        "queue:list_deliveries",
        "list deliveries that are not done",
        "gateway queue list --state HELD --home D",
    ),
    "queue show": Verb("queue:show_delivery", "show one delivery", "gateway queue show 12 --home D"),
    "queue hold": Verb("queue:hold_deliveries", "keep a delivery back", "gateway queue hold 12 13 --home D"),
    "queue release": Verb(
        "queue:release_deliveries", "let a held delivery go", "gateway queue release 12 --home D"
    ),
    "queue requeue": Verb(
        "queue:requeue_deliveries", "try a failed delivery again", "gateway queue requeue 12 --home D"
    ),
    "queue cancel": Verb(
        "queue:cancel_deliveries",
        "never make a queued, held or failed delivery",
        "gateway queue cancel 12 --home D",
    ),
    "submit": Verb(
        "submit:submit_file",
        "send a submission as a broker does, and wait for its result",
        "gateway submit submission.xml --as broker1 --to http://127.0.0.1:8080/msh/ebms2 --wait 60",
    ),
    "map check": Verb(
        "map_check:check_mappings",
        "prove the mappings, or say where they break a proof",
        "gateway map check --path mappings",
    ),
    "map split": Verb(
        "map_split:split_submission_file",
        "show what a submission becomes for each agency",
        "gateway map split submission.xml",
    ),
    "map explain": Verb(
        "map_explain:explain_place",
        "tell where a value comes from and where it goes",
        "gateway map explain /Declaration/GoodsShipment --submission submission.xml",
    ),
    "map read": Verb(
        "map_document:read_notice_file",
        "say what a notice of an agency means",
        "gateway map read notice.xml",
    ),
    "map sample": Verb(
        "map_document:print_sample",
        "print a valid random submission with one application, or a notice",
        "gateway map sample DOCUMENT --items 3 --seed 7",
    ),
    "map build": Verb(
        "map_document:build_files",
        "write what is made from the mappings: schemas, WSDLs, forms, labels",
        "gateway map build --path mappings --out built",
    ),
    "map matrix": Verb(
        "map_document:draw_matrix",
        "draw one mapping as a page of HTML",
        "gateway map matrix DOCUMENT --out document.html",
    ),
    "map import": Verb(
        "map_import:import_documents",
        "turn an inventory of documents into a folder of mappings",
        "gateway map import inventory.yaml --out mappings",
    ),
    "map use": Verb(
        "map_use:use_mappings",
        "put a folder of mappings in force from the next message on",
        "gateway map use mappings --home D",
    ),
    "map list": Verb(
        "map_use:list_mappings",
        "list the documents in force, and what was in force before",
        "gateway map list --home D",
    ),
    "declaration check": Verb(
        "declaration:check_declarations",
        "say whether declarations are accepted, and why not",
        "gateway declaration check declaration.xml",
    ),
    "pki demo": Verb(
        "pki_sandbox:make_authority",
        "make a sandbox authority with parties, good and declared bad ones",
        "gateway pki demo --out D/pki --party hub --party broker1",
    ),
    "pki request": Verb(
        "pki_sandbox:make_request",
        "make a key, and the request (PKCS#10) for its certificate",
        "gateway pki request CN=broker1,O=Example --key broker1.key.pem --out broker1.csr",
    ),
    "pki issue": Verb(
        "pki_sandbox:issue_certificate",
        "issue the certificate of a request, as the sandbox authority",
        "gateway pki issue broker1.csr --ca D/pki --out broker1.cert.pem",
    ),
    "pki cross": Verb(
        "pki_sandbox:certify_authority",
        "certify another authority's key: a bridge for its parties",
        "gateway pki cross other-ca.pem --ca D/pki --policy 1.2.3=1.2.4 --out bridge.pem",
    ),
    "pki revoke": Verb(
        "pki_sandbox:revoke_sandbox_certificates",
        "write the next revocation list of the sandbox authority",
        "gateway pki revoke broker1.cert.pem --ca D/pki",
    ),
    "pki key": Verb(
        "pki_key:show_keys", "say which key the gateway signs with, and try it", "gateway pki key --home D"
    ),
    "pki ours": Verb(
        "pki_key:show_certificates",
        "say by which certificates we sign, now and next, for partners",
        "gateway pki ours --out hub.pem --home D",
    ),
    "pki validate": Verb(
        "pki_validate:validate_certificates",
        "judge a certificate by what is named here, and nothing else",
        "gateway pki validate --leaf broker1.cert.pem --anchor ca.pem --crl crl.pem",
    ),
    "pki recognize": Verb(
        "pki_recognize:recognize_signer",
        "say whether and by which way a signer is admitted",
        "gateway pki recognize document.xml --root our-list.xml --signer ours.pem --list theirs.xml",
    ),
    "pki vouch": Verb(
        "pki_recognize:vouch_document",
        "sign a document once more; its own signature stays",
        "gateway pki vouch document.xml --territory NO --level qualified --key k.pem --out vouched.xml",
    ),
    "pki list make": Verb(
        "pki_list:make_list",
        "write and sign a list of ours from its description",
        "gateway pki list make list.toml --key key.pem --certificate cert.pem --out list.xml",
    ),
    "pki list show": Verb(
        "pki_list:show_list",
        "verify a list and say what is on it",
        "gateway pki list show list.xml --signer signer.pem",
    ),
    "pki list import": Verb(
        "pki_list:import_list_file",
        "verify a list and keep it in place of the one in hand",
        "gateway pki list import list.xml --home D",
    ),
    "pki list list": Verb(
        "pki_list:list_lists",
        "list the lists that a hub has in hand, and which are in force",
        "gateway pki list list --home D",
    ),
    "pki crl": Verb(
        "pki_source:load_crl_file",
        "judge certificates by these revocation lists from now on",
        "gateway pki crl crl.pem --home D",
    ),
    "pki source list": Verb(
        "pki_source:list_sources",
        "say what is fetched, from where, and how fresh it is",
        "gateway pki source list --home D",
    ),
    "pki source refresh": Verb(
        "pki_source:refresh_sources",
        "fetch now what is fetched on schedule, by the queue",
        "gateway pki source refresh root --wait 30 --home D",
    ),
    "pki source forget": Verb(
        "pki_source:forget_source",
        "take what was fetched from a source out of force",
        "gateway pki source forget root --home D",
    ),
    "signature verify": Verb(
        "signature:verify_file",
        "judge the XML signature of a document; nothing is fetched",
        "gateway signature verify document.xml --trust ca.pem",
    ),
    "signature make": Verb(
        "signature:sign_file",
        "sign a document as a party signs its submission (XAdES-B)",
        "gateway signature make document.xml --key key.pem --certificate cert.pem --out signed.xml",
    ),
    "verify": Verb(
        "verify:verify_message",
        "judge a stored ebMS 2.0 message; nothing is stored",
        "gateway verify message.http --trust ca.pem",
    ),
    "evidence list": Verb(
        "evidence:list_sealed_heads",
        "list the sealed heads with their time stamps",
        "gateway evidence list --home D",
    ),
    "evidence check": Verb(
        "evidence:check_evidence", "compute and judge all of it anew", "gateway evidence check --home D"
    ),
    "evidence prove": Verb(
        "evidence:write_proof",
        "write what proves the evidence about one thing",
        "gateway evidence prove case 4 --to proof.json --home D",
    ),
    "evidence certificate": Verb(
        "evidence_certificate:judge_signers",
        "judge a signer again, by what was kept of the first judgement alone",
        "gateway evidence certificate 7 --home D",
    ),
    "evidence verify": Verb(
        "evidence:verify_proof_file",
        "judge such a file, without the gateway that wrote it",
        "gateway evidence verify proof.json --signer hub.cert.pem",
    ),
    "demo": Verb(
        "demo:play_demo",
        "play a whole declaration with simulated partners",
        "gateway demo --home demo-home",
    ),
    "conformance run": Verb(
        "conformance:run_suite",
        "play a suite against a gateway, or against a hub of its own",
        "gateway conformance run hostile --only 'SIG-*'",
    ),
    "conformance list": Verb(
        "conformance:list_suite_cases", "list the cases", "gateway conformance list --only 'SIG-*'"
    ),
    "conformance table": Verb(
        "conformance:print_attacks",
        "list the known attacks, and what holds each of them off",
        "gateway conformance table",
    ),
    "conformance cost": Verb(
        "conformance_cost:measure_message_costs",
        "measure what attacks cost a hub before it knows their sender",
        "gateway conformance cost --only 'XML-*'",
    ),
    "conformance invite": Verb(
        "conformance:invite_suite",
        "register the suite's parties in a sandbox home",
        "gateway conformance invite --out D/partner --home D",
    ),
    "completion": Verb(
        "completion:print_script",
        "print the script that completes verbs in a shell",
        "gateway completion bash > gateway-completion.bash",
    ),
}

#: Former names of verbs with their present ones; the former names are refused.
OLD_SPELLINGS: Final[dict[str, str]] = {
    "pki list held": "pki list list",
    "pki sources": "pki source list",
    "pki refresh": "pki source refresh",
    "pki forget": "pki source forget",
    "party retire": "party certificate retire",
    "evidence heads": "evidence list",
}
