"""Text that strangers write, made harmless for a terminal, and for a tool that splits lines.

JSON escapes what is below 0x20, and leaves DEL, the controls of C1 (U+009B begins a terminal's command as ESC [ does), the
line ends U+0085 and U+2028, and the marks that turn the direction of writing.
"""

from typing import Final

__all__ = ["escaped"]

_LAST_OF_FOUR_DIGITS: Final = 0xFFFF


def escaped(text: str) -> str:
    """`text` with each character that does not print as JSON escapes it: `\\u009b`. JSON stays JSON, of the same meaning."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else _escape(each) for each in text])


def _escape(character: str) -> str:
    code = ord(character)
    if code <= _LAST_OF_FOUR_DIGITS:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
