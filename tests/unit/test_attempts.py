"""The memory of attempts: what it keeps, and that nobody can fill it."""

from gateway.attempts import Attempts, Ended, Presented, Refusal, read_password
from gateway.enrollment.decide import Verified
from gateway.identity import sas
from gateway.identity.evidence import CertificateEvidence
from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey
from gateway.session import CloseReason, Dialect
from tests.unit.identity.certificates import make

VERIFIED = Verified("symmetricKey", "G", sas.KeySlot.PRIMARY, True, None)
EXPIRED = Refused(Reason.TOKEN_EXPIRED, "expired 5 s ago")
BLOCKED = Refused(Reason.DEVICE_BLOCKED)


def memory(*, max_devices: int = 20, max_per_device: int = 3, max_accepted: int = 5) -> Attempts:
    return Attempts(max_devices=max_devices, max_per_device=max_per_device, max_accepted=max_accepted)


def shown(username: str | None = "u", certificate: CertificateEvidence | None = None) -> Presented:
    return Presented("mill-1", username, None, certificate)


def refuse(
    attempts: Attempts,
    device_id: str = "mill-1",
    refused: Refused = EXPIRED,
    *,
    at: float = 1.0,
    known: bool = True,
    presented: Presented | None = None,
) -> None:
    attempts.refused(
        device_id, refused, known=known, at=at, peer="192.0.2.1:5", tls="TLSv1.3", presented=presented
    )


def accept(attempts: Attempts, device_id: str = "mill-1", *, at: float = 1.0) -> None:
    attempts.accepted((device_id, at, "192.0.2.1:5", None, Dialect.HUB, VERIFIED))


def test_the_newest_attempt_comes_first_whatever_came_of_it() -> None:
    attempts = memory()
    refuse(attempts, at=1)
    accept(attempts, at=2)
    attempts.ended("mill-1", CloseReason.TOPIC_UNKNOWN, "a/b", at=3, peer="192.0.2.1:5")
    accept(attempts, "mill-2", at=4)
    assert [type(each).__name__ for each in attempts.of("mill-1")] == ["Ended", "Accepted", "Refusal"]
    assert attempts.of("mill-3") == []


def test_the_same_refusal_again_and_again_is_one_that_is_counted() -> None:
    attempts = memory()
    for at in (1, 2, 3):
        refuse(attempts, at=at)
    refuse(attempts, refused=BLOCKED, at=4)
    blocked, expired = attempts.of("mill-1")
    assert isinstance(expired, Refusal)
    assert (expired.first_at, expired.at, expired.times) == (1, 3, 3)
    assert isinstance(blocked, Refusal)
    assert blocked.times == 1


def test_only_the_newest_refusal_keeps_what_was_shown() -> None:
    attempts = memory()
    refuse(attempts, presented=shown(), at=1)
    attempts.ended("mill-1", CloseReason.FAULT, "", at=2, peer="p")
    refuse(attempts, refused=BLOCKED, presented=shown(), at=3)
    kept = [each.presented for each in attempts.of("mill-1") if isinstance(each, Refusal)]
    assert kept == [shown(), None]


def test_each_device_and_all_together_are_bounded() -> None:
    attempts = memory()
    for number in range(100):
        refused = EXPIRED if number % 2 else BLOCKED
        refuse(attempts, refused=refused, at=number)
        refuse(attempts, f"mill-{number}")
        accept(attempts, at=number)
    assert len(attempts.of("mill-1")) == 3 + 3
    assert len(list(attempts.troubled())) == 20


def test_a_stranger_with_many_names_pushes_out_strangers_only() -> None:
    attempts = memory()
    refuse(attempts, at=1)
    for number in range(100):
        refuse(attempts, f"guess-{number}", known=False)
    assert attempts.of("mill-1")
    assert [each for each in attempts.troubled() if each.startswith("guess-")] == ["guess-99", "guess-98"]


def test_what_a_stranger_sends_is_cut_to_size() -> None:
    attempts = memory()
    long = "x" * 5000
    refuse(attempts, long, Refused(Reason.TOKEN_RESOURCE_MISMATCH, long), presented=shown(long))
    (kept,) = attempts.of("x" * 128)
    assert isinstance(kept, Refusal)
    assert len(kept.detail) == 256
    assert kept.presented is None


def test_a_chain_of_unusual_size_is_not_kept() -> None:
    attempts, leaf = memory(), make("mill-1").certificate
    refuse(attempts, presented=shown(certificate=CertificateEvidence(leaf=leaf, intermediates=(leaf,) * 3)))
    refuse(
        attempts,
        "mill-2",
        presented=shown(certificate=CertificateEvidence(leaf=leaf, intermediates=(leaf,) * 90)),
    )
    kept, dropped = attempts.of("mill-1")[0], attempts.of("mill-2")[0]
    assert isinstance(kept, Refusal)
    assert isinstance(dropped, Refusal)
    assert kept.presented is not None
    assert dropped.presented is None


def test_nothing_that_is_kept_prints_a_signature() -> None:
    text = sas.sign("localhost%2Fdevices%2Fmill-1", SymmetricKey.generate(), 2_000_000_000)
    signature = text.partition("sig=")[2].partition("&")[0]
    attempts = memory()
    refuse(attempts, presented=Presented("mill-1", "u", read_password(text.encode()), None))
    token = read_password(text.encode())
    assert isinstance(token, sas.SasToken)
    for printed in (repr(attempts.of("mill-1")), str(token)):
        assert signature not in printed
        assert token.signature.hex() not in printed
        assert repr(token.signature) not in printed


def test_a_password_that_is_no_token_is_remembered_as_such() -> None:
    assert read_password(None) is None
    assert read_password(b"") is None
    for password in (b"hunter2", b"\xff"):
        refused = read_password(password)
        assert isinstance(refused, Refused)
        assert "hunter2" not in refused.detail


def test_a_session_that_the_gateway_ended_is_remembered_with_its_reason() -> None:
    attempts = memory()
    attempts.ended("mill-1", CloseReason.KEEP_ALIVE_EXPIRED, "", at=1, peer="p")
    assert attempts.of("mill-1") == [Ended(1, "p", CloseReason.KEEP_ALIVE_EXPIRED, "")]
