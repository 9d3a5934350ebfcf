"""What is remembered of leaves that were verified."""

import pytest

from gateway.identity.evidence import CertificateEvidence
from gateway.identity.x509 import LeafCache, VerifiedChain
from tests.unit.identity.certificates import NOW, make

CHAIN = VerifiedChain(
    anchor_id="X509-IoT-Devices/primary", depth=1, valid_from=NOW - 60, valid_until=NOW + 60, issued=()
)


@pytest.fixture(scope="module")
def leaves() -> list[CertificateEvidence]:
    return [CertificateEvidence(leaf=make(f"mill-{n}").certificate) for n in range(3)]


def test_verified_leaf_is_known_when_it_comes_again(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    assert cache.get(leaves[0], "mill-0", now=NOW) is None
    cache.put(leaves[0], "mill-0", CHAIN)
    again = CertificateEvidence(leaf=leaves[0].leaf)
    assert cache.get(again, "mill-0", now=NOW) is CHAIN


def test_leaf_is_known_for_the_name_it_was_checked_against_only(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    cache.put(leaves[0], "mill-0", CHAIN)
    assert cache.get(leaves[0], "mill-1", now=NOW) is None
    assert cache.get(leaves[1], "mill-0", now=NOW) is None


def test_leaf_is_forgotten_when_its_chain_expires(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    cache.put(leaves[0], "mill-0", CHAIN)
    assert cache.get(leaves[0], "mill-0", now=NOW + 60) is CHAIN
    assert cache.get(leaves[0], "mill-0", now=NOW + 60.5) is None
    assert len(cache) == 0


def test_leaf_is_not_good_before_its_chain_is_though_it_was_seen_later(
    leaves: list[CertificateEvidence],
) -> None:
    """A clock that went ahead is set back."""
    cache = LeafCache(2)
    cache.put(leaves[0], "mill-0", CHAIN)
    assert cache.get(leaves[0], "mill-0", now=NOW - 60) is CHAIN
    assert cache.get(leaves[0], "mill-0", now=NOW - 60.5) is None


def test_full_cache_drops_the_leaf_not_seen_for_longest(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    cache.put(leaves[0], "mill-0", CHAIN)
    cache.put(leaves[1], "mill-1", CHAIN)
    cache.get(leaves[0], "mill-0", now=NOW)
    cache.put(leaves[2], "mill-2", CHAIN)
    known = [cache.get(leaf, f"mill-{n}", now=NOW) is not None for n, leaf in enumerate(leaves)]
    assert known == [True, False, True]


def test_leaf_put_twice_takes_one_place(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    for _ in range(3):
        cache.put(leaves[0], "mill-0", CHAIN)
    assert len(cache) == 1


def test_cache_without_room_remembers_nothing(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(0)
    cache.put(leaves[0], "mill-0", CHAIN)
    assert cache.get(leaves[0], "mill-0", now=NOW) is None


def test_everything_is_forgotten_when_the_groups_change(leaves: list[CertificateEvidence]) -> None:
    cache = LeafCache(2)
    cache.put(leaves[0], "mill-0", CHAIN)
    cache.forget_all()
    assert cache.get(leaves[0], "mill-0", now=NOW) is None
