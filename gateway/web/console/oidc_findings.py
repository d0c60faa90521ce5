"""What `gateway check` says of the OpenID provider of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.config import Settings
from gateway.errors import SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.web.console.oidc_provider import (
    OidcProvider,
    ProviderError,
    ProviderMismatchError,
    is_protected_url,
)
from gateway.web.console.page_guards import get_console_url

_SECTION: Final = "console.oidc"


def find_provider_problems(
    settings: Settings, clock: Callable[[], datetime], warnings: list[str]
) -> Iterator[GatewayError]:
    """Yield the problems of the provider; add a warning when it cannot be reached now.

    Yields nothing if the settings name no provider. The provider is called once, within
    `console.oidc.time_out`. A provider that cannot be reached is only a warning, because it may be away for a
    while.
    """
    oidc = settings.console.oidc
    if oidc.issuer is None:
        return
    if not settings.console.enabled:
        warnings.append(
            f"{_SECTION}: the console is not served (console.enabled), so nobody signs in by OpenID"
        )
    if settings.console.public_url is None:
        url = get_console_url(settings)
        warnings.append(
            f"{_SECTION}: console.public_url is not set: the provider sends everybody back to {url}"
        )
    if not is_protected_url(oidc.issuer):
        yield GatewayError(SETTINGS_WRONG, f"the issuer {oidc.issuer[:200]} has no TLS", f"{_SECTION}.issuer")
        return
    yield from _find_connection_problems(settings, clock, warnings)


def _find_connection_problems(
    settings: Settings, clock: Callable[[], datetime], warnings: list[str]
) -> Iterator[GatewayError]:
    """Yield the problems of the CA file, the issuer and the client secret in the settings.

    If the provider cannot be reached, append a sentence to `warnings`.
    """
    oidc = settings.console.oidc
    if oidc.ca is not None and not Path(oidc.ca).is_file():
        yield GatewayError(SETTINGS_WRONG, f"there is no file {oidc.ca}", f"{_SECTION}.ca")
        return
    provider = OidcProvider(oidc, get_console_url(settings), clock)
    try:
        provider.check_provider()
        if not provider.may_state_authentication_time():
            warnings.append(
                f"{_SECTION}: the provider does not list the claim auth_time: people who sign in by OpenID "
                "alone cannot add a password or a passkey, nor manage accounts"
            )
    except ProviderMismatchError as problem:
        yield GatewayError(SETTINGS_WRONG, f"{oidc.issuer}: {problem}", f"{_SECTION}.issuer")
    except ProviderError as problem:
        warnings.append(f"{UNREACHABLE.id} {_SECTION}.issuer: the OpenID provider is not reached: {problem}")
    except GatewayError as problem:
        yield GatewayError(problem.problem, problem.detail, f"{_SECTION}.client_secret")
