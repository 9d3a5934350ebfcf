"""Who may begin a handshake, who waits, who is turned away: by hand, and by what must hold whatever happens."""

from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.edge.storm import HandshakeQueue, Reputation, Standing, StormControl, Verdict, address_prefix
from gateway.refusals import Reason
from gateway.settings import StormSettings

HOME, OFFICE, CAFE = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def queue(**settings: Any) -> HandshakeQueue[str]:
    made = StormSettings(**settings)
    return HandshakeQueue(made, Reputation(made), now=0.0)


def knock(made: HandshakeQueue[str], item: str, address: str = HOME, now: float = 0.0) -> Verdict:
    """A connection as the poller treats it: who may enter begins."""
    verdict = made.arrive(item, address, now)
    if verdict is Verdict.ENTER:
        made.begin(address)
    return verdict


def fill(made: HandshakeQueue[str], count: int, address: str = "198.51.100.9") -> None:
    for _ in range(count):
        made.begin(address)


def let_in(made: HandshakeQueue[str]) -> list[str]:
    """One handshake ends after the other, until nobody waits; items are named after their address."""
    order = []
    while made.waiting:
        made.end("198.51.100.9")
        item = made.next()
        assert item is not None
        made.begin("198.51.100.9")
        order.append(item)
    return order


def test_while_a_handshake_is_free_everybody_enters() -> None:
    made = queue(max_handshakes=2, per_address_share=1)
    assert [knock(made, "a"), knock(made, "b"), knock(made, "c")] == [
        Verdict.ENTER, Verdict.ENTER, Verdict.WAIT,
    ]  # fmt: skip
    assert made.next() is None
    made.end(HOME)
    assert made.next() == "c"


def test_nobody_overtakes_those_who_wait() -> None:
    made = queue(max_handshakes=1, per_address_share=1)
    knock(made, "a")
    knock(made, "b")
    made.end(HOME)
    assert knock(made, "c", OFFICE) is Verdict.WAIT
    assert made.next() == "b"


def test_one_address_may_not_hold_all_handshakes_and_its_next_one_does_not_hold_up_others() -> None:
    made = queue(max_handshakes=4, per_address_share=0.5)
    assert [knock(made, "silent") for _ in range(3)] == [Verdict.ENTER, Verdict.ENTER, Verdict.WAIT]
    assert made.next() is None
    assert knock(made, "other", OFFICE) is Verdict.WAIT
    assert made.next() == "other"
    made.begin(OFFICE)
    assert made.next() is None
    made.end(HOME)
    assert made.next() == "silent"


def test_an_address_that_floods_the_room_waits_behind_itself() -> None:
    made = queue(max_handshakes=1)
    fill(made, 1)
    for number in range(100):
        knock(made, f"flood-{number}", HOME)
    knock(made, "device-1", OFFICE)
    knock(made, "device-2", CAFE)
    order = let_in(made)
    assert {"device-1", "device-2"} < set(order[:4])
    assert [item for item in order if item.startswith("flood")] == [f"flood-{n}" for n in range(100)]


def test_a_flood_leaves_a_fifth_of_the_room_to_others() -> None:
    made = queue(max_handshakes=1, max_waiting=100)
    fill(made, 1)
    verdicts = Counter(knock(made, "flood", HOME) for _ in range(1000))
    assert verdicts == {Verdict.WAIT: 80, Verdict.TURN_AWAY: 920}
    assert knock(made, "device", OFFICE) is Verdict.WAIT


def test_a_good_record_goes_before_none_and_none_before_a_bad_one_but_all_have_turns() -> None:
    settings = StormSettings(max_handshakes=1)
    reputation = Reputation(settings)
    made: HandshakeQueue[str] = HandshakeQueue(settings, reputation, now=0.0)
    reputation.proved(HOME, "t-1", "G", 0.0)
    for number in range(3):
        reputation.failed(CAFE, f"guess-{number}", 0.0)
    fill(made, 1)
    for _ in range(40):
        for address in (CAFE, OFFICE, HOME):
            knock(made, address, address)
    order = let_in(made)
    assert Counter(order[:39]) == {HOME: 24, OFFICE: 12, CAFE: 3}
    assert Counter(order) == {HOME: 40, OFFICE: 40, CAFE: 40}


