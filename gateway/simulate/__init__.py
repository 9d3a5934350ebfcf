"""Simulated devices: they provision, connect and send as real ones do, to show a gateway and to try a set-up.

`aiomqtt` (today's name of asyncio-mqtt) speaks MQTT for them, so that what they meet on the wire is judged by
a client that this project did not write. They know of the gateway only what a device knows: a host, a port, a
CA, an ID scope and their own credential.
"""

from gateway.simulate.device import (
    CertificateCredential,
    Credential,
    Endpoint,
    KeyCredential,
    SimulatedDevice,
)
from gateway.simulate.fleet import DeviceResult, FleetPlan, FleetResult, Step, run_fleet
from gateway.simulate.telemetry import Reading, TelemetrySource, telemetry_for

__all__ = [
    "CertificateCredential",
    "Credential",
    "DeviceResult",
    "Endpoint",
    "FleetPlan",
    "FleetResult",
    "KeyCredential",
    "Reading",
    "SimulatedDevice",
    "Step",
    "TelemetrySource",
    "run_fleet",
    "telemetry_for",
]
