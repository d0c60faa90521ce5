"""Problems of the gateway itself."""

from __future__ import annotations

from gateway.errors.problem import Problem

__all__ = [
    "EVIDENCE_BROKEN",
    "KEY_UNAVAILABLE",
    "NO_ROOM",
    "OUR_MISTAKE",
    "SCHEMA_VERSION_WRONG",
    "SETTINGS_WRONG",
    "TOO_MANY_REQUESTS",
    "TRUST_STALE",
]

SETTINGS_WRONG = Problem(
    id="GW801",
    title="settings wrong (names the key)",
    meaning="The settings are wrong, so the gateway does not start.",
    cause="A key is unknown, missing or has an unusable value; the location names it.",
    remedy="Correct the key in gateway.toml and run `gateway check`.",
    ours=True,
)

SCHEMA_VERSION_WRONG = Problem(
    id="GW802",
    title="database older or newer than the code",
    meaning="The database does not have the tables this version of the gateway needs.",
    cause="The software was updated and the database was not, or the other way round.",
    remedy="Older database: run `gateway migrate`. Newer database: install the newer gateway.",
    ours=True,
    http=503,
)

KEY_UNAVAILABLE = Problem(
    id="GW803",
    title="private key unavailable",
    meaning="The private key cannot be used, so nothing can be signed.",
    cause=(
        "The file is missing or not readable, the variable or the password is wrong or not set, key and "
        "certificate do not match, or the token is away or refuses its PIN."
    ),
    remedy=(
        "Operator: see what `gateway pki key` says. Sender: send the same message again later; "
        "it may have been stored, and is receipted then."
    ),
    ours=True,
    retry=True,
    soap="Server",
    http=503,
)

TRUST_STALE = Problem(
    id="GW804",
    title="time-stamping or trust data stale too long: no new messages taken",
    meaning="The data that trust rests on is too old; no new messages are taken until it is fresh.",
    cause="Revocation lists or time stamps could not be renewed for too long.",
    remedy=(
        "Operator: the log says whose answer was missing or wrong; `gateway evidence list` shows the last "
        "time stamp, `gateway pki source refresh` fetches lists at once. Sender: try again later."
    ),
    ours=True,
    retry=True,
    ebms3="EBMS:0004",
    soap="Server",
    http=503,
)

EVIDENCE_BROKEN = Problem(
    id="GW805",
    title="evidence chain broken",
    meaning="Stored evidence does not have the digest it was stored with.",
    cause="Rows or octets were changed or lost outside the gateway, or a disk is failing.",
    remedy="Stop writing, keep the database as it is, compare with a backup, and find out who changed it.",
    ours=True,
    soap="Server",
    http=503,
)

NO_ROOM = Problem(
    id="GW806",
    title="no room: queue, disk or workers full",
    meaning="There is no room to take the message safely, so it was not taken.",
    cause="The database is away or busy, a disk is full, or every worker is occupied.",
    remedy="Send the same message again later. Operator: look at /status/ready, disks and queue.",
    ours=True,
    retry=True,
    ebms3="EBMS:0004",
    soap="Server",
    http=503,
)

TOO_MANY_REQUESTS = Problem(
    id="GW807",
    title="too many requests of one sender at once",
    meaning="As many requests of this sender as are allowed are being dealt with; this one was not taken.",
    cause="The sender uses more connections at once than `http.requests_per_party` allows.",
    remedy="Send the same message again after the seconds in Retry-After, over fewer connections.",
    retry=True,
    ebms3="EBMS:0004",
    soap="Server",
    http=503,
)

OUR_MISTAKE = Problem(
    id="GW901",
    title="our mistake",
    meaning="Something went wrong inside the gateway; it is not the sender's fault.",
    cause="A mistake in the program, recorded in the log with this id.",
    remedy=(
        "Send the same message again later; if it goes on, report the time and the MessageId to the operator."
    ),
    ours=True,
    retry=True,
    ebms2="Unknown",
    ebms3="EBMS:0004",
    soap="Server",
    http=500,
)
