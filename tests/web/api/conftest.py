from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.api import Api, Client
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False)


@pytest.fixture
def api(story: Story) -> Api:
    return Api(story.house.hub)


@pytest.fixture
def broker(api: Api) -> Client:
    return api.client("broker1")
