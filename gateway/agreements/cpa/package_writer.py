"""Writes what messages are made of: simple parts, and packages of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.agreements.cpa.element_writer import IdNames, add_element
from gateway.agreements.pmode_values import PackagedPart, Packaging
from gateway.wire import EB, XLINK

__all__ = ["PackageWriter"]

_HEADER: Final = PackagedPart("message-header", "text/xml", namespaces=(EB,))
_SIGNAL: Final = Packaging("signal-package", "multipart/related", (_HEADER,), 'type="text/xml"')
_Shape = tuple[str, str, str | None, tuple[str, ...]]


def _get_shape(part: PackagedPart) -> _Shape:
    return (part.name, part.mime_type, part.role, part.namespaces)


@dataclass(slots=True)
class PackageWriter:
    """The packages of a document; equal ones are written once."""

    names: IdNames
    _packages: dict[Packaging, str] = field(default_factory=dict)
    _parts: dict[_Shape, str] = field(default_factory=dict)

    def name_package(self, packaging: Packaging | None) -> str:
        """Return the id of a package; None is that of signals, which is only a header."""
        wanted = packaging or _SIGNAL
        if wanted not in self._packages:
            self._packages[wanted] = self.names.reserve_name(wanted.name)
            for part in wanted.parts:
                self._name_part(part)
        return self._packages[wanted]

    def _name_part(self, part: PackagedPart) -> str:
        shape = _get_shape(part)
        if shape not in self._parts:
            self._parts[shape] = self.names.reserve_name(part.name)
        return self._parts[shape]

    def write_packages(self, root: etree._Element) -> None:
        """Write all simple parts, then all packages."""
        for (_, mime_type, role, namespaces), name in self._parts.items():
            part = add_element(root, "SimplePart", id=name, mimetype=mime_type)
            if role is not None:
                part.set(f"{{{XLINK}}}role", role)
            for one in namespaces:
                add_element(part, "NamespaceSupported", one, location=one)
        for packaging, name in self._packages.items():
            package = add_element(root, "Packaging", id=name)
            add_element(package, "ProcessingCapabilities", parse="true", generate="true")
            self._write_composites(add_element(package, "CompositeList"), packaging, name)

    def _write_composites(self, composites: etree._Element, packaging: Packaging, name: str) -> None:
        wrapped = [self._write_wrappers(composites, part, name) for part in packaging.parts]
        whole = add_element(
            composites,
            "Composite",
            id=self.names.reserve_name(f"{name}-whole"),
            mimetype=packaging.mime_type,
            mimeparameters=packaging.parameters,
        )
        for part, idref in zip(packaging.parts, wrapped, strict=True):
            add_element(
                whole,
                "Constituent",
                idref=idref,
                excludedFromSignature="true" if part.excluded_from_signature else None,
                minOccurs=str(part.min_occurs) if part.min_occurs is not None else None,
                maxOccurs=str(part.max_occurs) if part.max_occurs is not None else None,
            )

    def _write_wrappers(self, composites: etree._Element, part: PackagedPart, name: str) -> str:
        """Write what is wrapped around a part, the innermost first; return the id of the outermost."""
        inner = self._name_part(part)
        for mime_type in reversed(part.inside):
            wrapper = self.names.reserve_name(f"{name}-wrapped")
            around = add_element(composites, "Encapsulation", id=wrapper, mimetype=mime_type)
            add_element(around, "Constituent", idref=inner)
            inner = wrapper
        return inner
