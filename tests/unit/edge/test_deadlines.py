from structlog.testing import capture_logs

from gateway.edge.deadlines import Deadlines


class Item:
    def __init__(self, again: float | None = None) -> None:
        self.bucket = 0
        self.again = again
        self.reached: list[float] = []

    def deadline_reached(self, now: float) -> float | None:
        self.reached.append(now)
        return self.again


def test_a_deadline_is_never_early_and_at_most_a_second_late() -> None:
    deadlines, item = Deadlines(now=100.0), Item()
    deadlines.watch(item, 110.3)
    deadlines.tick(110.9)
    assert item.reached == []
    deadlines.tick(111.0)
    assert item.reached == [111.0]
    assert len(deadlines) == 0


def test_who_asks_for_another_look_gets_it() -> None:
    deadlines, item = Deadlines(now=0.0), Item(again=20.0)
    deadlines.watch(item, 5.0)
    deadlines.tick(10.0)
    item.again = None
    deadlines.tick(30.0)
    assert item.reached == [10.0, 30.0]


def test_a_closed_connection_is_forgotten_at_once() -> None:
    deadlines, item = Deadlines(now=0.0), Item()
    deadlines.watch(item, 5.0)
    deadlines.forget(item)
    assert len(deadlines) == 0
    deadlines.tick(10.0)
    assert item.reached == []


def test_a_new_deadline_replaces_the_old_one() -> None:
    deadlines, item = Deadlines(now=0.0), Item()
    deadlines.watch(item, 5.0)
    deadlines.watch(item, 50.0)
    deadlines.tick(10.0)
    assert item.reached == []
    assert len(deadlines) == 1


def test_a_deadline_in_the_past_is_due_at_the_next_tick() -> None:
    deadlines, item = Deadlines(now=100.0), Item()
    deadlines.watch(item, 3.0)
    deadlines.tick(101.0)
    assert item.reached == [101.0]


def test_one_item_may_end_another_during_the_tick() -> None:
    deadlines = Deadlines(now=0.0)
    second = Item()

    class Ender(Item):
        def deadline_reached(self, now: float) -> float | None:
            deadlines.forget(second)
            return None

    deadlines.watch(Ender(), 5.0)
    deadlines.watch(second, 7.0)
    deadlines.tick(10.0)
    assert second.reached == []


def test_who_is_given_more_time_during_the_tick_in_which_it_was_due_gets_it() -> None:
    deadlines = Deadlines(now=0.0)
    items: list[Item] = []

    class Helper(Item):
        """Whichever of the two comes first gives the other one more time."""

        def deadline_reached(self, now: float) -> float | None:
            other = items[self is items[0]]
            deadlines.watch(other, 50.0)
            return super().deadline_reached(now)

    items += [Helper(), Helper()]
    for item in items:
        deadlines.watch(item, 5.0)
    deadlines.tick(10.0)
    assert sorted(item.reached for item in items) == [[], [10.0]]
    assert len(deadlines) == 1


def test_a_fault_in_one_look_is_logged_and_all_others_are_looked_at() -> None:
    class Broken(Item):
        def deadline_reached(self, now: float) -> float | None:
            raise KeyError("oops")

    deadlines, sound = Deadlines(now=0.0), [Item() for _ in range(5)]
    for item in (*sound[:2], Broken(), *sound[2:]):
        deadlines.watch(item, 5.0)
    later = Item()
    deadlines.watch(later, 7.0)
    with capture_logs() as lines:
        deadlines.tick(10.0)
    assert [item.reached for item in (*sound, later)] == [[10.0]] * 6
    assert lines == [{"event": "deadline.failed", "log_level": "error", "error": "KeyError('oops')"}]
