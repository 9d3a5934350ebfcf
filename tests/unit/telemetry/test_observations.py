"""What Unassociated devices send is remembered, within bounds."""

from gateway.telemetry import observations as module
from gateway.telemetry.observations import Observations


def test_messages_are_remembered_by_device_and_component() -> None:
    observations = Observations(10)
    observations.note("a", None, {"t": 1}, now=1.0)
    observations.note("a", "left", {"u": 2}, now=2.0)
    observations.note("a", None, [1], now=3.0)
    observed = observations.of("a")
    assert observed is not None
    assert (observed.messages, observed.others, observed.first_at, observed.last_at) == (3, 1, 1.0, 3.0)
    assert {name: set(shape.fields) for name, shape in observed.by_component.items()} == {
        None: {"t"},
        "left": {"u"},
    }
    assert observations.of("b") is None


def test_the_device_that_was_quiet_for_longest_makes_room() -> None:
    observations = Observations(2)
    for device_id in ("a", "b", "a", "c"):
        observations.note(device_id, None, {}, now=1.0)
    assert [observations.of(device_id) is not None for device_id in "abc"] == [True, False, True]
    nobody = Observations(0)
    nobody.note("a", None, {}, now=1.0)
    assert nobody.of("a") is None


def test_one_device_has_only_so_many_fields_and_components() -> None:
    observations = Observations(1)
    for number in range(150):
        observations.note("a", f"c{number}", {f"f{n}": 1 for n in range(100)}, now=1.0)
    observed = observations.of("a")
    assert observed is not None
    assert len(observed.by_component) == module.MAX_COMPONENTS
    assert sum(len(shape.fields) for shape in observed.by_component.values()) == module.MAX_FIELDS


def test_a_device_that_sends_a_lot_is_looked_at_now_and_then() -> None:
    observations = Observations(1)
    for number in range(module.LOOKED_AT_FIRST):
        observations.note("a", None, {"early": number}, now=1.0)
    for number in range(module.ONE_IN):
        observations.note("a", None, {f"late{number}": 1}, now=2.0)
    observed = observations.of("a")
    assert observed is not None
    assert observed.messages == module.LOOKED_AT_FIRST + module.ONE_IN
    assert len(observed.by_component[None].fields) == 2
