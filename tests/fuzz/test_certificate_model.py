"""A model of who may be in by a certificate, and the gateway held to it.

Two groups are given CAs: roots, and an intermediate of one of them. CAs are proved, renewed, removed; they take back
devices' certificates and the intermediate's. A CA is its key: it has two certificates, and what it took back is taken
back whichever of them is given, in whichever group, verified or not.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway import mqtt
from gateway.errors import ConflictError
from gateway.identity.evidence import CertificateEvidence
from tests.fuzz.machine import DEVICE_IDS, SLOTS, GatewayMachine, examples
from tests.support.wired import hub_username
from tests.unit.identity.certificates import DAY, Made, authority, make, revocation_list

ISSUED_BY = {"red": None, "green": None, "line": "red"}
"""The CAs, and who signed their certificates."""
ANY_CA = st.sampled_from(["red", "line", "red", "line", "green"])
EDITIONS = st.sampled_from([1, 2])
GROUPS = st.sampled_from(["factory", "contract"])
LEVELS = st.sampled_from([4, mqtt.MQTT_5_LEVEL])


class Certified(NamedTuple):
    """A certificate: of a CA or of a device, and which of two that it has of the same issuer."""

    name: str
    issuer: str
    edition: int


ANY_LEAF = st.builds(Certified, st.sampled_from(DEVICE_IDS), ANY_CA, EDITIONS)
LEAVES = [
    Certified(name, issuer, edition) for name in DEVICE_IDS for issuer in ISSUED_BY for edition in (1, 2)
]
LINE_S = [Certified("line", "red", edition) for edition in (1, 2)]


def chain_of(which: Certified) -> tuple[Certified, ...]:
    """What a device sends: the same each time, since one whose chain is known needs to send none."""
    return (which, LINE_S[which.edition - 1]) if which.issuer == "line" else (which,)


class Proof(NamedTuple):
    """What a session came in by: all the certificates up to a group's CA, and the slot of that CA."""

    chain: tuple[Certified, ...]
    place: tuple[str, str]


@cache
def ca(name: str, edition: int) -> Made:
    """Of one key in both editions."""
    issuer = ISSUED_BY[name]
    return authority(
        name,
        ca(issuer, 1) if issuer is not None else None,
        start=time.time() - DAY,
        end=time.time() + 10 * DAY,
        key=None if edition == 1 else ca(name, 1).key,
    )


@cache
def leaf(which: Certified) -> Made:
    return make(which.name, ca(which.issuer, 1), start=time.time() - DAY, end=time.time() + DAY)


def pem(made: Made) -> str:
    return made.certificate.public_bytes(Encoding.PEM).decode()


def serial(which: Certified) -> int:
    made = ca(which.name, which.edition) if which.name in ISSUED_BY else leaf(which)
    return made.certificate.serial_number


@dataclass
class Signing:
    """A CA in a slot of a group. `revoked` is None if it has given no list."""

    ca: str
    edition: int
    verified: bool
    revoked: frozenset[Certified] | None = None


