"""Reads the trust policy from `policy.toml`, and writes it; an unknown key is an error."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from gateway.errors import SETTINGS_WRONG, GatewayError, describe_exception
from gateway.pki.certificate_lint import KeyUsageRule
from gateway.pki.certificates import CertificateRules
from gateway.pki.path_building import PolicyInputs
from gateway.pki.trust_store import DEFAULT_USES, CertificateUse, TrustPolicy
from gateway.share import get_data_folder

_MAX_POLICY_OCTETS: Final = 64 * 1024


def load_shipped_policy() -> TrustPolicy:
    """Read the policy that is part of the gateway."""
    return read_policy(get_data_folder("pki").joinpath("policy.toml").read_bytes(), "policy.toml")


def read_policy(data: bytes, filename: str) -> TrustPolicy:
    """Read a trust policy; raise GW801 naming the wrong key. Missing keys have their default values."""
    if len(data) > _MAX_POLICY_OCTETS:
        raise GatewayError(SETTINGS_WRONG, f"a policy of {len(data)} octets is too large", filename)
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GatewayError(SETTINGS_WRONG, f"not TOML: {describe_exception(error)}", filename) from error
    _check_allowed_keys(tables, {"revocation", "path", "policies", "certificates", "use"}, filename)
    policy_values: dict[str, Any] = {}
    policy_values.update(
        _read_revocation_table(_get_table(tables, "revocation", filename), f"{filename} revocation")
    )
    policy_values.update(
        _read_typed_values(_get_table(tables, "path", filename), TrustPolicy, _PATH_KEYS, f"{filename} path")
    )
    policy_inputs = _read_typed_values(
        _get_table(tables, "policies", filename), PolicyInputs, _POLICY_KEYS, f"{filename} policies"
    )
    policy_values["policies"] = PolicyInputs(**policy_inputs)
    certificates_table = _get_table(tables, "certificates", filename)
    certificate_values = _read_typed_values(
        certificates_table, CertificateRules, _CERTIFICATE_KEYS, f"{filename} certificates"
    )
    uses = _read_uses(_get_table(tables, "use", filename), f"{filename} use")
    return TrustPolicy(certificates=CertificateRules(**certificate_values), uses=uses, **policy_values)


def write_policy(policy: TrustPolicy) -> bytes:
    """Write a policy in full, so that it reads back unchanged with any shipped defaults."""
    revocation: dict[str, Any] = {"rule": policy.revocation}
    if policy.crl_age_most is not None:
        revocation["crl_age_most_hours"] = int(policy.crl_age_most / timedelta(hours=1))
    tables = {
        "revocation": revocation,
        "path": _collect_values(policy, _PATH_KEYS),
        "policies": _collect_values(policy.policies, _POLICY_KEYS),
        "certificates": _collect_values(policy.certificates, _CERTIFICATE_KEYS),
        **{f"use.{use.value}": _collect_values(rule, _USE_KEYS) for use, rule in policy.uses.items()},
    }
    return "\n".join(_format_table(name, table_values) for name, table_values in tables.items()).encode()


def _collect_values(rules: Any, field_names: frozenset[str]) -> dict[str, Any]:
    values = {name: getattr(rules, name) for name in sorted(field_names)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def _format_table(table_name: str, values: Mapping[str, Any]) -> str:
    # For object identifiers, names, whole numbers and booleans, TOML has the syntax of JSON.
    return f"[{table_name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


# Path validation without profile is not a policy: the profile cannot be turned off.
_CERTIFICATE_KEYS: Final = frozenset(each.name for each in fields(CertificateRules)) - {"profile"}
_PATH_KEYS: Final = frozenset({"leaf_may_be_ca", "path_most", "candidates_most"})
# The policies of an anchor always bind it; this is not configurable.
_POLICY_KEYS: Final = frozenset(each.name for each in fields(PolicyInputs)) - {"of_anchor"}
_USE_KEYS: Final = frozenset(each.name for each in fields(KeyUsageRule))


def _read_revocation_table(table: Mapping[str, Any], location: str) -> dict[str, Any]:
    """Return the fields of TrustPolicy that a `revocation` table sets; raise GW801 for a wrong value."""
    _check_allowed_keys(table, {"rule", "crl_age_most_hours"}, location)
    policy_values: dict[str, Any] = {}
    if "rule" in table:
        if table["rule"] not in ("require", "if_present"):
            raise GatewayError(SETTINGS_WRONG, 'neither "require" nor "if_present"', f"{location}.rule")
        policy_values["revocation"] = table["rule"]
    hours = table.get("crl_age_most_hours")
    if hours is not None:
        if type(hours) is not int or not 0 < hours <= 24 * 366:
            raise GatewayError(SETTINGS_WRONG, "not a number of hours", f"{location}.crl_age_most_hours")
        policy_values["crl_age_most"] = timedelta(hours=hours)
    return policy_values


def _read_uses(table: Mapping[str, Any], location: str) -> Mapping[CertificateUse, KeyUsageRule]:
    """Return the usage rule for each use: that of `table`, else the default one."""
    uses = dict(DEFAULT_USES)
    _check_allowed_keys(table, {use.value for use in CertificateUse}, location)
    for use in CertificateUse:
        if use.value in table:
            rule_values = _read_typed_values(
                _get_table(table, use.value, location), KeyUsageRule, None, f"{location}.{use.value}"
            )
            rule_values = {"key_usage": frozenset(), "extended_key_usage": frozenset(), **rule_values}
            uses[use] = KeyUsageRule(**rule_values)
    return MappingProxyType(uses)


def _read_typed_values(
    table: Mapping[str, Any], rules_type: type, field_names: frozenset[str] | None, location: str
) -> dict[str, Any]:
    """Check each value of `table` against the field of `rules_type` with the same name; return the values."""
    field_types = {
        each.name: str(each.type)
        for each in fields(rules_type)
        if field_names is None or each.name in field_names
    }
    _check_allowed_keys(table, set(field_types), location)
    return {
        name: _read_value(value, field_types[name], f"{location}.{name}") for name, value in table.items()
    }


def _read_value(value: Any, value_type: str, location: str) -> Any:
    """Return a value of TOML as a value of type `value_type`; raise GW801 for any other value."""
    if value_type == "frozenset[str]":
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return frozenset(value)
    elif value_type == "bool":
        if isinstance(value, bool):
            return value
    elif type(value) is int and 0 < value <= 1 << 16:
        return value
    raise GatewayError(SETTINGS_WRONG, f"not a valid value of type {value_type}", location)


def _get_table(tables: Mapping[str, Any], table_name: str, location: str) -> Mapping[str, Any]:
    table = tables.get(table_name, {})
    if not isinstance(table, dict):
        raise GatewayError(SETTINGS_WRONG, "not a table", f"{location} {table_name}")
    return table


def _check_allowed_keys(table: Mapping[str, Any], allowed_keys: set[str], location: str) -> None:
    unknown_keys = sorted(set(table) - allowed_keys)
    if unknown_keys:
        raise GatewayError(SETTINGS_WRONG, f"unknown key {unknown_keys[0][:80]!r}", location)
