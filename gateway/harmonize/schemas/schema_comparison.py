"""Compares the schema to which a WSDL binds a document with the schema that its mapping gives.

Both describe closed sequences of elements. A bound schema fits when it accepts each request that the
schema of the mapping accepts. The comparison is cautious: of two forms of a value that are written
differently, the bound one counts as narrower unless its facets say that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from lxml import etree

from gateway.errors import CONTRACT_UNFIT, GatewayError, describe_exception
from gateway.wire import XSD, parse_xml

_UNBOUNDED: Final = 2**31
_ANYTHING: Final = "string"
#: How many codes of a list a phrase names.
_MAX_NAMED_CODES: Final = 5
#: Which base each base is a part of, beside itself.
_WITHIN: Final = {"integer": ("decimal",), "positiveInteger": ("integer", "decimal")}
#: Facets of which the smaller value is the narrower one, and those of which the larger is.
_UPPER: Final = frozenset({"maxLength", "totalDigits", "fractionDigits", "maxInclusive"})
_LOWER: Final = frozenset({"minLength", "minInclusive"})


@dataclass(frozen=True, slots=True)
class _Restriction:
    """One restriction of a simple type: its base, and the values of each facet."""

    base: str
    facets: Mapping[str, tuple[str, ...]]

    def get_bound(self, name: str) -> Decimal | None:
        """Return a facet as a number; a length is both of its bounds."""
        values = self.facets.get(name) or (
            self.facets.get("length") if name in ("minLength", "maxLength") else None
        )
        return Decimal(values[0]) if values else None


@dataclass(frozen=True, slots=True)
class _SchemaElement:
    """An element: how often it may occur, forms of its value (none: no text), attributes and children.

    `unique` are the rules that no two of its children are alike.
    """

    name: str
    low: int
    high: int
    value: tuple[_Restriction, ...]
    attributes: Mapping[str, tuple[tuple[_Restriction, ...], bool]]
    children: tuple[_SchemaElement, ...]
    unique: frozenset[tuple[str, ...]]


def list_unfit_places(agency_schema: bytes, generated_schema: bytes) -> list[str]:
    """Return the places where the schema `bound` rejects a request that conforms to the schema `generated`.

    `agency_schema` is the schema that an agency has already, of its frozen contract. Each place is a phrase
    about `agency_schema`, with the path from the root element; the list is empty if `agency_schema` accepts
    all requests. Raise GW519 if `agency_schema` uses constructs of XML Schema that the gateway never writes,
    and cannot be compared.
    """
    if agency_schema == generated_schema:
        return []
    try:
        old = _SchemaReader(agency_schema).read_roots()
        new = _SchemaReader(generated_schema).read_roots()
        misfits: list[str] = []
        for name, root in new.items():
            if name in old:
                misfits += _compare_elements(old[name], root, root.name)
            else:
                misfits.append(f"has no root element {name}")
    except (ValueError, ArithmeticError, RecursionError, GatewayError) as problem:
        if isinstance(problem, GatewayError) and problem.problem is CONTRACT_UNFIT:
            raise
        detail = f"its schema cannot be compared: {describe_exception(problem)}"
        raise GatewayError(CONTRACT_UNFIT, detail, "schema") from problem
    return misfits


class _SchemaReader:
    """Reads the elements of a schema whose types are all its own or built in."""

    def __init__(self, octets: bytes) -> None:
        root = parse_xml(octets)
        if root.tag != f"{{{XSD}}}schema":
            _raise_unknown(root)
        self._root = root
        self._nodes_by_name = {node.get("name"): node for node in root if node.get("name") is not None}

    def read_roots(self) -> dict[str, _SchemaElement]:
        """Return the global elements by name."""
        target = self._root.get("targetNamespace", "")
        if self._root.get("elementFormDefault") != "qualified":
            _raise_unknown(self._root)
        elements = [self._read_element(node) for node in self._root.iterfind(f"{{{XSD}}}element")]
        return {f"{{{target}}}{element.name}": element for element in elements}

    def _read_element(self, node: etree._Element) -> _SchemaElement:
        """Return an element declaration; raise GW519 for a construct that the gateway does not write."""
        low, high = node.get("minOccurs", "1"), node.get("maxOccurs", "1")
        if node.get("name") is None or node.get("nillable") is not None:
            _raise_unknown(node)
        inner = _list_parts(node)
        unique = [part for part in inner if _get_kind(part) == "unique"]
        types = [part for part in inner if _get_kind(part) != "unique"]
        if len(types) > 1 or (types and node.get("type") is not None):
            _raise_unknown(node)
        value, attributes, children = self._read_type(node, types[0] if types else None)
        return _SchemaElement(
            node.get("name", ""),
            int(low),
            _UNBOUNDED if high == "unbounded" else int(high),
            value,
            attributes,
            children,
            frozenset(tuple(part.get("xpath", "") for part in rule) for rule in unique),
        )

    def _read_type(
        self, node: etree._Element, inner: etree._Element | None
    ) -> tuple[
        tuple[_Restriction, ...],
        dict[str, tuple[tuple[_Restriction, ...], bool]],
        tuple[_SchemaElement, ...],
    ]:
        """Return the forms of a value, the attributes and the children of an element."""
        if inner is None:
            return self._read_restrictions(node, node.get("type", "")), {}, ()
        if _get_kind(inner) == "simpleType":
            return self._read_simple_type(inner), {}, ()
        if _get_kind(inner) != "complexType" or inner.get("mixed") is not None:
            _raise_unknown(inner)
        value: tuple[_Restriction, ...] = ()
        children: list[_SchemaElement] = []
        parts = _list_parts(inner)
        if parts and _get_kind(parts[0]) == "simpleContent":
            extension = next(iter(_list_parts(parts[0])), parts[0])
            if _get_kind(extension) != "extension":
                _raise_unknown(extension)
            value, parts = (
                self._read_restrictions(extension, extension.get("base", "")),
                _list_parts(extension),
            )
        elif parts and _get_kind(parts[0]) == "sequence":
            if parts[0].get("minOccurs") is not None or parts[0].get("maxOccurs") is not None:
                _raise_unknown(parts[0])
            children = [self._read_child(part) for part in _list_parts(parts[0])]
            parts = parts[1:]
        if len({child.name for child in children}) < len(children):
            _raise_unknown(inner)
        return value, dict(self._read_attribute(part) for part in parts), tuple(children)

    def _read_child(self, node: etree._Element) -> _SchemaElement:
        if _get_kind(node) != "element":
            _raise_unknown(node)
        return self._read_element(node)

    def _read_attribute(self, node: etree._Element) -> tuple[str, tuple[tuple[_Restriction, ...], bool]]:
        """Return an attribute's name, its restrictions and whether it is required; GW519 if unreadable."""
        if _get_kind(node) != "attribute" or node.get("name") is None or node.get("fixed") is not None:
            _raise_unknown(node)
        return node.get("name", ""), (
            self._read_restrictions(node, node.get("type", "")),
            node.get("use") == "required",
        )

    def _read_restrictions(self, node: etree._Element, name: str) -> tuple[_Restriction, ...]:
        """Return the forms of a named type, the own or a built-in one."""
        prefix, _, local = name.rpartition(":")
        if node.nsmap.get(prefix or None) == XSD:
            return (_Restriction(local, {}),)
        definition = self._nodes_by_name.get(local)
        if definition is None or _get_kind(definition) != "simpleType":
            _raise_unknown(node)
        return self._read_simple_type(definition)

    def _read_simple_type(self, node: etree._Element) -> tuple[_Restriction, ...]:
        """Return the restrictions of a simple type, one for each member of a union; GW519 if unreadable."""
        parts = _list_parts(node)
        if len(parts) == 1 and _get_kind(parts[0]) == "union" and not len(parts[0]):
            members = parts[0].get("memberTypes", "").split()
            return tuple(
                restriction for name in members for restriction in self._read_restrictions(parts[0], name)
            )
        if len(parts) != 1 or _get_kind(parts[0]) != "restriction":
            _raise_unknown(node)
        bases = self._read_restrictions(parts[0], parts[0].get("base", ""))
        if len(bases) != 1 or bases[0].facets:
            _raise_unknown(parts[0])
        facets: dict[str, tuple[str, ...]] = {}
        for facet in _list_parts(parts[0]):
            facets[_get_kind(facet)] = (*facets.get(_get_kind(facet), ()), facet.get("value", ""))
        return (_Restriction(bases[0].base, facets),)


