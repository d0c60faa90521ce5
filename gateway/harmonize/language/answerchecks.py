"""Checks what a document says about its answers against the notices that there are."""

from __future__ import annotations

from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.itemids import type_code
from gateway.harmonize.language.slots import Notice, Notices
from gateway.harmonize.language.targets import Target
from gateway.harmonize.terms.marks import wrong

__all__ = ["check_answers"]


def check_answers(document: Document, notices: Notices) -> None:
    """Refuse (GW502) a notice that is not declared, and a certificate that does not fit the request.

    A certificate that repeats the request must find there what it always repeats.
    """
    for name, mark in document.answers.named():
        if name not in notices.notices:
            raise wrong(mark, "reads", "a notice of notices.yaml", name)
    if document.answers.certificate is None:
        return
    name, mark = document.answers.certificate
    notice = notices.notices[name]
    if notice.role != "certificate":
        raise wrong(mark, "certificate", "a notice whose role is certificate", f"{name} ({notice.role})")
    known = _paths(document.root, "")
    for path in _always_repeated(notice):
        if path not in known:
            raise wrong(mark, "certificate", f"{path} in the request, which {name} repeats", "none")
    if known and type_code(document) is None and any(line.echoes for line in notice.root.lines()):
        raise wrong(mark, "certificate", "a request that names its kind (TypeCode)", "none")


def _always_repeated(notice: Notice) -> list[str]:
    """Return the paths of the request that every notice of this kind repeats."""
    found: list[str] = []
    for line in notice.root.lines():
        if line.echoes and line.requirement.mandatory:
            base, _, split = line.echoes.partition("{")
            found.append(base + split.rstrip("}").split(",")[0])
    return found


def _paths(target: Target, path: str) -> frozenset[str]:
    """Return the path of every element below `target`, from the root and without its name."""
    found = {path}
    for child in target.children:
        found |= _paths(child, f"{path}/{child.name}{child.predicates}".lstrip("/"))
    return frozenset(found)
