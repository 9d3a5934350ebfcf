"""Groups and individual enrollments as values."""

import pytest

from gateway.enrollment.models import (
    EnrollmentGroup,
    IndividualEnrollment,
    SymmetricKeys,
    ThumbprintPair,
    is_group_id,
)
from gateway.secrets import SymmetricKey

PRIMARY = SymmetricKey(b"very secret primary key 0123456789")
SECONDARY = SymmetricKey(b"very secret secondary key 0123456789")
KEYS = SymmetricKeys(primary=PRIMARY, secondary=SECONDARY)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("SAS-IoT-Devices", True),
        ("7", True),
        ("g" * 255, True),
        ("g" * 256, False),
        ("", False),
        ("two words", False),
        ("a/b", False),
        ("a_b", False),
        ("Anlage-Süd", False),
        ("g\n", False),
    ],
)
def test_a_group_is_named_by_letters_digits_and_hyphens(text: str, valid: bool) -> None:
    assert is_group_id(text) is valid


def test_no_key_shows_when_an_enrollment_is_printed() -> None:
    printed = f"{EnrollmentGroup.new('g', KEYS, now=1)!r} {IndividualEnrollment.new('d', KEYS, now=1)}"
    for key in (PRIMARY, SECONDARY):
        assert key.base64 not in printed
        assert repr(key.raw) not in printed
    assert "secret" not in printed


def test_a_new_enrollment_is_enabled() -> None:
    assert EnrollmentGroup.new("g", KEYS, now=1).enabled
    assert IndividualEnrollment.new("d", ThumbprintPair(primary="AB" * 32), now=1).enabled


def test_a_changed_enrollment_has_a_new_etag_and_keeps_when_it_was_made() -> None:
    group = EnrollmentGroup.new("g", KEYS, auto_approve=False, now=1)
    disabled = group.replace(now=2, enabled=False)
    assert (disabled.enabled, disabled.auto_approve, disabled.attestation) == (False, False, KEYS)
    assert (disabled.created_at, disabled.updated_at) == (1, 2)
    enrollment = IndividualEnrollment.new("d", KEYS, now=1)
    changed = enrollment.replace(now=3, enabled=False)
    assert (changed.enabled, changed.created_at, changed.updated_at) == (False, 1, 3)
    assert len({group.etag, disabled.etag, enrollment.etag, changed.etag}) == 4
