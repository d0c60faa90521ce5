"""Makes the packaging of a P-Mode from the packages of a CPA: what a message is made of, in order."""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements.cpa.cpa_model import Composite, Constituent, CpaDocument
from gateway.agreements.pmode_values import PackagedPart, Packaging

__all__ = ["make_packaging"]

_DEEPEST = 8


def make_packaging(document: CpaDocument, name: str) -> Packaging | None:
    """Return a package with its parts; None where the id names none, or nothing is in it."""
    package = document.packages.get(name)
    if package is None or not package.composites:
        return None
    by_id = {one.id: one for one in package.composites}
    whole = package.composites[-1]
    parts = _list_parts(document, by_id, whole, 0)
    return Packaging(name, whole.mime_type, tuple(parts), whole.parameters) if parts else None


def _list_parts(
    document: CpaDocument, composites: dict[str, Composite], whole: Composite, depth: int
) -> list[PackagedPart]:
    found: list[PackagedPart] = []
    for one in whole.constituents:
        part, inner = document.parts.get(one.idref), composites.get(one.idref)
        if part is not None:
            found.append(
                PackagedPart(
                    part.id,
                    part.mime_type,
                    part.role,
                    one.excluded_from_signature,
                    one.min_occurs,
                    one.max_occurs,
                    namespaces=part.namespaces,
                )
            )
        elif inner is not None and depth < _DEEPEST:
            within = _list_parts(document, composites, inner, depth + 1)
            found += [_wrap_part(each, one, inner) for each in within]
    return found


def _wrap_part(part: PackagedPart, holder: Constituent, around: Composite) -> PackagedPart:
    """Return a part with what is wrapped around it; how often the whole occurs counts for the part."""
    return replace(
        part,
        excluded_from_signature=part.excluded_from_signature or holder.excluded_from_signature,
        min_occurs=part.min_occurs if holder.min_occurs is None else holder.min_occurs,
        max_occurs=part.max_occurs if holder.max_occurs is None else holder.max_occurs,
        inside=(around.mime_type, *part.inside),
    )
