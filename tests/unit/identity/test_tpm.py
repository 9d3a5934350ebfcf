"""TPM attestation: what a storage key may look like, what is wrapped for a TPM, and a real one that unwraps it."""

import base64
import hashlib
import hmac
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.identity import tpm
from gateway.identity.tpm import StorageKey, TpmChallenges, TpmError, make_activation_blob
from gateway.secrets import SymmetricKey
from tests.support.software_tpm import SoftwareTpm, TpmCommandError, requires_swtpm
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY, REGISTRATION_ID, STORAGE_ROOT_KEY

RESOURCE = "0ne00ABCDEF/registrations/mill-1"


def changed(public: bytes, at: int, new: bytes) -> bytes:
    return public[:at] + new + public[at + len(new) :]


# Storage keys


@pytest.mark.parametrize(
    ("public", "name"),
    [
        (ENDORSEMENT_KEY, hashlib.sha256(ENDORSEMENT_KEY[2:]).hexdigest()),
        (STORAGE_ROOT_KEY, hashlib.sha256(STORAGE_ROOT_KEY[2:]).hexdigest()),
    ],
)
def test_a_tpms_storage_keys_are_read(public: bytes, name: str) -> None:
    key = StorageKey.parse(public)
    assert key.name.hex() == "000b" + name
    assert StorageKey.from_base64(key.base64) == key
    assert key.modulus == int.from_bytes(public[-256:], "big")


def test_the_default_registration_id_is_the_one_that_sdks_make() -> None:
    assert StorageKey.parse(ENDORSEMENT_KEY).registration_id == REGISTRATION_ID


@pytest.mark.parametrize(
    ("public", "complaint"),
    [
        (b"", "cut short"),
        (ENDORSEMENT_KEY[:-1], "the public area is cut short"),
        (ENDORSEMENT_KEY + b"\0", "more bytes follow"),
        (changed(ENDORSEMENT_KEY, 0, b"\x01\x39")[:-1], "the modulus is cut short"),
        (bytes(2000), "longer than 1024 bytes"),
        (changed(ENDORSEMENT_KEY, 2, b"\x00\x23"), "not an RSA key"),
        (changed(ENDORSEMENT_KEY, 4, b"\x00\x0c"), "name algorithm is not SHA-256"),
        # A key that can leave its TPM, and one that signs: whatever is wrapped for it might be read.
        (changed(STORAGE_ROOT_KEY, 6, bytes.fromhex("00030470")), "never leaves it"),
        (changed(STORAGE_ROOT_KEY, 6, bytes.fromhex("00020472")), "never leaves it"),
        (changed(STORAGE_ROOT_KEY, 6, bytes.fromhex("00070472")), "never leaves it"),
        (changed(STORAGE_ROOT_KEY, 12, b"\x00\x10"), "AES"),
        (changed(STORAGE_ROOT_KEY, 14, b"\x01\x00"), "AES-128"),
        (changed(STORAGE_ROOT_KEY, 16, b"\x00\x44"), "CFB"),
        (changed(STORAGE_ROOT_KEY, 18, b"\x00\x14"), "no scheme"),
        (changed(STORAGE_ROOT_KEY, 20, b"\x04\x00"), "2048 bits"),
        (changed(STORAGE_ROOT_KEY, 22, b"\x00\x00\x00\x03"), "exponent 65537"),
        (changed(STORAGE_ROOT_KEY, 28, b"\x00"), "RSA-2048 public key"),
        (changed(STORAGE_ROOT_KEY, 283, b"\x00"), "RSA-2048 public key"),
    ],
)
def test_what_is_no_storage_key_is_told_why(public: bytes, complaint: str) -> None:
    with pytest.raises(TpmError, match=complaint):
        StorageKey.parse(public)


@pytest.mark.parametrize("text", ["", "%%", "AAAA\n", base64.b64encode(ENDORSEMENT_KEY).decode() + "="])
def test_what_is_no_base64_is_told_so(text: str) -> None:
    with pytest.raises(TpmError):
        StorageKey.from_base64(text)


@given(st.binary(max_size=400))
@example(b"\xff\xff")
def test_no_bytes_break_the_parser(public: bytes) -> None:
    with pytest.raises(TpmError):
        StorageKey.parse(public)


