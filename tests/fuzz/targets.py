"""What a stranger's bytes reach before anybody has proved anything, and the models that operators bring, one function each.

A target takes any bytes. It may let only the errors through that the code under it declares; what it asserts beyond that has
to hold for every input. `run` drives them by coverage (atheris), `test_targets` with seeds, findings and a bounded run.
"""

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography import x509

from gateway import mqtt
from gateway.dps.rest import Problem, tpm_in
from gateway.errors import TemplateError
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.tpm import StorageKey, TpmError, make_activation_blob
from gateway.identity.x509 import (
    TrustAnchor,
    TrustAnchors,
    check_leaf,
    common_name,
    match_thumbprint,
    thumbprints,
    verify_chain,
)
from gateway.refusals import Refused
from gateway.secrets import SymmetricKey
from gateway.templates.dtdl import parse_interfaces
from tests.conformance.mqtt.vectors import INVALID, VALID
from tests.conformance.mqtt.vectors5 import INVALID_5, VALID_5
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, STORAGE_ROOT_KEY

__all__ = ["SEEDS", "TARGETS"]

_KEY = SymmetricKey(bytes(range(64)))
_NOW = 1_800_000_000.0
_MAX_PACKETS = 1000
_CERTIFICATES = Path(__file__).parent / "seeds" / "certificate"


def codec(data: bytes) -> None:
    """A server's connection, both versions: a violation is the last event; what is read can be written again."""
    for connect in (mqtt.Connect("d"), mqtt.Connect("d", protocol_level=mqtt.MQTT_5_LEVEL)):
        level = mqtt.CODECS[connect.protocol_level]
        connection = mqtt.ServerConnection(
            max_connect_packet_size=16_384, max_packet_size=65_536, max_inflight=8
        )
        list(connection.receive_data(level.encode(connect)))
        connection.accept(session_present=False)
        _receive(connection, data)
        _decode_and_encode(level, data)
    fresh = mqtt.ServerConnection(max_connect_packet_size=16_384, max_packet_size=65_536, max_inflight=8)
    _receive(fresh, data)


def _receive(connection: mqtt.ServerConnection, data: bytes) -> None:
    events: list[mqtt.Event] = []
    for event in connection.receive_data(data):
        assert not events or not isinstance(events[-1], mqtt.Violation), "something came after a violation"
        events.append(event)
        if connection.state is mqtt.State.DECIDING:
            connection.accept(session_present=False)
        elif connection.state is mqtt.State.REFUSING:
            connection.refuse(1)
    if events and isinstance(events[-1], mqtt.Violation):
        assert connection.state is mqtt.State.CLOSED
        assert "\n" not in events[-1].message


def _decode_and_encode(level: mqtt.Codec, data: bytes) -> None:
    """A packet that is read can be written, and is then read as itself."""
    decoder = mqtt.Decoder(level.from_client, max_packet_size=65_536)
    decoder.feed(data)
    try:
        for _ in range(_MAX_PACKETS):
            packet = decoder.next_packet()
            if packet is None:
                return
            if isinstance(packet, mqtt.UnsupportedProtocol):
                continue
            if isinstance(packet, mqtt.Connect) and packet.protocol_level != level.level:
                continue
            again = mqtt.Decoder(level.from_client, max_packet_size=1 << 20)
            again.feed(level.encode(packet))
            assert again.next_packet() == packet
    except mqtt.MalformedPacket:
        pass


def sas_token(data: bytes) -> None:
    """A password: a token that can be judged, or a refusal."""
    text = data.decode("ascii", "replace")
    for secret in (text, f"SharedAccessSignature {text}"):
        token = sas.SasToken.parse(secret)
        if isinstance(token, Refused):
            assert "\n" not in token.detail
            continue
        outcome = sas.verify(token, (_KEY,), now=_NOW)
        assert isinstance(outcome, Refused), "nobody signs by chance"


def topics(data: bytes) -> None:
    """Two texts: a filter and a name. What covers a filter matches whatever that matches."""
    wide, narrow, name, *_ = *data.decode("utf-8", "surrogateescape").split("\n"), "", ""
    for topic_filter in (wide, narrow):
        try:
            mqtt.validate_topic_filter(topic_filter)
        except mqtt.InvalidTopic:
            return
    try:
        mqtt.validate_topic_name(name)
    except mqtt.InvalidTopic:
        return
    assert mqtt.matches(name, name)
    if mqtt.filter_covers(wide, narrow) and mqtt.matches(narrow, name):
        assert mqtt.matches(wide, name)


