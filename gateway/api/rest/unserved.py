"""What IoT Central's data plane has and this gateway does not (yet): answered as such, so that a script knows."""

from typing import Final

from fastapi import APIRouter

from gateway.api.rest.calling import ApiVersion, Me
from gateway.api.rest.errors import UnservedError

__all__ = ["router"]

router = APIRouter(dependencies=[ApiVersion], include_in_schema=False)

_METHODS: Final = ["GET", "PUT", "PATCH", "POST", "DELETE"]
_NOUNS: Final = (
    "dashboards", "dataExport", "deviceGroups", "fileUploads", "jobs", "organizations", "query", "scheduledJobs", "users",
)  # fmt: skip
_OF_A_DEVICE: Final = ("commands", "components", "modules", "properties", "relationships", "telemetry")


async def _unserved(_me: Me) -> None:
    raise UnservedError("this part of IoT Central's API is not served here")


for _noun in (*_NOUNS, *(f"devices/{{device_id}}/{part}" for part in _OF_A_DEVICE)):
    for _path in (f"/{_noun}", f"/{_noun}/{{rest:path}}"):
        router.add_api_route(_path, _unserved, methods=_METHODS)
