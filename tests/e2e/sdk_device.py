"""A device made with Microsoft's unmodified Python SDK. Runs in the SDK's own virtual environment.

Standard input: one JSON object (see `run`). Standard output: one JSON object with what the device saw.
"""

import asyncio
import json
import sys
import time

from azure.iot.device import X509, Message
from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient


def provisioning_client(order):
    common = {
        "provisioning_host": order["host"],
        "registration_id": order["id"],
        "id_scope": order["id_scope"],
        "server_verification_cert": order["ca"],
    }
    if "key" in order:
        return ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=order["key"], **common)
    return ProvisioningDeviceClient.create_from_x509_certificate(x509=certificate(order), **common)


def hub_client(order, hub):
    common = {
        "hostname": hub,
        "device_id": order["id"],
        "product_info": order.get("model", ""),  # one that begins with "dtmi:" is sent as the model id
        "server_verification_cert": order["ca"],
    }
    if "key" in order:
        return IoTHubDeviceClient.create_from_symmetric_key(symmetric_key=order["key"], **common)
    return IoTHubDeviceClient.create_from_x509_certificate(x509=certificate(order), **common)


def certificate(order):
    return X509(cert_file=order["certificate_file"], key_file=order["key_file"])


async def run(order):
    seen = {}
    hub = order["host"]
    if order.get("provision", True):
        client = provisioning_client(order)
        if order.get("model"):
            client.provisioning_payload = {"modelId": order["model"]}
        result = await client.register()
        seen["status"] = result.status
        seen["device_id"] = result.registration_state.device_id
        hub = seen["hub"] = result.registration_state.assigned_hub
    device = hub_client(order, hub)
    await device.connect()
    seen["connected"] = device.connected
    seen["twin_before"] = await device.get_twin()
    for patch in order.get("report", []):
        await device.patch_twin_reported_properties(patch)
    seen["twin_after"] = await device.get_twin()
    for telemetry in order.get("telemetry", []):
        message = Message(json.dumps(telemetry["body"]))
        message.content_type, message.content_encoding = "application/json", "utf-8"
        message.custom_properties.update(telemetry.get("properties", {}))
        if "component" in telemetry:
            message.custom_properties["$.sub"] = telemetry["component"]
        await device.send_message(message)
    if order.get("linger_until_closed"):
        closed = asyncio.Event()
        loop = asyncio.get_running_loop()
        device.on_connection_state_change = lambda: loop.call_soon_threadsafe(closed.set)
        await closed.wait()
        seen["closed"] = not device.connected
    await device.shutdown()
    return seen


def main():
    order = json.load(sys.stdin)
    slow = order.get("clock_slow_s", 0)
    if slow:
        real = time.time
        time.time = lambda: real() - slow  # a device whose clock is late; the SDK itself is untouched
    try:
        seen = asyncio.run(asyncio.wait_for(run(order), 60))
    except Exception as error:
        seen = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
