"""Reads and checks the settings: one TOML file, every key with its default and its sentence.

Relative paths start at the home folder, and the home folder, when relative, at the folder
of the file.  Unknown keys are errors.  A secret is never written in the file: it is named
as ``{ file = "…" }`` or ``{ env = "…" }``.
"""

from __future__ import annotations

from gateway.config.delivery_settings import AgencySettings, CustomsSettings
from gateway.config.fetch_sources import FetchSettings
from gateway.config.key_reference import SettingKey, describe_settings
from gateway.config.limits import LimitSettings
from gateway.config.pki import NextKeySettings, PkiSettings
from gateway.config.secret_values import Secret
from gateway.config.settings import Settings
from gateway.config.settings_file import load_settings
from gateway.config.time_stamps import TimeStampSettings
from gateway.config.tls import TlsSettings, get_key_file

__all__ = [
    "AgencySettings",
    "CustomsSettings",
    "FetchSettings",
    "LimitSettings",
    "NextKeySettings",
    "PkiSettings",
    "Secret",
    "SettingKey",
    "Settings",
    "TimeStampSettings",
    "TlsSettings",
    "describe_settings",
    "get_key_file",
    "load_settings",
]
