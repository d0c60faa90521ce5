"""Reads a notice of an agency: every element becomes a fact, or the notice is refused with its XPath.

Nothing is skipped and nothing is guessed: an element that no line names, one that is
missing, out of place or twice is GW402; a code that its list does not know is GW403; two
answers about one item are GW404; a notice of a kind that nobody declared, or about another
document, is GW603.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lxml import etree

from gateway.errors import ANSWER_NOT_UNDERSTOOD
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.itemids import WHOLE, type_code
from gateway.harmonize.language.slots import Notice, Notices
from gateway.harmonize.replies.noticereader import NoticeFact, Reader, refused

__all__ = ["NoticeFact", "NoticeFacts", "document_of", "looked_up", "notice_of", "read_notice"]


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """Everything that one notice says, in the order of its lines; what was looked up stands last."""

    notice: Notice
    document: Document | None
    facts: tuple[NoticeFact, ...]

    def value(self, name: str) -> str | None:
        """Return what the notice as a whole says about `name`, None when it says nothing."""
        return next((fact.value for fact in self.facts if fact.name == name and not fact.at), None)

    @property
    def item(self) -> str | None:
        """Return the one goods item that the whole notice is about; None: the whole application."""
        found = self.value("item")
        return None if found == WHOLE else found

    def occurrences(self, name: str) -> Iterator[Mapping[str, NoticeFact]]:
        """Yield, for each occurrence of the repetition `name`, the facts that stand right in it."""
        found: dict[tuple[tuple[str, int], ...], dict[str, NoticeFact]] = {}
        for fact in self.facts:
            if fact.at and fact.at[-1][0] == name:
                found.setdefault(fact.at, {})[fact.place or fact.name] = fact
        yield from found.values()


def notice_of(root: etree._Element, notices: Notices) -> Notice:
    """Return the kind of notice that `root` is; raises GW603 when it is none that we know."""
    name = etree.QName(root)
    for notice in notices.notices.values():
        if notice.namespace == name.namespace and notice.root.name == name.localname:
            return notice
    found = f"{name.localname[:40]} in {(name.namespace or 'no namespace')[:80]}"
    raise refused(f"/{name.localname}", f"{found} is no notice that the mappings know", ANSWER_NOT_UNDERSTOOD)


def document_of(code: str | None, documents: Iterable[Document]) -> Document | None:
    """Return the document whose requests name themselves `code`, None when none or several do."""
    found = [document for document in documents if code is not None and type_code(document) == code]
    return found[0] if len(found) == 1 else None


def read_notice(root: etree._Element, notices: Notices, document: Document | None = None) -> NoticeFacts:
    """Return what the notice `root` says, about an application for `document` when that is known.

    Raises GW402, GW403, GW404 or GW603, each with the XPath of what is wrong.
    """
    notice = notice_of(root, notices)
    path = f"/{notice.root.name}"
    if document is not None and not document.answers.reads(notice):
        raise refused(path, f"{document.id} is not answered by {notice.id}", ANSWER_NOT_UNDERSTOOD)
    reader = Reader(notices.zone, notice, document)
    facts = [NoticeFact(kind.name, value, path, mark, ("const",)) for kind, value, mark in notice.means]
    facts += reader.element(notice.root, root, (path, ()))
    facts += looked_up(facts, notices)
    reader.check_conditions(facts)
    return NoticeFacts(notice, document, tuple(facts))


def looked_up(facts: Sequence[NoticeFact], notices: Notices) -> list[NoticeFact]:
    """Return the facts that follow from others by a list; a value without a translation gives none."""
    found: list[NoticeFact] = []
    for kind in notices.derived():
        assert kind.via is not None
        step = f"via {kind.via.name}@{kind.via.version}"
        for fact in (*facts, *found):
            value = kind.via.translate(fact.value) if fact.name == kind.of else None
            if value is not None:
                steps = (*fact.transforms, step)
                found.append(replace(fact, name=kind.name, value=value, rule=kind.mark, transforms=steps))
    return found
