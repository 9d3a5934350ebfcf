"""What MQTT 5 says of a message in properties, in IoT Hub's terms."""

import contextlib

from gateway.mqtt import Properties

__all__ = ["telemetry_properties"]


def telemetry_properties(properties: Properties) -> dict[str, str | None]:
    """As in a property bag: user properties under their names, Content Type as `$.ct`, Correlation Data as `$.cid`.

    Of a name that comes twice the last counts, as in a bag. Correlation Data that is no text stays out: JSON has no bytes.
    """
    found: dict[str, str | None] = dict(properties.user_properties)
    if properties.content_type is not None:
        found["$.ct"] = properties.content_type
    if properties.correlation_data is not None:
        with contextlib.suppress(UnicodeDecodeError):
            found["$.cid"] = properties.correlation_data.decode()
    return found