def _list_parts(node: etree._Element) -> list[etree._Element]:
    """Return the child elements of a node without annotations and comments."""
    return [part for part in node if isinstance(part.tag, str) and _get_kind(part) != "annotation"]


def _get_kind(node: etree._Element) -> str:
    name = etree.QName(node)
    return name.localname if name.namespace == XSD else str(name)


def _raise_unknown(node: etree._Element) -> NoReturn:
    """Raise GW519 because the schema has a construct at `node` that the gateway never writes."""
    quoted_name = f" {node.get('name', '')[:40]}" if node.get("name") is not None else ""
    detail = (
        f"its schema cannot be compared: {_get_kind(node)[:80]}{quoted_name} is not as the gateway writes it"
    )
    raise GatewayError(CONTRACT_UNFIT, detail, f"line {node.sourceline}")


def _compare_elements(
    agency_element: _SchemaElement, generated_element: _SchemaElement, path: str
) -> Iterator[str]:
    """Yield a phrase for each place where `bound` rejects what `generated` allows; `path` is their path."""
    if generated_element.low < agency_element.low:
        yield f"demands {path}" if not generated_element.low else f"demands {path} {agency_element.low} times"
    if generated_element.high > agency_element.high:
        generated_limit = generated_element.high
        yield f"takes {path} at most {agency_element.high} times, and a request may have {generated_limit}"
    if bool(agency_element.value) != bool(generated_element.value):
        yield f"has {'a value' if agency_element.value else 'no value'} in {path}"
    elif generated_element.value:
        yield from _compare_values(agency_element.value, generated_element.value, path)
    yield from _compare_attributes(agency_element, generated_element, path)
    yield from _compare_children(agency_element, generated_element, path)
    if agency_element.unique - generated_element.unique:
        yield (
            f"takes each of {path} once by "
            f"{', '.join(' '.join(paths) for paths in agency_element.unique - generated_element.unique)}"
        )


