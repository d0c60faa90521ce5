"""Reads which documents the WSDL of a partner takes, and the schemas to which it binds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.delivery.service_contracts import load_contract
from gateway.delivery.wsdl_files import WsdlFile, read_imported_schema, read_wsdl_file
from gateway.wire import CARRIED, find_document_schemas

__all__ = ["BoundSchemas", "read_bound_schemas"]

#: What a wildcard names that binds no document.
_ANY: Final = frozenset({"##any", "##other"})


@dataclass(frozen=True, slots=True)
class BoundSchemas:
    """The document namespaces that a WSDL takes (None: every one), and the schemas that it has of them."""

    namespaces: frozenset[str] | None
    schemas: Mapping[str, bytes]

    def takes_document(self, namespace: str) -> bool:
        """Return whether an element of a namespace may be the document of a call."""
        return self.namespaces is None or namespace in self.namespaces

    def takes_carried(self) -> bool:
        """Return whether a call may carry a document in JSON or records."""
        return self.takes_document(CARRIED)


def read_bound_schemas(file: WsdlFile | str) -> BoundSchemas:
    """Return what a WSDL binds (a name means a shipped one); raises GW801 for one that cannot be read.

    A schema that the WSDL imports and that is not beside it is left out.
    """
    file = WsdlFile(file) if isinstance(file, str) else file
    taken = load_contract(file).description.documents
    if not taken or taken & _ANY:
        return BoundSchemas(None, {})
    schemas: dict[str, bytes] = {}
    for name, place in find_document_schemas(read_wsdl_file(file)).items():
        octets = read_imported_schema(file, place) if isinstance(place, str) else place
        if name in taken and octets is not None:
            schemas[name] = octets
    return BoundSchemas(taken, schemas)
