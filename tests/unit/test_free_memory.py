"""When memory is given back: after a storm, once, and not because of a few devices."""

from gateway.free_memory import FreeMemory, find_malloc_trim


def test_memory_is_given_back_once_when_half_of_many_connections_have_gone() -> None:
    trims: list[int] = []
    memory = FreeMemory(lambda: trims.append(1))
    seen = [memory.look(count) for count in (0, 3000, 20_000, 11_000, 10_000, 9_000, 6_000, 5_000, 5_000)]
    assert seen == [False, False, False, False, True, False, False, True, False]
    assert len(trims) == 2


def test_a_few_devices_come_and_go_without_it() -> None:
    memory = FreeMemory(lambda: None)
    assert not any(memory.look(count) for count in (999, 0, 999, 0))


def test_where_the_c_library_has_none_nothing_is_done() -> None:
    assert not any(FreeMemory(None).look(count) for count in (5000, 0))


def test_the_c_library_s_own_can_be_called() -> None:
    trim = find_malloc_trim()
    if trim is not None:
        assert trim() in {0, 1}
