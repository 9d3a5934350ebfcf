"""What a device needs to connect: for its firmware, for a person, or as a QR code for a phone or an installer's tool.

IoT Central does not document what its QR code holds; ours is a JSON object with `idScope`, `deviceId` and,
if it was asked for, `primaryKey`, and with the `host` that they are for.
"""

import io
from typing import Any, Final

import orjson
import segno

from gateway.enrollment.models import EnrollmentGroup, SymmetricKeys
from gateway.errors import OperationError
from gateway.groups import Groups
from gateway.identity.sas import derive_device_key
from gateway.operations.attestation import keys_to_json, mechanism_of
from gateway.operations.devices import check_device_id, sas_group
from gateway.operations.verbs import DeviceId, GroupName
from gateway.registry.registry import DeviceEntry, Registry
from gateway.settings import Settings

__all__ = ["ConnectionOperations", "qr_code"]

_SVG_SCALE: Final = 4


class ConnectionOperations:
    """`device.connection`"""

    def __init__(self, *, registry: Registry, groups: Groups, settings: Settings) -> None:
        self._registry = registry
        self._groups = groups
        self._settings = settings

    async def show(
        self, *, device_id: DeviceId, keys: bool = False, group: GroupName | None = None, svg: bool = False
    ) -> dict[str, Any]:
        """What the device needs to connect; its keys, in the QR code too, only if they are asked for.

        It need not be registered: `group` says which enrollment group it will come in by (by default the one it came in
        by, else SAS-IoT-Devices). `svg` adds the QR code as a picture.
        """
        settings = self._settings
        check_device_id(device_id, extended=settings.provisioning.extended_device_ids)
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        device = entry.device
        shown: dict[str, Any] = {
            "id": device_id,
            "registered": device is not None,
            "idScope": settings.id_scope,
            "host": settings.hosts[0],
            "port": settings.devices.bind.port,
            "modelId": device.model_id or device.template_id if device is not None else None,
        }
        shown |= self._credential(device_id, entry, group, keys=keys)
        shown["qr"] = {"host": shown["host"], "idScope": shown["idScope"], "deviceId": device_id}
        if "primaryKey" in shown:
            shown["qr"]["primaryKey"] = shown["primaryKey"]
        if svg:
            picture = io.BytesIO()
            qr_code(shown["qr"]).save(picture, kind="svg", scale=_SVG_SCALE, xmldecl=False)
            shown["svg"] = picture.getvalue().decode()
        return shown

    def _credential(
        self, device_id: str, entry: DeviceEntry, group: str | None, *, keys: bool
    ) -> dict[str, Any]:
        """By what the device proves who it is; an individual enrollment wins."""
        if entry.individual is not None:
            if group is not None:
                raise OperationError(
                    f"{device_id} has an individual enrollment, which wins over any group",
                    hint="leave --group out",
                )
            attestation = entry.individual.attestation
            own = attestation if isinstance(attestation, SymmetricKeys) else None
            enrolled: dict[str, Any] = {"enrollment": "individual"}
            if own is None:
                return enrolled | {"attestation": mechanism_of(attestation)}
        else:
            enrollment_group = self._group_of(entry, group)
            enrolled = {"enrollment": "group", "enrollmentGroup": enrollment_group.id}
            own = _of_group(enrollment_group, device_id)
        if own is None:
            return enrolled | {"attestation": "x509"}
        return enrolled | {"attestation": "symmetricKey"} | (keys_to_json(own) if keys else {})

    def _group_of(self, entry: DeviceEntry, name: str | None) -> EnrollmentGroup:
        device = entry.device
        if name is None and device is not None and device.enrollment_group is not None:
            known = self._groups.get(device.enrollment_group)
            if known is not None:
                return known
        return sas_group(self._groups, name)[0]


def qr_code(content: dict[str, Any]) -> segno.QRCode:
    """The QR code of a JSON object."""
    return segno.make_qr(orjson.dumps(content).decode(), error="m")


def _of_group(group: EnrollmentGroup, device_id: str) -> SymmetricKeys | None:
    """The keys that a device of the group has; None if the group has certificates."""
    if not isinstance(group.attestation, SymmetricKeys):
        return None
    return SymmetricKeys(
        primary=derive_device_key(group.attestation.primary, device_id),
        secondary=derive_device_key(group.attestation.secondary, device_id),
    )
