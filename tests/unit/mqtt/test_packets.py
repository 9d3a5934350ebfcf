import pytest

from gateway.mqtt import Connect, Publish


def test_password_does_not_show_in_a_connects_repr():
    connect = Connect(client_id="dev1", username="u", password=b"SharedAccessSignature sig=secret")
    assert "secret" not in repr(connect)
    assert "dev1" in repr(connect)


def test_packets_can_not_be_changed():
    with pytest.raises(AttributeError):
        Publish(topic="t", payload=b"").qos = 1


@pytest.mark.parametrize(
    ("client_id", "clean_session", "lacks"),
    [("", False, True), ("", True, False), ("dev1", False, False), ("dev1", True, False)],
)
def test_only_a_clean_session_may_come_without_a_client_id(client_id, clean_session, lacks):
    assert Connect(client_id=client_id, clean_session=clean_session).lacks_client_id is lacks
