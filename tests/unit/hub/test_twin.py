"""What a device may report, and what becomes of it."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.twin import check_patch, merge

names = st.text("abc", min_size=1, max_size=2)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(names, values, max_size=4)

# RFC 7396, appendix A: the cases whose original and patch are objects.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("state", "patch", "merged"), RFC_7396)
def test_a_patch_is_merged_as_rfc_7396_shows(
    state: dict[str, Any], patch: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert merge(state, patch) == merged


@given(objects, objects)
def test_merging_leaves_the_state_and_the_patch_as_they_were(
    state: dict[str, Any], patch: dict[str, Any]
) -> None:
    before = copy.deepcopy((state, patch))
    merge(state, patch)
    assert (state, patch) == before


@given(objects, objects)
def test_a_patch_that_comes_twice_changes_nothing_the_second_time(
    state: dict[str, Any], patch: dict[str, Any]
) -> None:
    once = merge(state, patch)
    assert merge(once, patch) == once


@given(objects, objects)
def test_what_a_patch_does_not_name_stays(state: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = merge(state, patch)
    for name in state.keys() - patch.keys():
        assert merged[name] == state[name]
    for name, value in patch.items():
        assert (name in merged) == (value is not None)


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"temperature": 21.5, "on": True, "unit": "°C", "gone": None, "list": [1, {"a": []}]},
        {"thermostat1": {"__t": "c", "target": {"value": 20, "ac": 200, "av": 3, "ad": "done"}}},
        {"größe": 1, "a-b_c": 2, "a\u00a0b": 3},
        {"n" * 1024: "v" * 4096},
        {"é" * 512: "é" * 2048},
        {"least": -(2**52), "most": 2**52 - 1, "fraction": 1e300},
    ],
)
def test_properties_within_iot_hub_s_limits_are_accepted(patch: dict[str, Any]) -> None:
    assert check_patch(patch, max_depth=10) is None


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ({"": 1}, "name"),
        ({"a.b": 1}, "'a.b'"),
        ({"$version": 7}, "'$version'"),
        ({"a b": 1}, "'a b'"),
        ({"a\x00": 1}, "character"),
        ({"a\x7f": 1}, "character"),
        ({"a\x9f": 1}, "character"),
        ({"deep": {"er": [{"a.b": 1}]}}, "'a.b'"),
        ({"n" * 1025: 1}, "1024"),
        ({"é" * 513: 1}, "1024"),
        ({"s": "v" * 4097}, "4096"),
        ({"s": ["é" * 2049]}, "4096"),
        ({"i": 2**52}, "integer"),
        ({"i": {"j": [-(2**52) - 1]}}, "integer"),
    ],
)
def test_properties_beyond_iot_hub_s_limits_are_refused_with_the_reason(
    patch: dict[str, Any], problem: str
) -> None:
    found = check_patch(patch, max_depth=10)
    assert found is not None
    assert problem in found
    assert len(found) < 200


def nested(depth: int, *, in_lists: bool = False) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("in_lists", [False, True])
def test_ten_levels_below_the_patch_are_accepted_and_an_eleventh_is_not(in_lists: bool) -> None:
    assert check_patch(nested(10, in_lists=in_lists), max_depth=10) is None
    assert check_patch(nested(11, in_lists=in_lists), max_depth=10) == "properties are nested too deep"


def test_a_patch_as_deep_as_a_packet_is_long_is_refused_without_following_it() -> None:
    assert check_patch(nested(500), max_depth=10) == "properties are nested too deep"


@given(st.dictionaries(st.text(max_size=4), values, max_size=4), st.integers(1, 3))
def test_every_patch_is_accepted_or_refused_in_one_line(patch: dict[str, Any], max_depth: int) -> None:
    problem = check_patch(patch, max_depth=max_depth)
    assert problem is None or "\n" not in problem
