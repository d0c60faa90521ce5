"""What a profile fills into an agreement file that does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.agreements.as4.profile_tables import list_profiles, read_profile
from gateway.agreements.yaml_nodes import YamlNode

__all__ = ["read_fillings"]


def read_fillings(node: YamlNode) -> dict[str, YamlNode]:
    """Return what the profile that `node` names fills in, each value as if it stood at that name.

    Raises GW808 for an unknown profile.
    """
    name = node.read_text()
    if name not in list_profiles():
        node.raise_problem(f"{name[:60]!r} is no profile; known are {', '.join(list_profiles())}")
    return _make_nodes(read_profile(name).fillings, node)


def _make_nodes(values: Mapping[str, Any], at: YamlNode) -> dict[str, YamlNode]:
    return {name: _make_node(value, at) for name, value in values.items()}


def _make_node(value: Any, at: YamlNode) -> YamlNode:
    if isinstance(value, Mapping):
        return replace(at, value=_make_nodes(value, at))
    if isinstance(value, list):
        return replace(at, value=[_make_node(one, at) for one in value])
    return replace(at, value=str(value).lower() if isinstance(value, bool) else str(value))