class CertificateMachine(GatewayMachine):
    """Two X.509 groups. Approval, blocked devices, disabled groups and a store that fails are the other model's."""

    groups = ("factory", "contract")
    approving = frozenset(groups)
    operator_acts_on_a_device = operator_switches_a_group = store_goes = None

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[tuple[str, str], Signing] = {}

    def make_groups(self) -> None:
        for name in self.groups:
            self.call("group.create", name=name, attestation="x509", auto_approve=name in self.approving)
        self.operator_gives_a_ca("factory", "primary", "red", 1, verified=True)
        self.operator_gives_a_ca("contract", "secondary", "line", 1, verified=False)

    # What is expected

    def _is_revoked(self, which: Certified) -> bool:
        return any(which in signing.revoked for signing in self.slots.values() if signing.revoked)

    def _is_taken_back(self, signing: Signing) -> bool:
        """Whether the issuer of the CA's certificate in that slot has taken it back."""
        above = ISSUED_BY[signing.ca]
        return above is not None and self._is_revoked(Certified(signing.ca, above, signing.edition))

    def _vouches(self, place: tuple[str, str], issuer: str) -> bool:
        signing = self.slots.get(place)
        return (
            signing is not None
            and signing.ca == issuer
            and signing.verified
            and not self._is_taken_back(signing)
        )

    def _vouching(self, issuer: str) -> tuple[str, str] | None:
        """Where the CA is that lets in what it signed; the primary first."""
        return next((place for place in sorted(self.slots) if self._vouches(place, issuer)), None)

    def _proof(self, chain: tuple[Certified, ...]) -> Proof | None:
        """How far up the chain the first CA is that vouches, if nothing up to there was taken back."""
        for length, link in enumerate(chain, 1):
            if self._is_revoked(link):
                return None
            place = self._vouching(link.issuer)
            if place is not None:
                return Proof(chain[:length], place)
        return None

    def _is_good(self, proof: Proof) -> bool:
        return self._vouches(proof.place, proof.chain[-1].issuer) and not any(
            self._is_revoked(link) for link in proof.chain
        )

    # Devices

    @rule(leaves=st.lists(ANY_LEAF, min_size=1, max_size=3, unique_by=lambda leaf: leaf.name), level=LEVELS)
    def devices_connect(self, leaves: list[Certified], level: int) -> None:
        for which in leaves:
            self._connect(which, level)

    @precondition(lambda self: self._turned_away())
    @rule(data=st.data(), level=LEVELS)
    def somebody_comes_with_what_was_taken_back(self, data: st.DataObject, level: int) -> None:
        self._connect(data.draw(st.sampled_from(self._turned_away())), level)

    def _turned_away(self) -> list[Certified]:
        return [which for which in LEAVES if any(self._is_revoked(link) for link in chain_of(which))]

    def _connect(self, which: Certified, level: int) -> None:
        chain = chain_of(which)
        intermediates = tuple(ca(link.name, link.edition).certificate for link in chain[1:])
        proof = self._proof(chain)
        group, slot = proof.place if proof is not None else ("factory", "primary")
        username = hub_username(which.name)
        self.connect(
            self.new(group=group, slot=slot, level=level, proof=proof),
            mqtt.Connect(which.name, username=username, keep_alive=0, protocol_level=level),
            CertificateEvidence(leaf=leaf(which).certificate, intermediates=intermediates),
        )

    # The operator

    @rule(group=GROUPS, slot=SLOTS, issuer=ANY_CA, edition=EDITIONS, verified=st.booleans())
    def operator_gives_a_ca(
        self, group: str, slot: str, issuer: str, edition: int, *, verified: bool
    ) -> None:
        elsewhere = any(signing.ca == issuer and place[0] != group for place, signing in self.slots.items())
        try:
            self.call(
                "group.set_ca", name=group, slot=slot, certificate=pem(ca(issuer, edition)), verified=verified
            )
        except ConflictError:
            assert elsewhere
            return
        assert not elsewhere
        before = self.slots.get((group, slot))
        if before is not None and (before.ca, before.edition) == (issuer, edition):
            before.verified |= verified  # what was proved stays proved
            return
        # A CA that renews its certificate keeps its list.
        revoked = before.revoked if before is not None and before.ca == issuer else None
        self.slots[group, slot] = Signing(issuer, edition, verified, revoked)
        self._expect_slot_closed(group, slot)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def operator_removes_a_ca(self, data: st.DataObject) -> None:
        group, slot = data.draw(st.sampled_from(sorted(self.slots)))
        self.call("group.remove_ca", name=group, slot=slot)
        del self.slots[group, slot]
        self._expect_slot_closed(group, slot)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def operator_renews_a_ca(self, data: st.DataObject) -> None:
        """The other certificate of the same key, in the same slot."""
        group, slot = data.draw(st.sampled_from(sorted(self.slots)))
        before = self.slots[group, slot]
        self.operator_gives_a_ca(group, slot, before.ca, 3 - before.edition, verified=True)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), in_use=st.booleans())
    def operator_gives_a_revocation_list(self, data: st.DataObject, in_use: bool) -> None:
        group, slot = data.draw(st.sampled_from(sorted(self.slots)))
        signing = self.slots[group, slot]
        shown = {link for live in self.live.values() for link in live.proof.chain}
        of_it = [
            each for each in (sorted(shown) if in_use else [*LEAVES, *LINE_S]) if each.issuer == signing.ca
        ]
        some = st.sets(st.sampled_from(of_it), min_size=1, max_size=3) if of_it else st.just(set())
        revoked = frozenset(data.draw(some))
        given = revocation_list(ca(signing.ca, signing.edition), *map(serial, revoked), at=int(self.now))
        self.call("group.set_crl", name=group, slot=slot, crl=given.public_bytes(Encoding.PEM).decode())
        signing.revoked = revoked
        self.expect_closed(name for name, live in self.live.items() if not self._is_good(live.proof))

    @precondition(lambda self: self._with_list())
    @rule(data=st.data())
    def operator_removes_a_revocation_list(self, data: st.DataObject) -> None:
        group, slot = data.draw(st.sampled_from(self._with_list()))
        self.call("group.remove_crl", name=group, slot=slot)
        self.slots[group, slot].revoked = None

    def _with_list(self) -> list[tuple[str, str]]:
        return sorted(place for place, signing in self.slots.items() if signing.revoked is not None)

    def _expect_slot_closed(self, group: str, slot: str) -> None:
        self.expect_closed(
            name for name, live in self.live.items() if (live.group, live.slot) == (group, slot)
        )

    # What has to hold

    @invariant()
    def nobody_is_connected_by_what_was_taken_away(self) -> None:
        assert all(self._is_good(live.proof) for live in self.live.values())


TestCertificates = CertificateMachine.TestCase
TestCertificates.settings = examples()
