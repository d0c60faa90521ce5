"""The reports of a run as files: one HTML page, JUnit XML, and the signature of the page.

The page has a summary, a table of clauses and every exchange; it needs no other file. Everything that a
gateway sent is untrusted: it is escaped, and the page forbids itself every script and every request.

The signature is an XML document beside the report, with the report's name and digest, signed as XAdES-B. The
report itself is not changed. A receiver of the report verifies that document with any verifier of XAdES, and
compares the SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.errors import REPORT_NOT_PROVEN, GatewayError
from gateway.pki import Certificate, Signer
from gateway.wire import parse_xml
from gateway.xmlsec import sign_document, verify_document
from gateway_conformance.reports.run_report import (
    VERDICTS,
    CaseReport,
    RecordedExchange,
    RecordedMessage,
    RunReport,
    format_octets,
    make_printable,
)

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SIGNS: Final = {"passed": "✓", "failed": "✗", "advised": "!", "not_applicable": "–", "not_yet": "?"}
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #d0d7de}
th{background:#f6f8fa}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f8fa;border:1px solid #d0d7de;
padding:.6rem;font-size:12px}
.verdict{white-space:nowrap;font-weight:600}.passed{color:#0a5d2c}.failed{color:#a40e26}
.advised{color:#7a4b00}
.not_applicable,.not_yet{color:#4b535d}section.case{border-top:2px solid #d0d7de;margin-top:2rem}
summary{cursor:pointer}nav a{margin-right:1rem}
@media print{body{max-width:none;margin:0;font-size:11px}section.case{break-inside:auto}pre{font-size:9px}
details>*{display:block}nav{display:none}thead{display:table-header-group}tr{break-inside:avoid}}
"""


def write_html_report(report: RunReport) -> bytes:
    """Return the page as UTF-8."""
    counted = report.count_verdicts()
    title = f"{report.suite}: {report.target}"
    pieces = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_escape(title)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{_escape(title)}</h1>{_write_outcome(report)}",
        '<nav aria-label="Parts"><a href="#summary">Summary</a> <a href="#clauses">By clause</a> '
        '<a href="#cases">All cases</a> <a href="#exchanges">Exchanges</a></nav>',
        _write_summary(report.run_details, counted),
        _write_clauses(report.cases),
        _write_cases(report.cases),
        '<h2 id="exchanges">Exchanges</h2>',
        *(_write_case_exchanges(case) for case in report.cases if case.exchanges),
        "</main></body></html>\n",
    ]
    return "\n".join(pieces).encode("utf-8", "backslashreplace")


def _escape(text: str) -> str:
    return escape(make_printable(text))


def _write_outcome(report: RunReport) -> str:
    good = report.is_successful
    sentence = (
        "The gateway meets every requirement that applies to it."
        if good
        else "The gateway was found wanting."
    )
    kind = "passed" if good else "failed"
    lines = "<br>".join(_escape(line) for line in report.format_summary().splitlines())
    return f'<p class="{kind}"><strong>{sentence}</strong> {lines}</p>'


def _write_summary(details: Mapping[str, str], counted: Mapping[str, int]) -> str:
    facts = "".join(f"<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>" for name, value in details.items())
    rows = "".join(
        f"<tr><td>{_write_verdict(name)}</td><td>{count}</td><td>{_escape(VERDICTS[name])}</td></tr>"
        for name, count in counted.items()
    )
    head = _write_table_head(("Verdict", "Cases", "Meaning"))
    return f'<h2 id="summary">Summary</h2><dl>{facts}</dl><table>{head}<tbody>{rows}</tbody></table>'


def _write_clauses(cases: Iterable[CaseReport]) -> str:
    """Return the table of clauses with their counts; empty where cases have none."""
    clauses: dict[str, list[str]] = {}
    for case in cases:
        if clause := str(case.facts.get("clause", "")):
            clauses.setdefault(clause, []).append(case.verdict)
    if not clauses:
        return ""
    rows = "".join(
        f"<tr><td>{_escape(clause)}</td>{''.join(f'<td>{judged.count(name)}</td>' for name in VERDICTS)}</tr>"
        for clause, judged in sorted(clauses.items(), key=lambda entry: _make_clause_sort_key(entry[0]))
    )
    head = _write_table_head(("Clause", *(name.replace("_", " ") for name in VERDICTS)))
    return f'<h2 id="clauses">By clause</h2><table>{head}<tbody>{rows}</tbody></table>'


