"""Checks of a document against the rest of its bundle: accepted notices, shared fields."""

from __future__ import annotations

from gateway.harmonize.language.document_mapping import DocumentMapping, find_type_code
from gateway.harmonize.language.notice_tree import NoticeCatalog, NoticeMapping
from gateway.harmonize.language.shared_fields import find_matching_member
from gateway.harmonize.language.target_tree import TargetElement
from gateway.harmonize.types import UniqueField, make_mapping_error

__all__ = [
    "check_accepted_notices",
    "check_shared_fields",
]


def check_accepted_notices(document: DocumentMapping, notices: NoticeCatalog) -> None:
    """Raise GW502 for a notice that is not declared, or a certificate that does not fit the request.

    The request must have every element that the certificate always repeats.
    """
    for name, mark in document.answers.list_named_notices():
        if name not in notices.notices:
            raise make_mapping_error(mark, "reads", "a notice of notices.yaml", name)
    if document.answers.certificate is None:
        return
    name, mark = document.answers.certificate
    notice = notices.notices[name]
    if notice.role != "certificate":
        raise make_mapping_error(
            mark, "certificate", "a notice whose role is certificate", f"{name} ({notice.role})"
        )
    known = _collect_element_paths(document.root, "")
    for path in _list_repeated_paths(notice):
        if path not in known:
            raise make_mapping_error(
                mark, "certificate", f"{path} in the request, which {name} repeats", "none"
            )
    if known and find_type_code(document) is None and any(line.echoes for line in notice.root.list_lines()):
        raise make_mapping_error(mark, "certificate", "a request that names its kind (TypeCode)", "none")


def _list_repeated_paths(notice: NoticeMapping) -> list[str]:
    """Return the paths of the request that every notice of this kind repeats."""
    found: list[str] = []
    for line in notice.root.list_lines():
        if line.echoes and line.requirement.mandatory:
            base, _, split = line.echoes.partition("{")
            found.append(base + split.rstrip("}").split(",")[0])
    return found


def _collect_element_paths(target: TargetElement, path: str) -> frozenset[str]:
    """Return the path of every element below `target`, from the root and without its name."""
    found = {path}
    for child in target.children:
        found |= _collect_element_paths(child, f"{path}/{child.name}{child.path_predicates}".lstrip("/"))
    return frozenset(found)


def check_shared_fields(document: DocumentMapping, known: dict[tuple[str, str], UniqueField]) -> None:
    """Raise GW502 for a shared field that is incompatible with the `known` field of its meaning.

    The shared fields of `document` are added to `known`, by direction and meaning.
    """
    for ask in document.asks:
        if ask.shared:
            _check_compatible_fields(known.setdefault((document.direction, ask.means), ask), ask)


def _check_compatible_fields(first: UniqueField, second: UniqueField) -> None:
    for what, one, other in (
        ("type", first.type, second.type),
        ("per", first.home, second.home),
        ("unit that need not be written", first.fixed_unit, second.fixed_unit),
    ):
        if one != other:
            expected = f"the {what} of {first.means} that is shared ({first.mark}): {one or 'none'}"
            raise make_mapping_error(second.mark, second.name, expected, other or "none")
    for member in second.fields:
        like = find_matching_member(member, first.fields)
        if like is not None:
            _check_compatible_fields(like, member)
