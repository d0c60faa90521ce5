"""Every test of `gateway/store` that takes a database runs on both kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.databases import KINDS, Templates


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, templates: Templates) -> Iterator[str]:
    """Give the url of a new database with every table and no row; once for each kind."""
    url = templates.fresh(request.param)
    yield url
    templates.drop(url)