def _make_clause_sort_key(clause: str) -> tuple[tuple[int, int, str], ...]:
    """Return the sort key of a clause: numbers are sorted as numbers, appendices after them."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in clause.split("."))


def _write_cases(cases: Iterable[CaseReport]) -> str:
    rows = "".join(_write_case_row(case) for case in cases)
    head = _write_table_head(("Id", "Clause", "Case", "Expected", "Verdict"))
    return f'<h2 id="cases">All cases</h2><table>{head}<tbody>{rows}</tbody></table>'


def _write_case_row(case: CaseReport) -> str:
    name = _escape(case.id)
    linked = f'<a href="#case-{name}">{name}</a>' if case.exchanges else name
    numbers = " ".join(str(number) for number in case.facts.get("iic", ()))
    clause = " ".join(filter(None, (str(case.facts.get("clause", "")), numbers)))
    got = f"<br>{_escape(case.got)}" if case.got else ""
    return (
        f"<tr><td>{linked}</td><td>{_escape(clause)}</td><td>{_escape(case.title)}</td>"
        f"<td>{_escape(case.expected)}</td><td>{_write_verdict(case.verdict)}{got}</td></tr>"
    )


def _write_case_exchanges(case: CaseReport) -> str:
    name = _escape(case.id)
    exchanges = "".join(
        _write_exchange(number, exchange) for number, exchange in enumerate(case.exchanges, 1)
    )
    return (
        f'<section class="case" id="case-{name}"><h3>{name} {_escape(case.title)}</h3>'
        f"<p>{_write_verdict(case.verdict)} {_escape(case.got)}</p>{exchanges}</section>"
    )


def _write_exchange(number: int, exchange: RecordedExchange) -> str:
    direction = "the suite to the gateway" if exchange.to_gateway else "the gateway to the suite"
    answer = (
        _write_message(exchange.answer)
        if exchange.answer
        else f"<p>{_escape(exchange.trouble or 'no answer')}</p>"
    )
    return (
        f"<details open><summary>Exchange {number}, after {exchange.at:.2f} s: {direction}</summary>"
        f"{_write_message(exchange.request)}{answer}</details>"
    )


def _write_message(message: RecordedMessage) -> str:
    omitted = message.octets - len(message.body)
    cut = (
        f"<p>… and {omitted} more octets; SHA-256 of the whole body {message.sha256}</p>"
        if omitted > 0
        else ""
    )
    body = escape(format_octets(message.body))
    return f"<pre>{_escape(message.format_head())}\n\n{body}</pre>{cut}"


def _write_verdict(verdict: str) -> str:
    sign = _SIGNS.get(verdict, "")
    return f'<span class="verdict {_escape(verdict)}">{sign} {_escape(verdict.replace("_", " "))}</span>'


def _write_table_head(names: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{_escape(name)}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


#: What JUnit calls each verdict that is not a pass.
_ELEMENTS: Final = {"failed": "failure", "not_applicable": "skipped", "not_yet": "skipped"}


def write_junit_report(report: RunReport) -> bytes:
    """Return the report as JUnit XML; a case that could not be judged is skipped, with its reason."""
    counted = report.count_verdicts()
    root = etree.Element("testsuites")
    suite = etree.SubElement(
        root,
        "testsuite",
        name=make_printable(f"{report.suite} {report.target}"),
        tests=str(len(report.cases)),
        failures=str(counted["failed"]),
        errors="0",
        skipped=str(counted["not_applicable"] + counted["not_yet"]),
        time=f"{sum(case.seconds for case in report.cases):.3f}",
    )
    if "at" in report.run_details:
        suite.set("timestamp", report.run_details["at"].removesuffix("Z"))
    for case in report.cases:
        _append_junit_case(suite, report, case)
    if report.findings:
        etree.SubElement(suite, "system-out").text = make_printable("\n".join(report.findings))
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _append_junit_case(suite: etree._Element, report: RunReport, case: CaseReport) -> None:
    group = case.id.rpartition("-")[0] or case.id
    element = etree.SubElement(
        suite,
        "testcase",
        classname=f"{report.suite}.{group}",
        name=make_printable(f"{case.id} {case.title}"),
        time=f"{case.seconds:.3f}",
    )
    if kind := _ELEMENTS.get(case.verdict):
        detail = etree.SubElement(element, kind, message=make_printable(case.got)[:500])
        detail.text = make_printable(f"expected: {case.expected}\ngot: {case.got}")
    elif case.verdict == "advised":
        etree.SubElement(element, "system-out").text = make_printable(f"advised: {case.got}")


_NAMESPACE: Final = "urn:single-window:conformance-report:1"
_ROOT: Final = f"{{{_NAMESPACE}}}SignedReport"


@dataclass(frozen=True, slots=True)
class SignedReport:
    """The contents of a verified signature: the file's name and digest, the signer, and the stated time."""

    file: str
    sha256: str
    certificate: Certificate
    signed_at: datetime | None


def get_signature_path(report: Path) -> Path:
    """Return where the signature of a report is: the name of the report and ``.signature.xml``."""
    return report.with_name(f"{report.name}.signature.xml")


def sign_report(file_name: str, content: bytes, signer: Signer, at: datetime) -> bytes:
    """Return the signature of a report; raise GW204 for a key that XAdES does not use."""
    root = etree.Element(_ROOT, nsmap={"r": _NAMESPACE})
    etree.SubElement(root, f"{{{_NAMESPACE}}}File").text = file_name
    etree.SubElement(root, f"{{{_NAMESPACE}}}SHA256").text = hashlib.sha256(content).hexdigest()
    sign_document(root, signer, now=at)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def verify_report(content: bytes, signature: bytes) -> SignedReport:
    """Return the verified signature of a report; raise GW903 or a problem of the signature."""
    root = parse_xml(signature)
    if root.tag != _ROOT:
        raise GatewayError(REPORT_NOT_PROVEN, "the document is no signature of a report", "/*")
    signed = verify_document(root)
    digest = root.findtext(f"{{{_NAMESPACE}}}SHA256", "")
    if digest != hashlib.sha256(content).hexdigest():
        detail = "the report was changed after it was signed: its SHA-256 is another one"
        raise GatewayError(REPORT_NOT_PROVEN, detail, "SHA256")
    file = root.findtext(f"{{{_NAMESPACE}}}File", "")
    return SignedReport(file, digest, signed.certificate, signed.signing_time)
