"""What `gateway check` says of the OpenID provider of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from gateway.config import Settings
from gateway.errors import SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.web.console.console_services import get_console_url
from gateway.web.console.oidc_provider import (
    OidcProvider,
    ProviderError,
    ProviderMismatchError,
    is_protected_url,
)

__all__ = ["find_provider_problems"]

_PLACE = "console.oidc"


def find_provider_problems(
    settings: Settings, clock: Callable[[], datetime], warnings: list[str]
) -> Iterator[GatewayError]:
    """Yield what is wrong with the provider; add a warning when it cannot be reached now.

    Nothing is said where the settings name no provider. One call of the provider is made, within
    `console.oidc.time_out`; without a network that is a warning, for a provider may be away for a while.
    """
    oidc = settings.console.oidc
    if oidc.issuer is None:
        return
    if not settings.console.enabled:
        warnings.append(
            f"{_PLACE}: the console is not served (console.enabled), so nobody signs in by OpenID"
        )
    if settings.console.public_url is None:
        url = get_console_url(settings)
        warnings.append(
            f"{_PLACE}: console.public_url is not set: the provider sends everybody back to {url}"
        )
    if not is_protected_url(oidc.issuer):
        yield GatewayError(SETTINGS_WRONG, f"the issuer {oidc.issuer[:200]} has no TLS", f"{_PLACE}.issuer")
        return
    yield from _ask_provider(settings, clock, warnings)


def _ask_provider(
    settings: Settings, clock: Callable[[], datetime], warnings: list[str]
) -> Iterator[GatewayError]:
    oidc = settings.console.oidc
    if oidc.ca is not None and not Path(oidc.ca).is_file():
        yield GatewayError(SETTINGS_WRONG, f"there is no file {oidc.ca}", f"{_PLACE}.ca")
        return
    try:
        OidcProvider(oidc, get_console_url(settings), clock).check_provider()
    except ProviderMismatchError as problem:
        yield GatewayError(SETTINGS_WRONG, f"{oidc.issuer}: {problem}", f"{_PLACE}.issuer")
    except ProviderError as problem:
        warnings.append(f"{UNREACHABLE.id} {_PLACE}.issuer: the OpenID provider is not reached: {problem}")
    except GatewayError as problem:
        yield GatewayError(problem.problem, problem.detail, f"{_PLACE}.client_secret")
