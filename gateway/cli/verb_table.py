"""Every verb of the command line: its function, its help line, and an example.

Help, completion and the manual are generated from this table, without importing the verbs.
"""

from __future__ import annotations

from typing import Final

from gateway.cli.calendar_verbs import CALENDAR_VERBS
from gateway.cli.conformance_verbs import CONFORMANCE_VERBS
from gateway.cli.ledger_verbs import LEDGER_VERBS
from gateway.cli.mapping_verbs import MAPPING_VERBS
from gateway.cli.trust_verbs import TRUST_VERBS, Verb
from gateway.cli.verb_nouns import NOUNS, SECTIONS, Noun

__all__ = ["NOUNS", "OLD_SPELLINGS", "SECTIONS", "VERBS", "Noun", "Verb"]


VERBS: Final[dict[str, Verb]] = {
    "run": Verb(
        "process:run_gateway",
        "migrate the database, then serve HTTP and make deliveries until stopped",
        "gateway run --home D --workers 2",
        effect="serves",
    ),
    "serve": Verb(
        "process:serve_http", "serve HTTP until stopped", "gateway serve --home D", effect="serves"
    ),
    "work": Verb(
        "process:run_worker", "make deliveries until stopped", "gateway work --home D", effect="serves"
    ),
    "console": Verb(
        "process:run_console", "serve the console until stopped", "gateway console --home D", effect="serves"
    ),
    "api": Verb("process:run_api", "serve the API until stopped", "gateway api --home D", effect="serves"),
    "check": Verb(
        "check:check_gateway",
        "report problems of settings, keys, data and database",
        "gateway check --home D",
    ),
    "config show": Verb(
        "config:show_settings",
        "show every setting with its value in effect, and where the value comes from",
        "gateway config show http --home D",
    ),
    "migrate": Verb(
        "migrate:migrate_database",
        "migrate the database to the version of this program",
        "gateway migrate --home D",
        effect="changes",
    ),
    "party add": Verb(
        "party:add_party",
        "register a party, or give it more identifiers",
        "gateway party add broker1 --id 'urn:example|B1' --certificate broker1.cert.pem --home D",
        effect="changes",
    ),
    "party list": Verb("party:list_parties", "list the parties", "gateway party list --home D"),
    "party show": Verb(
        "party:show_party",
        "show one party with its ids, certificates and mandates",
        "gateway party show broker1 --home D",
    ),
    "party suspend": Verb(
        "party:suspend_party",
        "suspend a party; its messages are refused",
        "gateway party suspend broker1 --home D",
        effect="changes",
    ),
    "party resume": Verb(
        "party:resume_party",
        "resume a suspended party; its messages are accepted again",
        "gateway party resume broker1 --home D",
        effect="changes",
    ),
    "party mandate add": Verb(
        "party_mandate:add_mandate",
        "register a mandate: one party may file for another",
        "gateway party mandate add broker1 importer1 --until 2027-01-01 --home D",
        effect="changes",
    ),
    "party mandate list": Verb(
        "party_mandate:list_mandates",
        "list the mandates with their periods",
        "gateway party mandate list --party broker1 --home D",
    ),
    "party mandate revoke": Verb(
        "party_mandate:revoke_mandate",
        "revoke a mandate",
        "gateway party mandate revoke 3 --home D",
        effect="changes",
    ),
    **LEDGER_VERBS,
    "route add": Verb(
        "route:add_route",
        "pass messages for another party on to the next message handler",
        "gateway route add 'urn:example|B1' hub2 https://hub2.example/msh/ebms2 --from broker1 --home D",
        effect="changes",
    ),
    "route list": Verb("route:list_routes", "list the routes of messages", "gateway route list --home D"),
    "route remove": Verb(
        "route:remove_route",
        "pass no more messages on by a route",
        "gateway route remove 3 --home D",
        effect="changes",
    ),
    "party certificate add": Verb(
        "party_certificate:add_certificate",
        "validate a certificate and register it for a party",
        "gateway party certificate add broker1 new.cert.pem --cut 2027-01-01 --home D",
        effect="changes",
    ),
    "party certificate list": Verb(
        "party_certificate:list_certificates",
        "list certificates with their periods, the earliest end first",
        "gateway party certificate list --party broker1 --home D",
    ),
    "party certificate end": Verb(
        "party_certificate:end_certificate",
        "accept a certificate only until a given time",
        "gateway party certificate end SHA256 --at 2027-01-01 --home D",
        effect="changes",
    ),
    "party certificate retire": Verb(
        "party_certificate:retire_certificate",
        "stop accepting a certificate of a party now",
        "gateway party certificate retire SHA256 --home D",
        effect="changes",
    ),
    "account add": Verb(
        "account:add_account",
        "add a person who signs in to the console",
        "gateway account add kim --organisation party/broker1 --role filer --home D",
        effect="changes",
    ),
    "account list": Verb(
        "account:list_accounts",
        "list the people who may sign in, with their roles",
        "gateway account list --organisation party/broker1 --home D",
    ),
    "account show": Verb(
        "account:show_account", "show a person with roles and sessions", "gateway account show kim --home D"
    ),
    "account role": Verb(
        "account:set_account_roles",
        "set the roles of a person in one organisation",
        "gateway account role kim --organisation party/broker1 --role manager --home D",
        effect="changes",
    ),
    "account password": Verb(
        "account:set_account_password",
        "set the password of a person",
        "gateway account password kim --home D",
        effect="changes",
    ),
    "account suspend": Verb(
        "account:suspend_account",
        "suspend a person; the sessions of the person end",
        "gateway account suspend kim --home D",
        effect="changes",
    ),
    "account resume": Verb(
        "account:resume_account",
        "let a suspended person sign in again",
        "gateway account resume kim --home D",
        effect="changes",
    ),
    "account certificate": Verb(
        "account_sign_in:set_account_certificate",
        "set the client certificate by which a person signs in",
        "gateway account certificate kim kim.cert.pem --home D",
        effect="changes",
    ),
    "account oidc": Verb(
        "account_sign_in:set_account_subject",
        "set the subject of an OpenID provider by which a person signs in",
        "gateway account oidc kim --subject 248289761001 --home D",
        effect="changes",
    ),
    "agreement load": Verb(
        "agreement:load_file",
        "activate the P-Modes of a YAML file or a CPA, unless they cannot work",
        "gateway agreement load broker1.yaml --home D",
        effect="changes",
    ),
    "agreement check": Verb(
        "agreement:check_file",
        "report what would not work in a YAML file or a CPA; nothing is loaded",
        "gateway agreement check broker1.yaml --home D",
    ),
    "agreement lint": Verb(
        "agreement_lint:lint_file",
        "report what is wrong with a YAML file or a CPA, with clause and XPath; no home is needed",
        "gateway agreement lint partner-cpa.xml --json",
    ),
    "agreement export": Verb(
        "agreement_export:export_agreement",
        "write an agreement as a CPA of CPPA 2.0 that loads again",
        "gateway agreement export broker1-hub --out broker1-cpa.xml --home D",
    ),
    "agreement compose": Verb(
        "agreement_compose:compose_profiles",
        "write what two profiles (CPP) have in common as a proposed CPA",
        "gateway agreement compose ours.xml theirs.xml --id CPA --start 2027-01-01T00:00Z"
        " --end 2029-01-01T00:00Z --out cpa.xml",
    ),
    "agreement diff": Verb(
        "agreement_export:compare_agreements",
        "tell what differs between two agreements, files or loaded ones, in words of the business",
        "gateway agreement diff old-cpa.xml new-cpa.xml",
    ),
    "agreement override": Verb(
        "agreement_override:override_terms",
        "do something differently from the document of an agreement, which stays as it is",
        "gateway agreement override broker1-hub --retries 5 --reason 'slow line' --home D",
        effect="changes",
    ),
    "agreement show": Verb(
        "agreement_show:show_agreement",
        "show one agreement: parties, P-Modes, endpoints, state, and what does not work",
        "gateway agreement show broker1-hub --home D",
    ),
    "agreement list": Verb(
        "agreement:list_agreements", "list the agreements", "gateway agreement list --home D"
    ),
    "agreement suspend": Verb(
        "agreement:suspend_agreement",
        "suspend an agreement; its messages are refused",
        "gateway agreement suspend broker1-hub --home D",
        effect="changes",
    ),
    "case list": Verb(
        "case:list_cases",
        "list cases, newest first",
        "gateway case list --state IN_PROGRESS --older 2h --home D",
    ),
    "case show": Verb(
        "case:show_case", "show one case with everything about it", "gateway case show SW260000001X --home D"
    ),
    "case unask": Verb(
        "case:stop_asking",
        "ask a silent agency no longer whether it cancels; the application stands",
        "gateway case unask A26000001002K --reason 'no answer since Monday' --home D",
        effect="changes",
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
    "message split": Verb(
        "message_split:split_message",
        "split an AS4 message in a file into signed fragments",
        "gateway message split large.http --size 1000000 --compress --key key.pem --certificate cert.pem "
        "--out fragments",
    ),
    "message join": Verb(
        "message_split:join_message",
        "verify the fragments of an AS4 message and join them",
        "gateway message join fragments/*.http --trust ca.pem --out joined.http",
    ),
    "message refusals": Verb(
        "message:list_refused",
        "count refused messages and calls, by sender and problem",
        "gateway message refusals --problem GW209 --home D",
    ),
    "retention show": Verb(
        "retention:show_retention",
        "show which octets of ended cases would be removed",
        "gateway retention show --home D",
    ),
    "retention purge": Verb(
        "retention:purge_old_octets",
        "remove the octets of ended cases that nothing keeps",
        "gateway retention purge --home D",
        effect="changes",
    ),
    "audit list": Verb(
        "audit:list_audit",
        "list the changes by verbs and by the gateway itself, newest first",
        "gateway audit list --since 2027-01-01 --what broker1 --home D",
    ),
    "audit show": Verb(
        "audit:show_audit",
        "show one change with its object before and after",
        "gateway audit show 17 --home D",
    ),
    "error": Verb("error:explain_problem", "explain a problem by its id", "gateway error GW206"),
    "queue list": Verb(
        "queue:list_deliveries",
        "list deliveries that are not done",
        "gateway queue list --state HELD --home D",
    ),
    "queue show": Verb("queue:show_delivery", "show one delivery", "gateway queue show 12 --home D"),
    "queue lanes": Verb(
        "queue_hold:list_lanes",
        "list the lanes: how much is in each, and which are held",
        "gateway queue lanes --home D",
    ),
    "queue hold": Verb(
        "queue_hold:hold_deliveries",
        "hold queued deliveries, or all that go to an agency or party, also later ones",
        "gateway queue hold --agency CODE --reason 'planned maintenance until 18:00' --home D",
        effect="changes",
    ),
    "queue release": Verb(
        "queue_hold:release_deliveries",
        "release held deliveries, or a held lane",
        "gateway queue release --agency CODE --home D",
        effect="changes",
    ),
    "queue try": Verb(
        "queue_hold:try_deliveries",
        "try now what waits for its next attempt: deliveries, or a whole lane",
        "gateway queue try --agency CODE --home D",
        effect="changes",
    ),
    "queue requeue": Verb(
        "queue:requeue_deliveries",
        "put a failed delivery back in the queue",
        "gateway queue requeue 12 --home D",
        effect="changes",
    ),
    "queue cancel": Verb(
        "queue:cancel_deliveries",
        "cancel a queued, held or failed delivery",
        "gateway queue cancel 12 --home D",
        effect="changes",
    ),
    "drain": Verb(
        "drain:drain_node",
        "let a node take no new work, and wait until it holds none",
        "gateway drain --reason 'upgrade' --home D",
        effect="changes",
    ),
    "node list": Verb(
        "drain:list_nodes",
        "list the nodes that work on the database",
        "gateway node list --home D",
    ),
    "order list": Verb(
        "order:list_sequences",
        "list conversations in which messages wait for an earlier one",
        "gateway order list --json --home D",
    ),
    "order show": Verb(
        "order:show_sequence",
        "show what waits in one conversation, and for which number",
        "gateway order show 3 --home D",
    ),
    "order release": Verb(
        "order:release_sequence",
        "release what waits, although an earlier message is missing",
        "gateway order release 3 --reason 'the sender has lost number 4' --home D",
        effect="changes",
    ),
    "order reset": Verb(
        "order:reset_sequence",
        "give up what waits and tell its sender, or begin our own numbers anew",
        "gateway order reset 3 --reason 'the sender begins anew' --home D",
        effect="changes",
    ),
    "agency acts": Verb(
        "agency_acts:list_agency_acts",
        "list what officers did with an application, and verify how they confirmed it",
        "gateway agency acts A26000001001N --home D",
    ),
    "agency console": Verb(
        "agency:switch_agency_console",
        "let an agency's officers decide at the console while its system is away, and back",
        "gateway agency console CODE --reason 'its data centre is away' --home D",
        effect="changes",
    ),
    "submit": Verb(
        "submit:submit_file",
        "send a submission as a broker does, and wait for its result",
        "gateway submit submission.xml --as broker1 --to http://127.0.0.1:8080/msh/ebms2 --wait 60",
    ),
    "submission check": Verb(
        "submission:check_submission",
        "judge a whole submission as the hub does, and list every problem",
        "gateway submission check submission.xml --attach label@1=label.pdf --home D",
    ),
    "form show": Verb(
        "form:show_form",
        "print the form of some documents: what they share once, then what each one asks",
        "gateway form show DOCUMENT OTHER --json",
    ),
    "form compose": Verb(
        "form:compose_file",
        "write the submission that the values of a form make",
        "gateway form compose values.json --out submission.xml",
    ),
    "form read": Verb(
        "form:read_submission_file",
        "write the values that a submission has in the form of its documents",
        "gateway form read submission.xml --out values.json",
    ),
    "sign": Verb(
        "sign:sign_submission_file",
        "sign a submission with your own key, as the console asks",
        "gateway sign submission.xml --key key.pem --certificate cert.pem",
    ),
    "listen": Verb(
        "listen:receive_messages",
        "receive the hub's results and notices as a broker does, until stopped",
        "gateway listen --as broker1 --partner partner --folder results",
    ),
    "pull": Verb(
        "pull:pull_messages",
        "pull the hub's results and notices by AS4 as a broker without a server does",
        "gateway pull --as broker1 --partner partner --folder results",
    ),
    "rules ask": Verb(
        "rules:ask_rules",
        "tell which documents goods need: law, organisation, documents, certain or possible",
        "gateway rules ask --hs 3002904000 --direction import --date 2026-11-22 --json",
    ),
    "rules check": Verb(
        "rules:check_needs",
        "tell which documents the goods of a submission need, and which of them it lacks",
        "gateway rules check submission.xml --json",
    ),
    "rules load": Verb(
        "rules_load:load_table_file",
        "load a table of needs; every mistake is told with line and column",
        "gateway rules load border-2027.csv --home D",
        effect="changes",
    ),
    "rules list": Verb(
        "rules_load:list_need_tables",
        "list the tables of needs with the days on which each is in force",
        "gateway rules list --home D",
    ),
    "rules impact": Verb(
        "rules_load:show_impact",
        "tell which stored cases a new table of needs would have changed, and how",
        "gateway rules impact border-2027.csv --since 2026-10-01 --home D",
    ),
    "rules diff": Verb(
        "rules:compare_need_tables",
        "tell the rows in which two tables of needs differ",
        "gateway rules diff old.csv new.csv",
    ),
    **MAPPING_VERBS,
    "declaration check": Verb(
        "declaration:check_declarations",
        "validate declarations and report their problems",
        "gateway declaration check declaration.xml",
    ),
    **CALENDAR_VERBS,
    **TRUST_VERBS,
    "evidence list": Verb(
        "evidence:list_sealed_heads",
        "list the sealed heads with their time stamps",
        "gateway evidence list --home D",
    ),
    "evidence check": Verb(
        "evidence:check_evidence", "recompute and verify all evidence", "gateway evidence check --home D"
    ),
    "evidence prove": Verb(
        "evidence:write_proof",
        "write the proof of the evidence about one object",
        "gateway evidence prove case 4 --to proof.json --home D",
    ),
    "evidence certificate": Verb(
        "evidence_certificate:judge_signers",
        "validate a signer again, with the stored data of the first validation only",
        "gateway evidence certificate 7 --home D",
    ),
    "evidence verify": Verb(
        "evidence:verify_proof_file",
        "verify a proof without the gateway that wrote it",
        "gateway evidence verify proof.json --signer hub.cert.pem",
    ),
    "practice": Verb(
        "practice:run_practice",
        "run a hub for practice, with simulated agencies and a console",
        "gateway practice --home practice-home",
        effect="plays",
    ),
    "demo": Verb(
        "demo:play_demo",
        "run a complete declaration with simulated partners",
        "gateway demo --home demo-home",
        effect="plays",
    ),
    **CONFORMANCE_VERBS,
    "completion": Verb(
        "completion:print_script",
        "print the completion script for a shell",
        "gateway completion bash > gateway-completion.bash",
    ),
}

#: Former names of verbs with their present ones; the former names are refused.
OLD_SPELLINGS: Final[dict[str, str]] = {
    "pki list held": "pki list list",
    "pki sources": "pki source list",
    "pki refresh": "pki source refresh",
    "pki forget": "pki source forget",
    "party mandate": "party mandate add",
    "party retire": "party certificate retire",
    "party revoke": "party mandate revoke",
    "evidence heads": "evidence list",
}