def dtdl(data: bytes) -> None:
    """A model: interfaces, or one line that says what is wrong."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    message = ""
    try:
        parse_interfaces(document)
    except TemplateError as error:
        message = error.message
    assert "\n" not in message


def tpm(data: bytes) -> None:
    """An endorsement key: what a key can be wrapped for, or one line that says what is wrong."""
    shown = {
        "tpm": {"endorsementKey": base64.b64encode(data).decode(), "storageRootKey": data.decode("latin-1")}
    }
    assert isinstance(tpm_in(shown), Problem)
    try:
        key = StorageKey.parse(data)
    except TpmError:
        return
    assert StorageKey.from_base64(key.base64) == key
    make_activation_blob(_KEY, endorsement=key, storage_root=key, resource="r")


@cache
def _anchors() -> TrustAnchors:
    ca = x509.load_der_x509_certificate((_CERTIFICATES / "ca.der").read_bytes())
    return TrustAnchors([TrustAnchor(id="ca", certificate=ca)])


@cache
def _intermediate() -> x509.Certificate:
    return x509.load_der_x509_certificate((_CERTIFICATES / "intermediate.der").read_bytes())


def certificate(data: bytes) -> None:
    """A client's certificate, as leaf and as intermediate: a judgement of one line."""
    try:
        shown = x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion):  # `gateway.edge.tls` ends the handshake
        return
    name = None
    with suppress(ValueError):
        name = common_name(shown)
    genuine = _leaf()
    for leaf, intermediates in ((shown, (_intermediate(), shown)), (genuine, (shown, _intermediate()))):
        evidence = CertificateEvidence(leaf=leaf, intermediates=intermediates)
        for outcome in (
            check_leaf(leaf, name or "d", now=_NOW), verify_chain(evidence, _anchors(), now=_NOW),
            match_thumbprint(leaf, thumbprints(leaf).sha256, None), match_thumbprint(leaf, None, "x"),
        ):  # fmt: skip
            assert not isinstance(outcome, Refused) or "\n" not in outcome.detail


@cache
def _leaf() -> x509.Certificate:
    return x509.load_der_x509_certificate((_CERTIFICATES / "leaf.der").read_bytes())


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "codec": codec,
    "sas_token": sas_token,
    "topics": topics,
    "dtdl": dtdl,
    "tpm": tpm,
    "certificate": certificate,
}

_MODEL = {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:Thermostat;1",
    "@type": "Interface",
    "contents": [
        {
            "@type": ["Telemetry", "Temperature"],
            "name": "temperature",
            "schema": "double",
            "unit": "degreeCelsius",
        },
        {
            "@type": "Property",
            "name": "target",
            "schema": {"@type": "Object", "fields": []},
            "writable": True,
        },
        {"@type": "Command", "name": "reboot", "request": {"name": "delay", "schema": "integer"}},
        {"@type": "Component", "name": "inner", "schema": "dtmi:com:example:Inner;1"},
    ],
}

SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "codec": tuple(vector.data for vector in (*VALID, *INVALID, *VALID_5, *INVALID_5)),
    "sas_token": (
        b"SharedAccessSignature sr=localhost%2Fdevices%2Fd&sig=" + b"A" * 43 + b"%3D&se=1900000000",
        b"sr=a&sig=b&se=1&skn=registration",
        b"sr=%25&sig=%00&se=99999999999999999999",
    ),
    "topics": (b"a/#\na/+\na/b", b"#\n+/+\n/", b"$share/g/a\na\n$SYS", "é/+\né/é\né/é".encode()),
    "dtdl": (
        json.dumps(_MODEL).encode(),
        json.dumps([_MODEL, {**_MODEL, "@id": "dtmi:com:example:Inner;1", "contents": []}]).encode(),
        json.dumps(
            {**_MODEL, "extends": ["dtmi:a;1"], "schemas": [{"@id": "dtmi:a:b;1", "@type": "Enum"}]}
        ).encode(),
    ),
    "tpm": (ENDORSEMENT_KEY, STORAGE_ROOT_KEY),
    "certificate": tuple(each.read_bytes() for each in sorted(_CERTIFICATES.glob("*.der"))),
}
"""Where to begin: inputs that go deep."""
