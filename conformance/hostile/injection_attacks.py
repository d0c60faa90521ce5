"""Values that attack the files, the databases, the logs and the people behind a gateway.

Most of them must be accepted, because they are valid values. The honest message that follows
shows that they had no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from gateway.message_model import Payload
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestMaker,
    ValueTable,
    change_body,
    change_envelope,
    expect_early_refusal,
    make_table_cases,
    make_value_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import OctetMutation, add_part_headers, replace_text_of
from gateway_conformance.hostile.exchange import LAWFUL, HttpRequest

#: Values by variant.
_Values = tuple[tuple[str, str], ...]

_PATH_SOURCE: Final = "CWE-22, CWE-73"
_SQL_SOURCE: Final = "CWE-89"
_LOG_SOURCE: Final = "CWE-117, CVE-2021-44228"
_MARKUP_SOURCE: Final = "CWE-79, CWE-1236"
#: An unknown party; and an application that was not sent to the agency.
_UNKNOWN: Final = expect_early_refusal("GW302", "GW301", "GW310", "GW303", "GW107", "GW110")
_ABSENT: Final = expect_early_refusal("GW402", "GW701", "GW702", "GW703")

# fmt: off
_PATHS: Final[_Values] = (
    ("climbing", "../../../../etc/cron.d/hostile"),
    ("absolute", "/etc/passwd"),
    ("drive", r"C:\Windows\System32\drivers\etc\hosts"),
    ("share", r"\\127.0.0.1\share\x"),
    ("encoded", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    ("reserved", "CON.xml"),
    ("stream", "x.xml::$DATA"),
    ("dots", ".."),
    ("long", "n" * 4096),
    ("reversed", "invoice\u202elmx.exe"),
    ("shell", "$(touch hostile);`id`|x&.xml"),
)
# fmt: on
# fmt: off
_SQL: Final[_Values] = (
    ("drop", "'; DROP TABLE message; --"),
    ("always", "' OR '1'='1"),
    ("union", "x' UNION SELECT private_key FROM signer --"),
    ("percent", "%"),
    ("underscore", "_____"),
    ("backslash", "\\' OR 1=1 --"),
    ("json", "$.a[*]"),
    ("comment", "x/*"),
    ("format", "%(id)s %s {0} {x.__class__}"),
    ("bind", ":id ?1 $1 @p"),
    ("sleep", "x'; SELECT pg_sleep(30); --"),
)
# fmt: on
# fmt: off
_LOGS: Final[_Values] = (
    ("jndi", "${jndi:ldap://127.0.0.1:9/x}"),
    ("line", "x\nERROR forged: all is well"),
    ("separator", "x\u2028forged\u2029line"),
    ("bidi", "\u202etxet desrever"),
    ("next-line", "x\u0085forged"),
    ("percent-format", "%s%s%s%n%x"),
    ("secret", "-----BEGIN PRIVATE KEY-----"),
)
# fmt: on
# fmt: off
_MARKUP: Final[_Values] = (
    ("script", "<script>alert(1)</script>"),
    ("image", '"><img src=x onerror=alert(1)>'),
    ("link", "javascript:alert(1)"),
    ("template", "{{7*7}}${7*7}<%= 7*7 %>"),
    ("formula", "=cmd|' /C calc'!A0"),
    ("formula-at", "@SUM(1+1)*cmd|' /C calc'!A0"),
    ("formula-tab", "+1\t-1"),
    ("entity", "&lt;script&gt;"),
    ("cdata", "]]><x/>"),
)
# fmt: on
# fmt: off
_FILES: Final[tuple[tuple[str, str, bytes], ...]] = (
    ("svg", "image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
    ("html", "text/html", b"<html><script>fetch('//127.0.0.1:9')</script></html>"),
    ("program", "application/x-msdownload", b"MZ\x90\x00" + bytes(60)),
    ("office", "application/vnd.ms-excel", b"PK\x03\x04" + bytes(26)),
    ("virus-test", "text/plain",
     rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"),
    ("bomb", "application/xml", b"<!DOCTYPE x [<!ENTITY a 'ha'>]><x>&a;</x>"),
)
# fmt: on


#: Characters that a file name must not have, although a header field may.
# fmt: off
_CONTROLS: Final[AttackTable[OctetMutation]] = tuple(
    (variant, f"a file name with a control character: {variant}",
     add_part_headers(b'Content-Disposition: attachment; filename="' + octets + b'"'))
    for variant, octets in (("nul", b"x\x00.xml"), ("line", b"x\r\n\r\n.xml"), ("return", b"x\r.xml"))
)
# fmt: on


def _send_payload(
    media_type: str = "application/xml",
    content: bytes = b"<x/>",
    content_id_start: str = "p1",
    properties: tuple[tuple[str, str], ...] = (),
) -> RequestMaker:
    """Return the step that sends a message with one payload."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        message_id = kit.make_message_id()
        payload = Payload(f"{content_id_start}.{message_id}", media_type, content, properties)
        return kit.build_message(kit.make_unit(message_id=message_id, payloads=(payload,)))

    return make_request


