import pytest

from gateway.open_files import allow_open_files


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "in_force"),
    [
        (1024, 4096, 2000, 2000),
        (1024, 4096, 9000, 4096),
        (1024, -1, 9000, 9000),
        (8192, 9000, 2000, 2000),
        (-1, -1, 5, 5),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_lets_us(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int, in_force: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: asked.append(limits))
    assert allow_open_files(wanted) == in_force
    assert asked == ([(in_force, hard)] if 0 <= soft < wanted else [])
