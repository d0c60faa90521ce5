"""Rules on packages: what a message is made of, and what a signature covers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.agreements.cpa.cpa_model import Composite, Constituent, PackagingTerms
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.agreements.cpa.package_conversion import make_packaging
from gateway.wire import C14N, C14N_EXCLUSIVE

__all__ = ["PACKAGING_CHECKS"]

_HARMLESS: Final = (C14N, C14N_EXCLUSIVE)


def _list_used_packages(view: CpaView) -> Iterator[PackagingTerms]:
    """Yield each package of an action once."""
    names = dict.fromkeys(
        name for action in view.actions for name in (action.binding.package, action.other.package)
    )
    yield from (view.document.packages[name] for name in names if name in view.document.packages)


def _find_shape_problems(view: CpaView) -> Found:
    for package in _list_used_packages(view):
        if _contains_itself(package):
            text = f"package {quote_name(package.id)} has a composite that contains itself"
            yield CpaFinding("package-circular", package.place, text)
            continue
        made = make_packaging(view.document, package.id)
        if made is None:  # it names no part, which is told of its references
            continue
        if made.parts[0].mime_type.partition(";")[0].strip().lower() not in ("text/xml", "*/*"):
            text = f"package {quote_name(package.id)} begins with {quote_name(made.parts[0].mime_type)}; "
            text += "expected is text/xml"
            yield CpaFinding("package-root", package.place, text)
        if len(made.parts) > 1 and not made.mime_type.lower().startswith("multipart/related"):
            text = f"package {quote_name(package.id)} has {len(made.parts)} parts and is "
            text += quote_name(made.mime_type)
            yield CpaFinding("package-type", package.place, text)


def _contains_itself(package: PackagingTerms) -> bool:
    inner = {one.id: {each.idref for each in one.constituents} for one in package.composites}
    for start in inner:
        reached, waiting = set[str](), [start]
        while waiting:
            for name in inner.get(waiting.pop(), set()) - reached:
                if name == start:
                    return True
                reached.add(name)
                waiting.append(name)
    return False


def _find_incapable_packages(view: CpaView) -> Found:
    for package in _list_used_packages(view):
        for able, verb in ((package.generate, "made"), (package.parse, "parsed")):
            if not able:
                text = f"package {quote_name(package.id)} is in use and cannot be {verb}"
                yield CpaFinding("package-incapable", package.place, text)


def _list_constituents(view: CpaView) -> Iterator[tuple[Composite, Constituent]]:
    for package in _list_used_packages(view):
        for whole in package.composites:
            yield from ((whole, one) for one in whole.constituents)


def _find_part_problems(view: CpaView) -> Found:
    for _, one in _list_constituents(view):
        name = quote_name(one.idref)
        if one.excluded_from_signature:
            text = f"{name} is excluded from the signature: the hub signs and wants signed every part"
            yield CpaFinding("part-unsigned", one.place, text)
        if one.min_occurs is not None and one.max_occurs is not None and one.min_occurs > one.max_occurs:
            text = f"{name} occurs {one.min_occurs} times at least and {one.max_occurs} at most"
            yield CpaFinding("part-occurs", one.place, text)
        strange = [each for each in one.transforms if each not in _HARMLESS]
        if strange:
            text = f"{name} is transformed by {quote_name(strange[0])} for its signature, not by the hub"
            yield CpaFinding("part-transformed", one.place, text)


PACKAGING_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_shape_problems,
    _find_incapable_packages,
    _find_part_problems,
)
