import pytest

from gateway.mqtt import InvalidPacket
from gateway.mqtt.wire import MAX_REMAINING_LENGTH, frame, write_binary, write_string


class Claimed(bytes):
    """Bytes that claim to be longer than they are, so that no test needs 256 MiB."""

    length = 0

    def __len__(self):
        return self.length


# MQTT 3.1.1, table 2.4
@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_remaining_length_is_written_as_in_the_specifications_table(length, header):
    body = Claimed(b"")
    body.length = length
    assert frame(0x30, body) == b"\x30" + bytes.fromhex(header)


def test_packet_of_256_mib_can_not_be_written():
    body = Claimed(b"")
    body.length = MAX_REMAINING_LENGTH + 1
    with pytest.raises(InvalidPacket) as caught:
        frame(0x30, body)
    assert caught.value.tag == "MQTT-2.2.3"


def test_longest_field_has_65535_bytes():
    assert write_binary(b"x" * 65535)[:2] == b"\xff\xff"
    with pytest.raises(InvalidPacket):
        write_binary(b"x" * 65536)


def test_string_is_measured_in_bytes_not_in_characters():
    assert len(write_string("é" * 32767)) == 2 + 65534
    with pytest.raises(InvalidPacket):
        write_string("é" * 32768)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.covers(mqtt311="1.5.3-1 1.5.3-2", mqtt5="1.5.4-1 1.5.4-2")
def test_string_that_is_not_mqtt_text_is_not_written(text):
    with pytest.raises(InvalidPacket):
        write_string(text)
