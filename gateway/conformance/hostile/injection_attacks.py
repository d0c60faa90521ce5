"""Values that are harmless to a gateway and meant for what stands behind it: files, databases, logs, people.

Most of them must be taken, for they are values like others; that nothing comes of them is
seen when the honest message afterwards is taken too.
"""

from __future__ import annotations

from typing import Any, Final
from xml.sax.saxutils import escape

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import LAWFUL, Expectation, HttpRequest
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.mime_mutations import add_part_headers
from gateway.conformance.hostile.scenarios import RequestMaker
from gateway.conformance.hostile.xml_bombs import expect_early_refusal
from gateway.message_model import Payload

__all__ = ["CASES"]

_PATHS: Final[dict[str, str]] = {
    "climbing": "../../../../etc/cron.d/hostile",
    "absolute": "/etc/passwd",
    "drive": r"C:\Windows\System32\drivers\etc\hosts",
    "share": r"\\127.0.0.1\share\x",
    "encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "reserved": "CON.xml",
    "stream": "x.xml::$DATA",
    "dots": "..",
    "long": "n" * 4096,
    "reversed": "invoice\u202elmx.exe",
    "shell": "$(touch hostile);`id`|x&.xml",
}
_SQL: Final[dict[str, str]] = {
    "drop": "'; DROP TABLE message; --",
    "always": "' OR '1'='1",
    "union": "x' UNION SELECT private_key FROM signer --",
    "percent": "%",
    "underscore": "_____",
    "backslash": "\\' OR 1=1 --",
    "json": "$.a[*]",
    "comment": "x/*",
    "format": "%(id)s %s {0} {x.__class__}",
    "bind": ":id ?1 $1 @p",
    "sleep": "x'; SELECT pg_sleep(30); --",
}
_LOGS: Final[dict[str, str]] = {
    "jndi": "${jndi:ldap://127.0.0.1:9/x}",
    "line": "x\nERROR forged: all is well",
    "separator": "x\u2028forged\u2029line",
    "bidi": "\u202etxet desrever",
    "next-line": "x\u0085forged",
    "percent-format": "%s%s%s%n%x",
    "secret": "-----BEGIN PRIVATE KEY-----",
}
_MARKUP: Final[dict[str, str]] = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "link": "javascript:alert(1)",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "formula": "=cmd|' /C calc'!A0",
    "formula-at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "formula-tab": "+1\t-1",
    "entity": "&lt;script&gt;",
    "cdata": "]]><x/>",
}
_FILES: Final[dict[str, tuple[str, bytes]]] = {
    "svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
    "html": ("text/html", b"<html><script>fetch('//127.0.0.1:9')</script></html>"),
    "program": ("application/x-msdownload", b"MZ\x90\x00" + bytes(60)),
    "office": ("application/vnd.ms-excel", b"PK\x03\x04" + bytes(26)),
    "virus-test": (
        "text/plain",
        rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    ),
    "bomb": ("application/xml", b"<!DOCTYPE x [<!ENTITY a 'ha'>]><x>&a;</x>"),
}


def _make_unit_request(**changes: Any) -> RequestMaker:
    return lambda bench: bench.build_message(bench.make_unit(**changes))


def _make_payload_request(
    properties: tuple[tuple[str, str], ...] = (), kind: str = "application/xml", content: bytes = b"<x/>"
) -> RequestMaker:
    def make_request(bench: AttackerKit) -> HttpRequest:
        message_id = bench.make_message_id()
        found = (Payload(f"p1.{message_id}", kind, content, properties),)
        return bench.build_message(bench.make_unit(message_id=message_id, payloads=found))

    return make_request


def _make_content_id_request(path: str) -> RequestMaker:
    def make_request(bench: AttackerKit) -> HttpRequest:
        message_id = bench.make_message_id()
        found = (Payload(f"{path}.{message_id}", "application/xml", b"<x/>"),)
        return bench.build_message(bench.make_unit(message_id=message_id, payloads=found))

    return make_request