def test_a_group_with_many_addresses_does_not_crowd_out_a_group_with_one() -> None:
    settings = StormSettings(max_handshakes=1)
    reputation = Reputation(settings)
    made: HandshakeQueue[str] = HandshakeQueue(settings, reputation, now=0.0)
    fill(made, 1)
    for number in range(50):
        reputation.proved(f"203.0.113.{number}", "t", "big", 0.0)
        knock(made, "big", f"203.0.113.{number}")
    reputation.proved(HOME, "t", "small", 0.0)
    for _ in range(10):
        knock(made, "small", HOME)
    assert Counter(let_in(made)[:20]) == {"big": 10, "small": 10}


def test_who_has_waited_too_long_is_turned_away_the_oldest_first() -> None:
    made = queue(max_handshakes=1, max_wait_s=2)
    fill(made, 1)
    knock(made, "a", HOME, 0.0)
    knock(made, "b", OFFICE, 0.5)
    knock(made, "c", HOME, 1.0)
    assert made.overdue(1.9) is None
    assert made.overdue(2.0) == "a"
    assert made.overdue(2.0) is None
    assert [made.overdue(5.0), made.overdue(5.0), made.overdue(5.0)] == ["b", "c", None]
    assert made.waiting == 0


def test_the_room_shrinks_to_what_can_be_let_in_within_the_longest_wait() -> None:
    made = queue(max_handshakes=1, max_waiting=1000, max_wait_s=2)
    fill(made, 1)
    now = 0.0
    verdicts: Counter[Verdict] = Counter()
    for step in range(2000):  # 100 a second are let in, 1000 a second come
        now = step / 1000
        verdicts[knock(made, "x", f"203.0.113.{step}", now)] += 1
        if step % 10 == 9:
            made.end("198.51.100.9")
            made.next()
            made.begin("198.51.100.9")
        while made.overdue(now) is not None:
            pass
    assert made.waiting <= 250
    assert verdicts[Verdict.TURN_AWAY] > 1000


