"""One simulated device: the provisioning service first, then the hub, as Microsoft's SDKs do it."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

import aiomqtt

from gateway.errors import OperationError
from gateway.secrets import SymmetricKey
from gateway.simulate.telemetry import Reading
from gateway.simulate.wire import (
    PROVISIONING_ANSWERS,
    Assigned,
    Declined,
    TryAgain,
    hub_token,
    hub_username,
    parse_provisioning_answer,
    provisioning_request,
    provisioning_token,
    provisioning_username,
    telemetry_topic,
)

__all__ = ["CertificateCredential", "Credential", "Endpoint", "Hub", "KeyCredential", "SimulatedDevice"]

TOKEN_LIFETIME_S: Final = 3600
KEEP_ALIVE_S: Final = 60
"""What the Python SDK asks for."""
_QOS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where devices dial. Without `ca_file` they dial without TLS (the gateway's plain listener)."""

    host: str
    port: int
    id_scope: str
    ca_file: Path | None


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """The device's own key: of its individual enrollment, or derived from a group's."""

    key: SymmetricKey


@dataclass(frozen=True, slots=True)
class CertificateCredential:
    """PEM files: the device's certificate, with its intermediates if it has any, and its private key."""

    certificate_file: Path
    key_file: Path


Credential = KeyCredential | CertificateCredential


class SimulatedDevice:
    """A device with an identity and, perhaps, a model. Every failure is an `OperationError` of one line."""

    def __init__(
        self,
        device_id: str,
        endpoint: Endpoint,
        credential: Credential,
        *,
        model_id: str | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        """Read the CA and the credential's files. `timeout_s` bounds a connect, and all of provisioning."""
        self.device_id = device_id
        self.model_id = model_id
        self._endpoint = endpoint
        self._credential = credential
        self._timeout_s = timeout_s
        self._tls = _tls_context(endpoint, credential)

    async def provision(self) -> Assigned:
        """Register with the provisioning service, and wait until it assigns a hub."""
        scope, device_id = self._endpoint.id_scope, self.device_id
        token = None
        if isinstance(self._credential, KeyCredential):
            token = provisioning_token(scope, device_id, self._credential.key, _expiry())
        client = self._client(provisioning_username(scope, device_id), token)
        so_far = "no answer"
        operation_id: str | None = None
        try:
            async with asyncio.timeout(self._timeout_s) as deadline, client:
                await client.subscribe(PROVISIONING_ANSWERS, qos=_QOS)
                # Asked each time, since the `wait_for` inside aiomqtt may swallow the cancellation by which a
                # timeout ends this (Python 3.11, github.com/python/cpython/issues/86296).
                while not deadline.expired():
                    topic, body = provisioning_request(device_id, self.model_id, operation_id)
                    await client.publish(topic, body, qos=_QOS)
                    message = await anext(client.messages)
                    answer = parse_provisioning_answer(str(message.topic), bytes(message.payload))
                    match answer:
                        case Assigned():
                            return answer
                        case TryAgain():
                            so_far, operation_id = answer.why, answer.operation_id
                            await asyncio.sleep(answer.after_s)
                        case Declined():
                            raise OperationError(f"{device_id}: not provisioned: {answer.code} {answer.why}")
                        case _:
                            assert_never(answer)
                raise TimeoutError  # noqa: TRY301 - as the deadline does
        except TimeoutError:
            raise OperationError(
                f"{device_id}: not provisioned within {self._timeout_s:g} s: {so_far}"
            ) from None
        except aiomqtt.MqttError as error:
            raise self._failure(error) from None

    @asynccontextmanager
    async def connect(self, hub: str | None = None) -> "AsyncIterator[Hub]":
        """A session with the hub, closed at the end. Without `hub` the device skips provisioning."""
        hub = hub or self._endpoint.host
        token = None
        if isinstance(self._credential, KeyCredential):
            token = hub_token(hub, self.device_id, self._credential.key, _expiry())
        client = self._client(hub_username(hub, self.device_id, self.model_id), token)
        try:
            async with client:
                yield Hub(self.device_id, client)
        except aiomqtt.MqttError as error:
            raise self._failure(error) from None

    def _client(self, username: str, password: str | None) -> aiomqtt.Client:
        # Always the same address: one gateway host serves both dialects, and `assignedHub` may be a name that
        # resolves only where the devices are.
        return aiomqtt.Client(
            self._endpoint.host,
            self._endpoint.port,
            identifier=self.device_id,
            username=username,
            password=password,
            clean_session=False,
            keepalive=KEEP_ALIVE_S,
            timeout=self._timeout_s,
            tls_context=self._tls,
        )

    def _failure(self, error: aiomqtt.MqttError) -> OperationError:
        if isinstance(error, aiomqtt.MqttCodeError):
            return OperationError(f"{self.device_id}: the gateway refused it: {error.rc}")
        where = f"{self._endpoint.host}:{self._endpoint.port}"
        return OperationError(f"{self.device_id}: {where}: {' '.join(str(error).split())}")


class Hub:
    """A live session with the hub."""

    def __init__(self, device_id: str, client: aiomqtt.Client) -> None:
        self._device_id = device_id
        self._client = client

    async def send(self, reading: Reading) -> None:
        """Publish a reading; returns when the gateway has acknowledged it (QoS 1)."""
        topic = telemetry_topic(self._device_id, reading.component)
        await self._client.publish(topic, json.dumps(reading.body), qos=_QOS)


def _tls_context(endpoint: Endpoint, credential: Credential) -> ssl.SSLContext | None:
    """TLS as a device does it: the server is checked against `ca_file`, the device's certificate is shown."""
    if endpoint.ca_file is None:
        if isinstance(credential, CertificateCredential):
            raise OperationError("a device with a certificate needs TLS: name the CA's file")
        return None
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise OperationError(f"{endpoint.ca_file}: not a readable CA certificate: {_plain(error)}") from None
    if isinstance(credential, CertificateCredential):
        files = credential.certificate_file, credential.key_file
        try:
            context.load_cert_chain(*files)
        except (OSError, ssl.SSLError) as error:
            raise OperationError(
                f"{files[0]}, {files[1]}: not a certificate and its key: {_plain(error)}"
            ) from None
    return context


def _expiry() -> int:
    return int(time.time()) + TOKEN_LIFETIME_S


def _plain(error: OSError) -> str:
    return error.strerror or str(error)
