"""A setting that nothing reads is a promise that nothing keeps."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway import settings

PACKAGE = Path(settings.__file__).parent
CODE = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py") if file.name != "settings.py")


def names() -> list[str]:
    sections = [
        value for value in vars(settings).values() if isinstance(value, type) and issubclass(value, BaseModel)
    ]
    return sorted({name for section in sections for name in section.model_fields})


@pytest.mark.parametrize("name", names())
def test_every_setting_is_read_somewhere(name: str) -> None:
    assert f".{name}" in CODE
