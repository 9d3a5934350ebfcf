"""What memory keeps, and what has to make room."""

from gateway.registry.cache import LruCache


def test_a_full_cache_drops_what_was_not_asked_for_longest() -> None:
    cache: LruCache[int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    assert len(cache) == 2


def test_what_is_put_again_is_renewed_and_takes_one_place() -> None:
    cache: LruCache[int] = LruCache(2)
    for value in (1, 2, 3):
        cache.put("a", value)
    cache.put("b", 0)
    assert (cache.get("a"), len(cache)) == (3, 2)


def test_what_is_discarded_or_cleared_is_gone() -> None:
    cache: LruCache[int] = LruCache(3)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.discard("a")
    cache.discard("never there")
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.clear()
    assert len(cache) == 0