def _compare_attributes(
    agency_element: _SchemaElement, generated_element: _SchemaElement, path: str
) -> Iterator[str]:
    """Yield a phrase for each attribute of `generated` that `bound` rejects, or that only `bound` demands."""
    for name, (restrictions, _) in generated_element.attributes.items():
        if name in agency_element.attributes:
            yield from _compare_values(agency_element.attributes[name][0], restrictions, f"{path}/@{name}")
        else:
            yield f"has no {path}/@{name}"
    for name, (_, required) in agency_element.attributes.items():
        if required and not generated_element.attributes.get(name, ((), False))[1]:
            yield f"demands {path}/@{name}"


def _compare_children(
    agency_element: _SchemaElement, generated_element: _SchemaElement, path: str
) -> Iterator[str]:
    """Yield a phrase for each child that `agency_element` rejects, lacks, demands or has in another order."""
    bound_children = {child.name: child for child in agency_element.children}
    written = {child.name for child in generated_element.children}
    for child in generated_element.children:
        if child.name in bound_children:
            yield from _compare_elements(bound_children[child.name], child, f"{path}/{child.name}")
        else:
            yield f"has no {path}/{child.name}"
    for child in agency_element.children:
        if child.low and child.name not in written:
            yield f"demands {path}/{child.name}"
    shared = [child.name for child in generated_element.children if child.name in bound_children]
    if shared != [child.name for child in agency_element.children if child.name in written]:
        yield f"has the elements of {path} in another order"


def _compare_values(
    bound: Sequence[_Restriction], generated: Sequence[_Restriction], path: str
) -> Iterator[str]:
    """Yield a phrase for each restriction in `generated` that no restriction in `bound` includes."""
    for restriction in generated:
        if any(_is_within(restriction, bound_restriction) for bound_restriction in bound):
            continue
        codes = _list_further_codes(restriction, bound)
        if codes:
            ellipsis = ", …" if len(codes) > _MAX_NAMED_CODES else ""
            named_codes = ", ".join(codes[:_MAX_NAMED_CODES])
            yield f"takes no {named_codes}{ellipsis} in {path}, which a request may have"
        else:
            accepted = " or ".join(_describe_restriction(bound_restriction) for bound_restriction in bound)
            offered = _describe_restriction(restriction)
            yield f"takes in {path} only {accepted}, and a request may have {offered}"


def _list_further_codes(restriction: _Restriction, bound: Sequence[_Restriction]) -> list[str]:
    """Return the codes of `restriction` that `bound` does not allow; none unless all of them list codes."""
    if "enumeration" not in restriction.facets or any(
        "enumeration" not in bound_restriction.facets for bound_restriction in bound
    ):
        return []
    bound_codes = {code for bound_restriction in bound for code in bound_restriction.facets["enumeration"]}
    return [code for code in restriction.facets["enumeration"] if code not in bound_codes]


def _is_within(restriction: _Restriction, bound_restriction: _Restriction) -> bool:
    """Return whether each value of `restriction` is surely one of `bound_restriction`."""
    if bound_restriction.base not in (restriction.base, _ANYTHING, *_WITHIN.get(restriction.base, ())):
        return False
    if "enumeration" in restriction.facets and "enumeration" in bound_restriction.facets:
        return set(restriction.facets["enumeration"]) <= set(bound_restriction.facets["enumeration"])
    return all(_keeps_facet(restriction, name, values) for name, values in bound_restriction.facets.items())


def _keeps_facet(restriction: _Restriction, name: str, values: tuple[str, ...]) -> bool:
    """Return whether each value of `restriction` certainly satisfies the facet `name` with `values`."""
    if restriction.facets.get(name) == values:
        return True
    if "enumeration" in restriction.facets and name.casefold().endswith("length"):
        lengths = [len(code) for code in restriction.facets["enumeration"]]
        low = int(values[0]) if name != "maxLength" else 0
        high = int(values[0]) if name != "minLength" else _UNBOUNDED
        return low <= min(lengths) and max(lengths) <= high
    if name == "fractionDigits" and restriction.base in _WITHIN:
        return True
    limit = restriction.get_bound(name) if name in _UPPER | _LOWER else None
    if limit is None:
        # The lexical form of a number or a day has at least one character.
        return name == "minLength" and values == ("1",) and restriction.base != _ANYTHING
    return limit <= Decimal(values[0]) if name in _UPPER else limit >= Decimal(values[0])


def _describe_restriction(restriction: _Restriction) -> str:
    """Return a form of a value in the words of XML Schema."""
    facets = []
    for name, values in restriction.facets.items():
        if name == "enumeration":
            ellipsis = ", …" if len(values) > _MAX_NAMED_CODES else ""
            facets.append(f"of {', '.join(values[:_MAX_NAMED_CODES])}{ellipsis}")
        elif (name, values) != ("minLength", ("1",)):
            facets.append(f"{name} {' '.join(values)[:80]}")
    return " ".join([restriction.base, *facets])