def _make_disposition_request(path: str) -> RequestMaker:
    line = f'Content-Disposition: attachment; filename="{path}"'.encode()
    return lambda bench: bench.build_message(body=add_part_headers(line))


def _make_party_id_request(value: str) -> RequestMaker:
    """Return what makes a message from a party of that id, signed by a member."""

    def replace_party_id(data: bytes) -> bytes:
        start = data.index(b"<eb:PartyId")
        first, last = data.index(b">", start) + 1, data.index(b"</eb:PartyId>", start)
        return data[:first] + escape(value).encode() + data[last:]

    return lambda bench: bench.build_message(envelope=replace_party_id)


def _make_number_call(content: str) -> RequestMaker:
    """Return what makes a call in which the agency gives a receipt of that number."""
    text = escape(content)
    return lambda bench: bench.build_call(
        content=f"<ApplicationNumber>{text}</ApplicationNumber><ReceiptNumber>{text}</ReceiptNumber>"
    )


def _make_value_cases(number: str, rows: dict[str, str], source: str, what: str) -> list[AttackCase]:
    """Return the cases of values: in ids of a message, as a party, and in a call about nothing we asked."""
    unknown: Expectation = expect_early_refusal("GW302", "GW301", "GW310", "GW303", "GW107", "GW110")
    absent: Expectation = expect_early_refusal("GW402", "GW701", "GW702", "GW703")
    found = []
    for name, value in rows.items():
        described = _make_payload_request((("description", value),))
        for suffix, place, make, must in (
            ("", "as ConversationId", _make_unit_request(conversation_id=value), LAWFUL),
            ("-description", "as the description of a payload", described, LAWFUL),
            ("-party", "as PartyId", _make_party_id_request(value), unknown),
            ("-call", "as number of an application", _make_number_call(value), absent),
        ):
            face = "soap" if suffix == "-call" else "ebms2"
            found.append(
                make_attack_case(
                    f"{number}.{name}{suffix}", f"{what}: {name}, {place}", make, must, source, face=face
                )
            )
    return found


def _make_file_name_cases() -> list[AttackCase]:
    found = []
    for name, path in _PATHS.items():
        if name != "long":
            found.append(
                make_attack_case(
                    f"APP-01.{name}",
                    f"a file name: {name}",
                    _make_disposition_request(path),
                    LAWFUL,
                    "CWE-22, CWE-73",
                )
            )
        if path.isascii() and " " not in path and len(path) < 100:
            found.append(
                make_attack_case(
                    f"APP-01.{name}-id",
                    f"a Content-ID: {name}",
                    _make_content_id_request(path),
                    LAWFUL,
                    "CWE-22, CWE-73",
                )
            )
    wrong = {"nul": b"x\x00.xml", "line": b"x\r\n\r\n.xml", "return": b"x\r.xml"}
    for name, octets in wrong.items():
        change = add_part_headers(b'Content-Disposition: attachment; filename="' + octets + b'"')
        found.append(
            make_attack_case(
                f"APP-01.{name}",
                f"a file name with a control character: {name}",
                _make_body_request(change),
                expect_early_refusal("GW103", "GW202"),
                "CWE-158, CWE-93",
            )
        )
    return found


def _make_body_request(change: Any) -> RequestMaker:
    return lambda bench: bench.build_message(body=change)


def _make_file_cases() -> list[AttackCase]:
    return [
        make_attack_case(
            f"APP-04.file-{name}",
            f"a payload that a desk would run: {name}",
            _make_payload_request((), kind, content),
            LAWFUL,
            "CWE-434",
        )
        for name, (kind, content) in _FILES.items()
    ]


CASES: Final[tuple[AttackCase, ...]] = (
    *_make_file_name_cases(),
    *_make_value_cases("APP-02", _SQL, "CWE-89", "SQL"),
    *_make_value_cases("APP-03", _LOGS, "CWE-117, CVE-2021-44228", "what a log would repeat"),
    *_make_value_cases("APP-04", _MARKUP, "CWE-79, CWE-1236", "what a page or sheet would run"),
    *_make_file_cases(),
)
"""Attacks on what stands behind the gateway, by values: APP-01 to APP-04."""