def _send_in_content_id(path: str) -> RequestMaker:
    return _send_payload(content_id_start=path)


def _send_in_description(value: str) -> RequestMaker:
    return _send_payload(properties=(("description", value),))


def _send_in_disposition(path: str) -> RequestMaker:
    return change_body(add_part_headers(f'Content-Disposition: attachment; filename="{path}"'.encode()))


def _send_in_conversation(value: str) -> RequestMaker:
    return lambda kit: kit.build_message(kit.make_unit(conversation_id=value))


def _send_in_party(value: str) -> RequestMaker:
    """Return the step that sends a message from a party with that id, signed by a member."""
    return change_envelope(replace_text_of("eb:PartyId", escape(value)))


def _send_in_numbers(value: str) -> RequestMaker:
    """Return the step that sends a call with this value as application number and as receipt number."""
    text = escape(value)
    return lambda kit: kit.build_call(
        content=f"<ApplicationNumber>{text}</ApplicationNumber><ReceiptNumber>{text}</ReceiptNumber>"
    )


# fmt: off
def _make_value_tables(prefix: str, subject: str, rows: _Values, source: str) -> Iterator[ValueTable]:
    """Yield the values in ids of a message, as a party, and in a call about an unknown application."""
    title = f"{subject}: {{variant}}, "
    yield ValueTable(prefix, title + "as ConversationId", rows, _send_in_conversation, LAWFUL, source)
    yield ValueTable(prefix, title + "as the description of a payload", rows, _send_in_description, LAWFUL,
                     source, suffix="-description")
    yield ValueTable(prefix, title + "as PartyId", rows, _send_in_party, _UNKNOWN, source, suffix="-party")
    yield ValueTable(prefix, title + "as number of an application", rows, _send_in_numbers, _ABSENT, source,
                     face="soap", suffix="-call")


_FILE_ROWS: Final = tuple(
    (variant, f"a payload that a desk would run: {variant}", _send_payload(kind, content))
    for variant, kind, content in _FILES
)
#: A header field must not contain line ends, and a Content-ID must not contain spaces.
_FILE_NAMES: Final = tuple(row for row in _PATHS if len(row[1]) < 1000)
_CONTENT_IDS: Final = tuple(row for row in _FILE_NAMES if row[1].isascii() and " " not in row[1])

CASES: Final[tuple[AttackCase, ...]] = (
    *make_value_cases(
        ValueTable("APP-01.", "a file name: {variant}", _FILE_NAMES, _send_in_disposition, LAWFUL,
                   _PATH_SOURCE),
        ValueTable("APP-01.", "a Content-ID: {variant}", _CONTENT_IDS, _send_in_content_id, LAWFUL,
                   _PATH_SOURCE, suffix="-id"),
    ),
    *make_table_cases("APP-01.", _CONTROLS, change_body, "CWE-158, CWE-93", "GW103 GW202", early=True),
    *make_value_cases(
        *_make_value_tables("APP-02.", "SQL", _SQL, _SQL_SOURCE),
        *_make_value_tables("APP-03.", "what a log would repeat", _LOGS, _LOG_SOURCE),
        *_make_value_tables("APP-04.", "what a page or sheet would run", _MARKUP, _MARKUP_SOURCE),
    ),
    *make_table_cases("APP-04.file-", _FILE_ROWS, use_request_maker, "CWE-434", LAWFUL),
)
# fmt: on
"""Attacks on what stands behind the gateway, by values: APP-01 to APP-04."""
