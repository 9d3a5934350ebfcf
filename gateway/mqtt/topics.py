"""Topic names and topic filters (MQTT 3.1.1 and MQTT 5, section 4.7).

A name says where one message goes; a filter says which names a subscription wants. `matches` and
`filter_covers` expect valid arguments: check what comes from outside with `validate_topic_name` or
`validate_topic_filter`.
"""

from typing import Final

from gateway.mqtt.errors import InvalidTopic

__all__ = ["SHARED_PREFIX", "filter_covers", "matches", "validate_topic_filter", "validate_topic_name"]

SHARED_PREFIX: Final = "$share/"
"""What the topic filter of a shared subscription begins with (MQTT 5, section 4.8.2)."""

_MAX_BYTES: Final = 65535


def validate_topic_name(name: str) -> None:
    """Raise `InvalidTopic` if no message may be published to `name`."""
    _validate_text(name)
    # [MQTT-4.7.1-1], and [MQTT-3.3.2-2] for PUBLISH
    if "+" in name or "#" in name:
        raise InvalidTopic("a topic name has a wildcard", "MQTT-4.7.1-1")


def validate_topic_filter(topic_filter: str) -> None:
    """Raise `InvalidTopic` if nobody may subscribe to `topic_filter`."""
    _validate_text(topic_filter)
    # [MQTT-4.7.1-2]: `#` is the last level, and all of it
    if "#" in topic_filter[:-1] or (topic_filter[-1] == "#" and topic_filter[-2:] not in ("#", "/#")):
        raise InvalidTopic("# is not the whole last level of a topic filter", "MQTT-4.7.1-2")
    # [MQTT-4.7.1-3]: `+` is a level of its own
    if "+" in topic_filter and any("+" in level and level != "+" for level in topic_filter.split("/")):
        raise InvalidTopic("+ is not a whole level of a topic filter", "MQTT-4.7.1-3")


def matches(topic_filter: str, name: str) -> bool:
    """Whether a subscription to `topic_filter` wants a message published to `name`."""
    # [MQTT-4.7.2-1]: a leading wildcard leaves out the names that begin with `$`
    if name[0] == "$" and topic_filter[0] in "+#":
        return False
    levels = name.split("/")
    wanted = topic_filter.split("/")
    for index, want in enumerate(wanted):
        if want == "#":
            return True  # also the parent itself: `sport/#` matches `sport`
        if index == len(levels) or want not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def filter_covers(wide: str, narrow: str) -> bool:
    """Whether every name that `narrow` matches is matched by `wide` too, level by level.

    True is a promise. False may be too strict where `wide` ends with `+/#`: `+/#` and `#` match the same
    names, since a name has one level at least, and yet the first is not said to cover the second.
    """
    if narrow[0] == "$" and wide[0] in "+#":
        return False
    allowed = wide.split("/")
    wanted = narrow.split("/")
    for index, allow in enumerate(allowed):
        if allow == "#":
            return True
        if index == len(wanted) or wanted[index] == "#":
            return False
        if allow not in ("+", wanted[index]):
            return False
    return len(allowed) == len(wanted)


def _validate_text(text: str) -> None:
    """The rules that names and filters share."""
    if not text:
        raise InvalidTopic("a topic is empty", "MQTT-4.7.3-1")
    if "\0" in text:
        raise InvalidTopic("a topic has the character U+0000", "MQTT-4.7.3-2")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidTopic("a topic has a lone surrogate", "MQTT-1.5.3-1") from None
    if size > _MAX_BYTES:
        raise InvalidTopic("a topic is longer than 65535 bytes", "MQTT-4.7.3-3")
