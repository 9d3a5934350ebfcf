"""The last messages of each device are remembered, within bounds."""

from gateway.telemetry.last import MAX_BYTES, PER_DEVICE, LastMessages


def test_the_newest_message_comes_first_and_older_ones_make_room() -> None:
    last = LastMessages(10)
    for number in range(PER_DEVICE + 2):
        last.note("a", f"t/{number}", b"{}", now=float(number))
    assert [message.at for message in last.of("a")] == [6.0, 5.0, 4.0, 3.0, 2.0]
    assert last.of("a")[0].topic == "t/6"
    assert last.of("b") == []


def test_what_is_kept_is_what_the_sinks_got_and_no_copy() -> None:
    last, rendered = LastMessages(10), b'{"device":"a"}'
    last.note("a", "t", rendered, now=1.0)
    assert last.of("a")[0].rendered is rendered


def test_the_oldest_message_of_the_fleet_makes_room() -> None:
    last = LastMessages(3)
    for device_id in ("b", "a", "a", "c"):
        last.note(device_id, "t", b"{}", now=1.0)
    assert [len(last.of(device_id)) for device_id in "abc"] == [2, 0, 1]


def test_messages_from_before_a_time_are_left_out() -> None:
    last = LastMessages(3)
    last.note("a", "t", b"{}", now=1.0)
    assert last.of("a", since=2.0) == []


def test_with_room_for_no_message_nothing_is_kept() -> None:
    last = LastMessages(0)
    last.note("a", "t", b"{}", now=1.0)
    assert last.of("a") == []


def test_of_a_message_over_the_bound_only_its_size_is_kept() -> None:
    last = LastMessages(2)
    for size in (MAX_BYTES, MAX_BYTES + 1):
        last.note("a", "t", b"x" * size, now=1.0)
    assert [(message.size, message.rendered is None) for message in last.of("a")] == [
        (MAX_BYTES + 1, True),
        (MAX_BYTES, False),
    ]