def settled_limit(*, each_takes_s: float, per_s: int) -> int:
    """Where the number of handshakes settles if there are always more: each takes so long, and so many end a second."""
    made = queue(
        max_handshakes=1000, max_waiting=10_000, max_wait_s=60, per_address_share=1, target_handshake_s=1
    )
    for number in range(2000):
        knock(made, str(number), str(number))
    begun = deque((address, 0.0) for address in made._in_progress)
    for step in range(1, 400):
        now = step / 20
        for _ in range(per_s // 20):
            if begun and now - begun[0][1] >= each_takes_s:
                address, _ = begun.popleft()
                made.end(address)
                knock(made, f"{address}-{step}", f"{address}-{step}", now)
        made.overdue(now)
        while (item := made.next()) is not None:
            made.begin(item)
            begun.append((item, now))
    return made.limit


def test_on_a_busy_core_there_are_as_many_handshakes_as_end_within_the_target() -> None:
    assert 80 <= settled_limit(each_takes_s=0, per_s=100) <= 130


def test_for_peers_far_away_there_are_as_many_handshakes_as_are_allowed() -> None:
    assert settled_limit(each_takes_s=0.3, per_s=10_000) == 1000


def test_silent_peers_do_not_make_the_number_of_handshakes_shrink() -> None:
    made = queue(max_handshakes=1000, per_address_share=1)
    for number in range(300):
        knock(made, "silent", str(number))
    for step in range(100):
        made.overdue(step / 10)
        knock(made, "silent", f"again-{step}", step / 10)
    assert made.limit == 1000


def test_turning_away_has_a_budget() -> None:
    made = queue(max_handshakes=1, max_waiting=0, max_turned_away_per_s=100)
    fill(made, 1)
    spent = 0
    while not made.is_spent(0.0):
        assert knock(made, "x") is Verdict.TURN_AWAY
        spent += 1
    assert spent == 10  # a tenth of a second's
    assert not made.is_spent(0.05)


def test_a_slow_machine_turns_away_eight_for_each_handshake_and_four_hundred_a_second() -> None:
    made = queue(max_handshakes=1, max_waiting=0, max_turned_away_per_s=5000)
    fill(made, 1)
    turned_away = 0
    for step in range(1000):
        if step % 10 == 0:  # ten handshakes a second
            made.end("198.51.100.9")
            fill(made, 1)
        while not made.is_spent(step / 100):
            assert knock(made, "x") is Verdict.TURN_AWAY
            turned_away += 1
    assert turned_away == pytest.approx(500 + 10 * (8 * 10 + 400), rel=0.01)


def test_everybody_in_the_room_can_be_sent_home() -> None:
    made = queue(max_handshakes=1)
    fill(made, 1)
    for item in "abc":
        knock(made, item, item)
    assert list(made.clear()) == ["a", "b", "c"]
    assert (made.waiting, made.next()) == (0, None)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::1", "20010db800010002"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, prefix: str) -> None:
    assert address_prefix(address) == prefix


class AnyStorm(RuleBasedStateMachine):
    """Connections come, end, wait and are turned away in any order; a model counts along."""

    MAX, PER_ADDRESS, ROOM = 4, 2, 20
    ADDRESSES = st.sampled_from(["a", "b", "c", "d", "e"])

    def __init__(self) -> None:
        super().__init__()
        settings = StormSettings(
            max_handshakes=self.MAX, per_address_share=self.PER_ADDRESS / self.MAX, max_waiting=self.ROOM,
            max_records=3,
        )  # fmt: skip
        self.reputation = Reputation(settings)
        self.queue: HandshakeQueue[tuple[str, int]] = HandshakeQueue(settings, self.reputation, now=0.0)
        self.now = 0.0
        self.number = 0
        self.inside: list[str] = []
        self.waiting: list[tuple[tuple[str, int], float]] = []

    @rule(address=ADDRESSES)
    def arrive(self, address: str) -> None:
        self.number += 1
        item = (address, self.number)
        free = len(self.inside) < self.MAX and self.inside.count(address) < self.PER_ADDRESS
        match self.queue.arrive(item, address, self.now):
            case Verdict.ENTER:
                assert free
                assert not self.waiting
                self.queue.begin(address)
                self.inside.append(address)
            case Verdict.WAIT:
                self.waiting.append((item, self.now))
            case Verdict.TURN_AWAY:
                assert self.waiting

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.inside)))
        self.inside.remove(address)
        self.queue.end(address)

    @rule()
    def let_in(self) -> None:
        item = self.queue.next()
        may = [
            each for each, _ in self.waiting
            if len(self.inside) < self.MAX and self.inside.count(each[0]) < self.PER_ADDRESS
        ]  # fmt: skip
        if item is None:
            assert not may  # no place stays empty while somebody could take it
            return
        assert item in may
        assert item == next(each for each in may if each[0] == item[0])  # at one address, who came first
        self.waiting = [(each, since) for each, since in self.waiting if each != item]
        self.queue.begin(item[0])
        self.inside.append(item[0])

    @rule(seconds=st.floats(min_value=0, max_value=3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        while (item := self.queue.overdue(self.now)) is not None:
            assert item == self.waiting[0][0]
            assert self.now - self.waiting.pop(0)[1] >= 2.0
        assert all(self.now - since < 2.0 for _, since in self.waiting)

    @rule(address=ADDRESSES, good=st.booleans(), device=st.sampled_from(["x", "y", "z"]))
    def learn(self, address: str, good: bool, device: str) -> None:
        if good:
            self.reputation.proved(address, device, device, self.now)
        else:
            self.reputation.failed(address, device, self.now)

    @invariant()
    def everybody_is_somewhere_and_the_tables_are_bounded(self) -> None:
        assert self.queue.waiting == len(self.waiting) <= self.ROOM
        assert self.queue.handshakes == len(self.inside) <= self.MAX
        assert len(self.reputation) <= 3
        assert self.queue._in_progress == Counter(self.inside)
        assert set(self.queue._flows) == {item[0] for item, _ in self.waiting}
        assert len(self.queue._arrivals) <= 2 * len(self.waiting) + 64


TestAnyStorm = AnyStorm.TestCase


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 60)), min_size=1, max_size=6, unique_by=lambda f: f[0]
    )
)
def test_of_equal_addresses_none_gets_more_than_one_turn_before_each_other(
    floods: list[tuple[int, int]],
) -> None:
    made = queue(max_handshakes=1, max_waiting=10_000)
    fill(made, 1)
    for address, count in floods:
        for _ in range(count):
            assert knock(made, str(address), str(address)) is Verdict.WAIT
    left = Counter({str(address): count for address, count in floods})
    had: Counter[str] = Counter()
    for item in let_in(made):
        had[item] += 1
        left[item] -= 1
        assert all(had[item] - had[other] <= 1 for other in left if left[other])
    assert not +left


# What is remembered


def reputation(**settings: Any) -> Reputation:
    return Reputation(StormSettings(**settings))


def test_answers_to_an_identity_that_keeps_failing_at_one_address_take_longer_and_longer() -> None:
    made = reputation(refusals_before_delay=3, max_delay_s=10)
    delays = [made.failed(HOME, "t-1", 0.0) for _ in range(9)]
    assert delays == [0, 0, 0, 1, 2, 4, 8, 10, 10]


