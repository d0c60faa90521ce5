"""Problems of the gateway itself."""

from __future__ import annotations

from pathlib import Path

from gateway.errors.problem import GatewayError, Problem, ProtocolCodes

SETTINGS_WRONG = Problem(
    id="GW801",
    title="settings wrong (names the key)",
    meaning="The settings are wrong. The gateway does not start with them.",
    cause="A key is unknown, is missing or has an invalid value. The message names it.",
    remedy="Correct the key in gateway.toml and run `gateway check`.",
    ours=True,
)

SCHEMA_VERSION_WRONG = Problem(
    id="GW802",
    title="database older or newer than the code",
    meaning="The tables of the database do not match this version of the gateway.",
    cause=(
        "The software was updated and the database was not, or the reverse. Or the database is that of "
        "another program."
    ),
    remedy=(
        "Older database: run `gateway migrate`. Newer database: install the newer gateway. Database of "
        "another program: name that of the hub."
    ),
    ours=True,
    codes=ProtocolCodes(http=503),
)

KEY_UNAVAILABLE = Problem(
    id="GW803",
    title="private key unavailable",
    meaning="The private key cannot be used, so the gateway cannot sign.",
    cause=(
        "A file, variable, password, token or PIN is missing, unreadable or wrong, key and certificate do "
        "not match, an Ed25519 key would have to sign a document, or this node has another key of the "
        "webhooks than the other nodes."
    ),
    remedy=(
        "Operator: run `gateway pki key`; for `api.webhook_key`, copy the file of the node that has it. "
        "Sender: send the same message again later. If it was "
        "stored, you then get its receipt."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(soap="Server", http=503),
)

TRUST_STALE = Problem(
    id="GW804",
    title="time stamps or trust data outdated: no new messages accepted",
    meaning=(
        "Time stamps or trust data are too old. The gateway accepts no new messages until they are renewed."
    ),
    cause="The gateway could not renew time stamps or revocation data in time.",
    remedy=(
        "Operator: read the log, `gateway evidence list` (last time stamp) and "
        "`gateway pki source list`. Run `gateway pki source refresh`. Sender: try again later."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

EVIDENCE_BROKEN = Problem(
    id="GW805",
    title="evidence chain broken, or database damaged",
    meaning="Stored evidence does not have its recorded digest, or the database is damaged or lacks tables.",
    cause="Rows or octets were changed or lost outside the gateway, or a disk fails.",
    remedy=(
        "Stop the gateway and do not change the database. A damaged file: keep it, and restore the "
        "backup. Else find the rows with `gateway evidence check`, compare them with a backup, and find "
        "the cause."
    ),
    ours=True,
    codes=ProtocolCodes(soap="Server", http=503),
)

TOO_MANY_REQUESTS = Problem(
    id="GW807",
    title="too many requests of one sender at once",
    meaning=(
        "The gateway already processes the maximum number of requests of this sender. It did not "
        "accept this one."
    ),
    cause="The sender sends more requests at once than `http.requests_per_party` allows.",
    remedy="Send the same message again after the seconds in Retry-After, over fewer connections.",
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

MISUSE = Problem(
    id="GW808",
    title="misuse (names the option, file or place)",
    meaning="A verb cannot do what it was asked to do as it was asked. It changed nothing.",
    cause=(
        "An option or argument is wrong, a named file is missing or is not what the verb reads, a "
        "folder is no home, or a port is in use."
    ),
    remedy="Correct what the message names. The verb with `--help` says what it takes.",
    ours=True,
)

EVIDENCE_NOT_SEALED = Problem(
    id="GW809",
    title="evidence not sealed yet",
    meaning="The evidence of this object is stored, but no head covers it yet, so nothing proves it.",
    cause="Evidence is sealed at intervals (`time_stamps.every`), and this is newer than the last head.",
    remedy="Ask again after some minutes. Operator: `gateway evidence seal --now` seals it at once.",
    ours=True,
    retry=True,
)

DATABASE_HELD = Problem(
    id="GW810",
    title="database held: it is older than what the gateway has acknowledged",
    meaning=(
        "The database lacks what the gateway has acknowledged before. Until an operator has decided, nothing "
        "is acknowledged and nothing is delivered."
    ),
    cause=(
        "A backup was restored, files of the database were lost, a server became primary without the last "
        "commits, or the mark of what was acknowledged cannot be read. Numbers could be given twice."
    ),
    remedy=(
        "Operator: name the newer database, or run `gateway restore check` and `gateway restore confirm`. "
        "Sender: send the same message again later."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

WRONG_STORE = Problem(
    id="GW811",
    title="not the store of large payloads of this database",
    meaning=(
        "The folder or bucket of large payloads that this process uses lacks the mark that its database has "
        "noted, or has that of another one. Large payloads are not accepted, read or removed here."
    ),
    cause=(
        "Nodes have folders of their own in place of one that they share, a disk is not mounted, two "
        "gateways name the same store, or payloads were moved or restored without their mark."
    ),
    remedy=(
        "Operator: name or mount the store of all nodes (`payloads.folder`, `payloads.s3`). If it is the "
        "right one without its mark: `gateway restore payloads`. Sender: send the message again later."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

OUR_MISTAKE = Problem(
    id="GW901",
    title="internal error",
    meaning="An error occurred inside the gateway. The sender did not cause it.",
    cause="The program has a defect. The log records it with this id.",
    remedy=(
        "Send the same message again later. If the problem persists, report the time and the "
        "MessageId to the operator."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms2="Unknown", ebms3="EBMS:0004", soap="Server", http=500),
)

SUITE_PROFILE_WRONG = Problem(
    id="GW902",
    title="profile of a tested gateway is wrong (names file and key)",
    meaning="The suite does not know what the tested gateway declares. Nothing was sent.",
    cause="The profile has a key or a feature that there is not, or a value of another kind.",
    remedy="Correct what the message names. The manual page of the suite lists keys and features.",
    ours=True,
)

REPORT_NOT_PROVEN = Problem(
    id="GW903",
    title="report and its signature do not belong together",
    meaning="The signature does not prove this report.",
    cause="The report was changed after it was signed, or the signature is of another report.",
    remedy="Ask the tester for the report and its signature again. Do not rely on this copy.",
    ours=True,
)

STORED_MAPPINGS_UNREAD = Problem(
    id="GW904",
    title="stored mappings not read by this version of the program",
    meaning="Mappings that came into force with an earlier version of the program do not load in this one.",
    cause="The mapping language rejects today what it took then. The detail names file, line and field.",
    remedy=(
        "Write them with `gateway map export FOLDER --bundle DIGEST`, mend what the detail names, and put "
        "them into force with `gateway map use FOLDER`. What waits then goes on."
    ),
    ours=True,
    retry=True,
)

CHECK_FAILED = Problem(
    id="GW905",
    title="a check has failed",
    meaning="A check, or the examination of a record, did not end: whatever it would report is unknown.",
    cause="The program has a defect, which a record or a file of this gateway shows.",
    remedy=(
        "What the other checks report holds. Run the verb with GATEWAY_TRACE=1, or read the log: both show "
        "where it failed. Report that with the version of the program."
    ),
    ours=True,
)


AGREEMENT_UNREAD = Problem(
    id="GW906",
    title="stored agreement not read by this version of the program",
    meaning=(
        "An agreement that is in force does not load in this version of the program. Only what is sent and "
        "received under it waits."
    ),
    cause=(
        "Another version of the program has stored a term that this one does not know or refuses, as while "
        "nodes are updated one after the other. Or its row was changed outside the gateway."
    ),
    remedy=(
        "Operator: update this node, or load the agreement again with `gateway agreement load FILE`. Sender: "
        "send the same message again later."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms2="Unknown", ebms3="EBMS:0004", soap="Server", http=503),
)


def make_path_problem(path: Path, participle: str, mistake: Exception, location: str = "") -> GatewayError:
    """Return GW808 for a file that cannot be read or written, with the reason of the system.

    `participle` is the participle for the text, such as "read". Without a `location` the path is the
    location.
    """
    reason = getattr(mistake, "strerror", None) or "the name of the file is not possible"
    return GatewayError(MISUSE, f"{path} cannot be {participle}: {reason}", location or str(path))