@given(st.sampled_from([ENDORSEMENT_KEY, STORAGE_ROOT_KEY]), st.data())
def test_no_damage_to_a_key_breaks_the_parser_or_the_wrapping(public: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(public) - 1))
    damaged = changed(public, at, data.draw(st.binary(min_size=1, max_size=4)))
    try:
        key = StorageKey.parse(damaged)
    except TpmError:
        return
    assert key.encrypt_seed(bytes(32), b"IDENTITY")


# Wrapping


def test_the_key_may_be_duplicated_by_its_policy_only() -> None:
    """The digest of TPM2_PolicyCommandCode(TPM_CC_Duplicate), as in the TSS's own examples."""
    expected = "bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a2"
    assert tpm._POLICY_DUPLICATE.hex() == expected


def test_a_blob_has_six_parts_and_shows_neither_the_key_nor_the_resource() -> None:
    key = SymmetricKey(bytes(range(32)))
    blob = make_activation_blob(
        key, endorsement=StorageKey.parse(ENDORSEMENT_KEY), storage_root=StorageKey.parse(STORAGE_ROOT_KEY),
        resource=RESOURCE,
    )  # fmt: skip
    sizes, rest = [], blob
    while rest:
        sizes.append(int.from_bytes(rest[:2], "big"))
        rest = rest[2 + sizes[-1] :]
    assert sizes == [34 + 18, 256, 34 + 34 + 2 + 2 + 2 + 34 + 34, 256, 80, len(RESOURCE)]
    assert key.raw not in blob
    assert RESOURCE.encode() not in blob


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    with SoftwareTpm(tmp_path_factory.mktemp("tpm") / "device") as made:
        yield made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    with SoftwareTpm(tmp_path_factory.mktemp("tpm") / "stranger") as made:
        yield made


def blob_for(endorsement: bytes, storage_root: bytes, key: SymmetricKey) -> bytes:
    return make_activation_blob(
        key, endorsement=StorageKey.parse(endorsement), storage_root=StorageKey.parse(storage_root), resource=RESOURCE
    )  # fmt: skip


@requires_swtpm
@pytest.mark.parametrize("length", [16, 32, 64])
def test_a_real_tpm_unwraps_a_key_and_signs_with_it(device: SoftwareTpm, length: int) -> None:
    key = SymmetricKey(bytes(range(length)))
    device.activate(blob_for(device.endorsement_key, device.storage_root_key, key))
    assert device.hmac(b"what a token signs") == hmac.digest(key.raw, b"what a token signs", "sha256")


@requires_swtpm
def test_another_tpm_can_not_unwrap_it(device: SoftwareTpm, stranger: SoftwareTpm) -> None:
    key = SymmetricKey(bytes(32))
    for endorsement, storage_root in (
        (device.endorsement_key, device.storage_root_key),
        (device.endorsement_key, stranger.storage_root_key),
        (stranger.endorsement_key, device.storage_root_key),
    ):
        with pytest.raises(TpmCommandError):
            stranger.activate(blob_for(endorsement, storage_root, key))


@requires_swtpm
def test_a_blob_that_was_tampered_with_is_refused_by_the_tpm(device: SoftwareTpm) -> None:
    blob = blob_for(device.endorsement_key, device.storage_root_key, SymmetricKey(bytes(32)))
    for at in (10, 100, 340, 500, 760):  # each part but the last, which no device looks at
        with pytest.raises(TpmCommandError):
            device.activate(changed(blob, at, bytes([blob[at] ^ 1])))


# Challenges


EK = StorageKey.parse(ENDORSEMENT_KEY)
SRK = StorageKey.parse(STORAGE_ROOT_KEY)


def test_a_challenge_is_good_for_one_to_two_periods() -> None:
    challenges = TpmChallenges(b"s" * 32, period_s=300)
    key = challenges.current("mill-1", EK, now=599)
    assert key in challenges.accepted("mill-1", EK, now=599)
    assert key in challenges.accepted("mill-1", EK, now=899)
    assert key not in challenges.accepted("mill-1", EK, now=900)


def test_a_challenge_is_for_one_device_one_tpm_and_one_run_of_the_gateway() -> None:
    challenges = TpmChallenges(b"s" * 32, period_s=300)
    key = challenges.current("mill-1", EK, now=0)
    assert key == challenges.current("mill-1", EK, now=1)
    assert key not in challenges.accepted("mill-2", EK, now=0)
    assert key not in challenges.accepted("mill-1", SRK, now=0)
    assert key not in TpmChallenges(b"t" * 32, period_s=300).accepted("mill-1", EK, now=0)
