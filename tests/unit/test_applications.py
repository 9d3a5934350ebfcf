from pathlib import Path

import pytest

from gateway.applications import Applications, LoginRefused
from gateway.errors import StartError
from gateway.settings import ApplicationSettings


@pytest.fixture
def applications(tmp_path: Path) -> Applications:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    return Applications.load(
        (
            ApplicationSettings(
                name="dashboard",
                password_file=file,
                subscribe=("telemetry/#", "deadletter/+/d"),
                publish=("commands/+",),
            ),
        )
    )


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("dashboard", "correct horse", None),
        ("dashboard", "wrong", LoginRefused.PASSWORD_WRONG),
        ("dashboard", None, LoginRefused.PASSWORD_WRONG),
        ("nobody", "correct horse", LoginRefused.NAME_UNKNOWN),
        (None, None, LoginRefused.NAME_UNKNOWN),
        ("gw.example/t-1/?api-version=2021-04-12", "SharedAccessSignature …", LoginRefused.DEVICE_CREDENTIAL),
        ("0ne00ABCDEF/registrations/t-1/api-version=2019-03-31", "", LoginRefused.DEVICE_CREDENTIAL),
    ],
)
def test_only_the_right_name_and_password_log_in(
    applications: Applications, name: str | None, password: str | None, expected: LoginRefused | None
) -> None:
    assert applications.login(name, password) is expected


@pytest.mark.parametrize(
    ("topic_filter", "allowed"),
    [
        ("telemetry/#", True), ("telemetry/+/d", True), ("telemetry", True), ("deadletter/t/d", True),
        ("#", False), ("+/x/d", False), ("deadletter/#", False), ("$SYS/#", False), ("other", False),
    ],
)  # fmt: skip
def test_a_subscription_must_lie_within_the_rights(
    applications: Applications, topic_filter: str, allowed: bool
) -> None:
    assert applications.may_subscribe("dashboard", topic_filter) is allowed
    assert applications.may_subscribe("nobody", topic_filter) is False


def test_receiving_and_publishing_have_rights_of_their_own(applications: Applications) -> None:
    assert applications.may_receive("dashboard", "telemetry/x/y")
    assert not applications.may_receive("dashboard", "commands/1")
    assert applications.may_publish("dashboard", "commands/1")
    assert not applications.may_publish("dashboard", "telemetry/x/y")
    assert not applications.may_publish(None, "commands/1")


@pytest.mark.parametrize("content", ["", "\nsecond"])
def test_an_empty_password_file_is_told_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(StartError, match="password: the first line must be"):
        Applications.load((ApplicationSettings(name="a", password_file=file),))


def test_a_missing_password_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="gone: can't be read: No such file"):
        Applications.load((ApplicationSettings(name="a", password_file=tmp_path / "gone"),))


def test_passwords_never_print(applications: Applications) -> None:
    assert "correct horse" not in repr(vars(applications))
