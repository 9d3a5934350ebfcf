"""A device made with `iotc`, IoT Central's client library. Runs in the SDK's own virtual environment.

Standard input: one JSON object. The server's CA comes by SSL_CERT_FILE, since iotc has no setting for it.
"""

import asyncio
import json
import sys

from iotc import IOTCConnectType
from iotc.aio import IoTCClient


async def run(order):
    client = IoTCClient(order["id"], order["id_scope"], IOTCConnectType.IOTC_CONNECT_DEVICE_KEY, order["key"])
    client.set_global_endpoint(order["host"])
    client.set_model_id(order["model"])
    await client.connect()
    connected = client.is_connected()
    for telemetry in order["telemetry"]:
        await client.send_telemetry(telemetry["body"], telemetry.get("properties"))
    await client.disconnect()
    return {"connected": connected}


def main():
    order = json.load(sys.stdin)
    try:
        seen = asyncio.run(asyncio.wait_for(run(order), 60))
    except SystemExit:
        seen = {"error": "SystemExit", "message": "iotc gave up"}
    except Exception as error:
        seen = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
