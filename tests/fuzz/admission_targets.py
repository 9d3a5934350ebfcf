"""What a stranger's bytes reach by way of admission: logins, and requests over HTTPS. See `targets`; this imports more.

Both stand before the gateway's own `Admission`, which knows a group and no device: nobody may be let in.
"""

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from gateway.admission import Admission, ConnectRequest
from gateway.attempts import Attempts
from gateway.dps import grammar as dps
from gateway.dps.service import DpsService
from gateway.edge.http import HttpConnection
from gateway.enrollment.decide import GroupBook
from gateway.enrollment.models import EnrollmentGroup, SymmetricKeys
from gateway.hub import grammar as hub
from gateway.refusals import Reason, Refused
from gateway.registry.store import DeviceEntry
from gateway.secrets import SymmetricKey
from gateway.session import CloseReason
from gateway.settings import parse_settings
from tests.unit.edge import test_http
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, STORAGE_ROOT_KEY

__all__ = ["SEEDS", "TARGETS"]

_KEY = SymmetricKey(bytes(range(64)))
_NOW = 1_800_000_000.0
_SETTINGS = parse_settings(
    {"hosts": ["localhost"], "id_scope": "0ne00ABCDEF", "state_dir": "s",
     "devices": {"certificate_file": "c", "key_file": "k"}}
)  # fmt: skip


@cache
def _admission() -> Admission:
    """The gateway's own, with a group, and no device."""
    group = EnrollmentGroup.new("G", SymmetricKeys(primary=_KEY, secondary=_KEY), now=_NOW)
    return Admission(
        settings=_SETTINGS,
        registry=cast(Any, SimpleNamespace(peek=lambda _: DeviceEntry())),
        groups=cast(Any, SimpleNamespace(book=GroupBook([group]))),
        catalog=cast(Any, None),
        tpm_keys=cast(Any, None),
    )


def login(data: bytes) -> None:
    """A user name and a password, the one as it is and where the grammars go deep: nobody is let in, nothing raises."""
    name, _, password = data.partition(b"\n")
    text = name.decode("utf-8", "replace")
    usernames = (
        text,
        f"{_SETTINGS.id_scope}/registrations/d/{text}",
        f"{_SETTINGS.id_scope}/registrations/d/{text}&api-version=1",
        f"{_SETTINGS.id_scope}/registrations/{text}/api-version=1",
        f"localhost/d/?{text}",
        f"localhost/d/?api-version=1&{text}",
        f"localhost/{text}/?api-version=1",
    )
    for username in usernames:
        claimed = dps.parse_username(username) or hub.parse_username(username)
        device_id = (
            None
            if claimed is None
            else claimed.registration_id
            if isinstance(claimed, dps.DpsLogin)
            else claimed.device_id
        )
        for client_id in ("d", device_id):
            outcome = _admission().admit(ConnectRequest(client_id, username, password, None), now=_NOW)
            assert isinstance(outcome, Refused), "nobody signs by chance"
            assert "\n" not in outcome.detail


def https_request(data: bytes) -> None:
    """What comes after the handshake, whole and in pieces, up to the decision: answers, or an end, and no fault."""
    for step in (len(data) or 1, 7):
        with capture_logs():
            bench = test_http.Bench()
            http = HttpConnection(bench.edge, _service())
            http.attach(bench.channel, bench.channel)
            http.tls_established("TLSv1.3", None)
            for at in range(0, len(data), step):
                http.data_received(data[at : at + step])
        assert not bench.edge.counts.closed[CloseReason.FAULT]


def _service() -> DpsService:
    return DpsService(
        admission=_admission(),
        tpm_keys=cast(Any, SimpleNamespace(challenge=_challenge)),
        attempts=Attempts(max_devices=1, max_per_device=1, max_accepted=1),
        settings=_SETTINGS,
        clock=lambda: _NOW,
    )


async def _challenge(*_: Any, now: float) -> Refused:
    return Refused(Reason.TPM_UNKNOWN)


TARGETS: Mapping[str, Callable[[bytes], None]] = {"login": login, "https_request": https_request}

_TOKEN = b"SharedAccessSignature sr=0ne00ABCDEF%2Fregistrations%2Fd&sig=" + b"A" * 43 + b"%3D&se=1900000000"
_PUT = b"PUT /0ne00ABCDEF/registrations/d/register?api-version=2021-06-01 HTTP/1.1\r\nHost: gw\r\n"
_TPM = json.dumps(
    {
        "registrationId": "d",
        "tpm": {
            "endorsementKey": base64.b64encode(ENDORSEMENT_KEY).decode(),
            "storageRootKey": base64.b64encode(STORAGE_ROOT_KEY).decode(),
        },
        "payload": {"modelId": "dtmi:a;1", "__iot:interfaces": {"CapabilityModelId": 1}},
    }
).encode()


def _put(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in (*headers, b"Content-Length: %d" % len(body)))
    return _PUT + head + b"\r\n" + body


SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "login": (
        b"0ne00ABCDEF/registrations/d/api-version=2019-03-31&ClientVersion=x%2F1\n" + _TOKEN,
        b"localhost/d/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3AT%3B1\n"
        + _TOKEN.replace(b"0ne00ABCDEF%2Fregistrations", b"localhost%2Fdevices"),
        b"localhost/d/m/api-version=2021-04-12\n" + _TOKEN + b"&skn=registration",
        b"x&&=&api-version\n" + _TOKEN.replace(b"%2F", b"%252F"),
        "%ff/\u202e/%00\né".encode(),
    ),
    "https_request": (
        _put(b"{}", b"Authorization: " + _TOKEN),
        _put(b"{}", b"Authorization: Shared\xe9\xff"),
        _put(b'{"payload":{"modelId":"dtmi:a;1"}}') * 2,
        _put(_TPM),
        _put(b"{", b"Expect: 100-continue"),
        _PUT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET /0ne00ABCDEF/registrations/d/operations/4.1?api-version=1&x HTTP/1.1\r\nHost: gw\r\n\r\n",
        b"POST /%30ne/registrations/%2525?api-version=1 HTTP/1.0\r\nAuthorization: " + _TOKEN + b"\r\n\r\n",
        b"HEAD http://gw/x HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n",
    ),
}
"""Where to begin: inputs that go deep."""
