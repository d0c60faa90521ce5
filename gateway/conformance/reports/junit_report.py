"""JUnit XML of a run, as build servers read it: one test suite, one test case for each case."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.conformance.reports.printable_octets import make_printable
from gateway.conformance.reports.run_report import CaseReport, RunReport

__all__ = ["write_junit_report"]

#: What JUnit calls each verdict that is not a pass.
_ELEMENTS: Final = {"failed": "failure", "not_applicable": "skipped", "not_yet": "skipped"}


def write_junit_report(report: RunReport) -> bytes:
    """Return the report as JUnit XML; what could not be judged is skipped, and says why."""
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
        time=f"{sum(one.seconds for one in report.cases):.3f}",
    )
    if "at" in report.about:
        suite.set("timestamp", report.about["at"].removesuffix("Z"))
    for case in report.cases:
        _write_case(suite, report, case)
    if report.findings:
        etree.SubElement(suite, "system-out").text = make_printable("\n".join(report.findings))
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _write_case(suite: etree._Element, report: RunReport, case: CaseReport) -> None:
    group = case.id.rpartition("-")[0] or case.id
    element = etree.SubElement(
        suite,
        "testcase",
        classname=f"{report.suite}.{group}",
        name=make_printable(f"{case.id} {case.title}"),
        time=f"{case.seconds:.3f}",
    )
    if kind := _ELEMENTS.get(case.verdict):
        told = etree.SubElement(element, kind, message=make_printable(case.got)[:500])
        told.text = make_printable(f"expected: {case.expected}\ngot: {case.got}")
    elif case.verdict == "advised":
        etree.SubElement(element, "system-out").text = make_printable(f"advised: {case.got}")
