"""A server with its clock and no client yet, in either version."""

import pytest

from tests.conformance.interop.client import Net


@pytest.fixture(params=[4, 5], ids=["mqtt311", "mqtt5"])
def level(request: pytest.FixtureRequest) -> int:
    """The protocol level."""
    given: int = request.param
    return given


@pytest.fixture
def net(level: int) -> Net:
    return Net(level)
