"""What devices showed when they tried to connect, and what came of it: the memory behind `gateway why`.

An accepted CONNECT is one tuple in a ring. Refusals are kept by the id that was claimed, whether such a device exists or
not; the newest of an id also keeps what was shown, so that it can be held against what is in force *now*. Ids of devices
and ids that nobody knows are counted apart: a stranger who tries a million names pushes out strangers only.

It is memory: a restart forgets it. Nothing here prints a token's signature; no password is kept.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.enrollment.decide import Verified
from gateway.enrollment.models import IndividualEnrollment
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import SasToken
from gateway.refusals import Reason, Refused
from gateway.registry.device import Device
from gateway.session import CloseReason, Dialect

__all__ = [
    "MAX_CLAIMED_ID",
    "Accepted",
    "Attempts",
    "Ended",
    "Judgement",
    "Presented",
    "Refusal",
    "read_password",
]

MAX_CLAIMED_ID: Final = 128
"""Characters of an id as it is logged and remembered, whoever claims it: as many as a device id may have."""
_MAX_USERNAME: Final = 512
_MAX_DETAIL: Final = 256
_MAX_CERTIFICATE_BYTES: Final = 8192
"""A leaf and its intermediates, as they are commonly; of more only the refusal is kept."""
_STRANGERS_SHARE: Final = 10
"""A tenth as many ids that nobody knows are remembered as ids of devices."""


class Presented(NamedTuple):
    """A login and its credential. `token` is why it is none, if a password came that is not a token."""

    client_id: str
    username: str | None
    token: SasToken | Refused | None
    certificate: CertificateEvidence | None

    def __repr__(self) -> str:
        return f"Presented(client_id={self.client_id!r})"


class Judgement(NamedTuple):
    """What a login would come to if it were presented now. `dialect` is None if the user name is of neither."""

    outcome: Verified | Refused
    dialect: Dialect | None
    device_id: str
    device: Device | None
    individual: IndividualEnrollment | None


class Accepted(NamedTuple):
    """A CONNECT that was answered with 0. `at` is unix seconds."""

    device_id: str
    at: float
    peer: str
    tls: str | None
    dialect: Dialect
    verified: Verified


class Refusal(NamedTuple):
    """A CONNECT that was refused, or with `registering` a DPS register request.

    The same refusal again and again is one, the newest, with its `times`. `presented` is None if a newer one is kept, or
    if it was unusually large.
    """

    at: float
    peer: str
    tls: str | None
    reason: Reason
    detail: str
    presented: Presented | None
    registering: bool
    first_at: float
    times: int


class Ended(NamedTuple):
    """A session that the gateway ended for what the device did."""

    at: float
    peer: str
    reason: CloseReason
    detail: str


Trouble = Refusal | Ended


class Attempts:
    """The last attempts, bounded by id and in all."""

    def __init__(self, *, max_devices: int, max_per_device: int, max_accepted: int) -> None:
        self._max_devices = max_devices
        self._max_strangers = max(1, max_devices // _STRANGERS_SHARE)
        self._max_per_device = max_per_device
        self._known: OrderedDict[str, tuple[Trouble, ...]] = OrderedDict()
        self._strangers: OrderedDict[str, tuple[Trouble, ...]] = OrderedDict()
        # What `Accepted` names, as plain tuples: this is the one thing done on every accepted CONNECT.
        self._accepted: deque[tuple[str, float, str, str | None, Dialect, Verified]] = deque(
            maxlen=max_accepted
        )
        self.refusals: Counter[Reason] = Counter()
        """How many of each reason, ever."""
        self.accepted = self._accepted.append
        """Remember an accepted CONNECT: a tuple of the fields of `Accepted`."""

    def refused(
        self,
        device_id: str,
        refused: Refused,
        *,
        known: bool,
        at: float,
        peer: str,
        tls: str | None,
        presented: Presented | None,
        registering: bool = False,
    ) -> None:
        """Remember a refusal. `known`: such a device is registered. `registering`: by DPS, after its CONNECT."""
        self.refusals[refused.reason] += 1
        detail = refused.detail[:_MAX_DETAIL]
        kept = None if presented is None else _bounded(presented)
        refusal = Refusal(at, peer, tls, refused.reason, detail, kept, registering, at, 1)
        self._add(device_id, refusal, known=known)

    def ended(self, device_id: str, reason: CloseReason, detail: str, *, at: float, peer: str) -> None:
        """Remember that the gateway ended a session for what the device did."""
        self._add(device_id, Ended(at, peer, reason, detail[:_MAX_DETAIL]), known=True)

    def of(self, device_id: str) -> list[Accepted | Trouble]:
        """What is remembered of an id, the newest first. Looks through the accepted ones: for an operator."""
        accepted = [Accepted(*entry) for entry in self._accepted if entry[0] == device_id]
        found: list[Accepted | Trouble] = [
            *accepted[-self._max_per_device :],
            *self._strangers.get(device_id, ()),
            *self._known.get(device_id, ()),
        ]
        found.reverse()
        found.sort(key=lambda attempt: attempt.at, reverse=True)
        return found

    def troubled(self) -> Iterator[str]:
        """The ids with refusals, the most recent first."""
        yield from reversed(self._known)
        yield from reversed(self._strangers)

    def _add(self, device_id: str, trouble: Trouble, *, known: bool) -> None:
        device_id = device_id[:MAX_CLAIMED_ID]
        by_id, most = (self._known, self._max_devices) if known else (self._strangers, self._max_strangers)
        by_id[device_id] = _joined(by_id.get(device_id, ()), trouble)[-self._max_per_device :]
        by_id.move_to_end(device_id)
        if len(by_id) > most:
            by_id.popitem(last=False)


def _joined(earlier: tuple[Trouble, ...], newest: Trouble) -> tuple[Trouble, ...]:
    """With one more: the same refusal again is counted, and only the newest keeps what was shown."""
    if isinstance(newest, Refusal):
        last = earlier[-1] if earlier else None
        if isinstance(last, Refusal) and (last.reason, last.registering) == (
            newest.reason,
            newest.registering,
        ):
            newest = newest._replace(first_at=last.first_at, times=last.times + 1)
            earlier = earlier[:-1]
        earlier = tuple(_without_credential(each) for each in earlier)
    return (*earlier, newest)


def _without_credential(trouble: Trouble) -> Trouble:
    return trouble._replace(presented=None) if isinstance(trouble, Refusal) else trouble


def read_password(password: bytes | None) -> SasToken | Refused | None:
    """The token that a password is, why it is none, or None if there is no password."""
    if not password:
        return None
    try:
        return SasToken.parse(password.decode("ascii"))
    except UnicodeDecodeError:
        return Refused(Reason.TOKEN_MALFORMED, "the password is not ASCII")


def _bounded(presented: Presented) -> Presented | None:
    """What was shown, if it is of a usual size: a stranger chooses how long a user name or a chain is."""
    if len(presented.client_id) > MAX_CLAIMED_ID or len(presented.username or "") > _MAX_USERNAME:
        return None
    certificate = presented.certificate
    if certificate is not None:
        chain = (certificate.leaf, *certificate.intermediates)
        if sum(len(each.public_bytes(Encoding.DER)) for each in chain) > _MAX_CERTIFICATE_BYTES:
            return None
    return presented