def test_whose_name_is_abused_elsewhere_has_no_record_of_it() -> None:
    made = reputation(refusals_before_delay=1)
    for _ in range(50):
        made.failed(CAFE, "t-1", 0.0)
    assert made.failed(HOME, "t-1", 0.0) == 0
    assert made.of(HOME, 0.0)[0] is not Standing.SUSPECT


def test_a_proof_clears_the_identity_s_record_at_that_address() -> None:
    made = reputation(refusals_before_delay=2)
    assert [made.failed(HOME, "t-1", 0.0) for _ in range(4)] == [0, 0, 1, 2]
    made.proved(HOME, "t-1", "G", 0.0)
    assert made.failed(HOME, "t-1", 0.0) == 0


def test_one_device_with_a_wrong_key_does_not_spoil_its_address_and_guessing_identities_does() -> None:
    made = reputation()
    made.proved(HOME, "good", "G", 0.0)
    for _ in range(100):
        made.failed(HOME, "wrong-key", 0.0)
    assert made.of(HOME, 0.0)[0] is Standing.UNKNOWN
    for number in range(2):
        made.failed(HOME, f"guess-{number}", 0.0)
    assert made.of(HOME, 0.0)[0] is Standing.SUSPECT


def test_who_guesses_many_identities_gets_each_answer_late() -> None:
    made = reputation()
    delays = [made.failed(HOME, f"guess-{number}", 0.0) for number in range(70)]
    assert delays == [0.0] * 64 + [1.0] * 6
    made.proved(HOME, "good", "G", 0.0)
    assert made.failed(HOME, "guess-x", 0.0) == 0


def test_records_are_forgotten() -> None:
    made = reputation(forget_after_s=60, refusals_before_delay=1)
    for number in range(5):
        made.failed(HOME, f"t-{number}", 0.0)
        made.failed(HOME, "t-1", 0.0)
    assert made.of(HOME, 60.0)[0] is Standing.SUSPECT
    assert made.of(HOME, 61.0)[0] is Standing.UNKNOWN
    assert made.failed(HOME, "t-1", 61.0) == 0
    made.proved(HOME, "t-1", "G", 200.0)
    assert made.of(HOME, 200.0) == (Standing.PROVEN, "G")


def test_a_name_of_any_length_takes_bounded_memory() -> None:
    made = reputation(refusals_before_delay=1)
    made.failed(HOME, "x" * 16_000, 0.0)
    assert made.failed(HOME, "x" * 15_000, 0.0) == 1
    assert max(len(device_id) for _, device_id in made._pairs) == 128


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=200))
def test_however_many_come_as_many_are_remembered_as_the_setting_says(
    visits: list[tuple[int, int, bool]],
) -> None:
    made = reputation(max_records=7)
    for address, device, good in visits:
        if good:
            made.proved(str(address), str(device), None, 0.0)
        else:
            assert 0 <= made.failed(str(address), str(device), 0.0) <= 10
    assert len(made) <= 7


# Both, as the edge knows them


def test_every_way_a_handshake_ends_frees_its_place() -> None:
    made: StormControl[str] = StormControl(StormSettings(), now=0.0)
    places = [made.began(HOME) for _ in range(4)]
    made.admitted(places[0], "t-1", "G", 0.0)
    assert made.refused(places[1], "t-2", Reason.TOKEN_EXPIRED, 0.0) == 0
    made.broke_off(places[2], 0.0, is_fault_of_peer=True)
    made.broke_off(places[3], 0.0, is_fault_of_peer=False)
    assert made.queue.handshakes == 0


def test_what_the_gateway_could_not_do_is_not_held_against_the_device() -> None:
    made: StormControl[str] = StormControl(StormSettings(refusals_before_delay=1), now=0.0)
    for reason in (
        Reason.OVERLOADED,
        Reason.STORE_UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        Reason.APPROVAL_PENDING,
    ):
        assert [made.refused(made.began(HOME), "t-1", reason, 0.0) for _ in range(5)] == [0.0] * 5
    assert len(made.reputation) == 0


def test_only_so_many_refusals_are_held_back_and_the_second_s_report_counts_them() -> None:
    made: StormControl[str] = StormControl(StormSettings(refusals_before_delay=1, max_delayed=2), now=0.0)
    delays = [made.refused(made.began(HOME), "t-1", Reason.TOKEN_EXPIRED, 0.0) for _ in range(4)]
    assert [delay > 0 for delay in delays] == [False, True, True, False]
    assert made.report() == {"delayed": 2}
    assert made.report() == {}
    made.answered_late()
    assert made.refused(made.began(HOME), "t-1", Reason.TOKEN_EXPIRED, 0.0) > 0
