"""One running gateway for the gates that need one."""

from tests.integration.conftest import fleet, gateway

__all__ = ["fleet", "gateway"]
