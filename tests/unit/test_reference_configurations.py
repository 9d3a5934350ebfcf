"""`broker_config/` is documentation that must load."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.settings import PLUGIN_PATH, Settings, load_settings

CONFIGURATIONS = Path(__file__).parents[2] / "broker_config"


@pytest.mark.parametrize("name", ["development.yaml", "production.yaml"])
def test_a_reference_configuration_is_valid(name: str) -> None:
    settings = load_settings(CONFIGURATIONS / name)
    listeners = yaml.safe_load((CONFIGURATIONS / name).read_text())["listeners"]
    assert listeners["devices"] == {"type": "external"}
    assert listeners["default"]["bind"].startswith("127.0.0.1:")
    assert settings.applications


def test_the_production_configuration_shows_every_setting() -> None:
    """A setting that an operator can't find might as well not exist."""
    text = (CONFIGURATIONS / "production.yaml").read_text()
    missing = [name for name in _names(Settings) if f"{name}:" not in text]
    assert missing == []


def test_the_production_configuration_shows_the_defaults() -> None:
    """What it says beside the paths, names and the log's format is what the gateway does without it."""
    document = yaml.safe_load((CONFIGURATIONS / "production.yaml").read_text())["plugins"][PLUGIN_PATH]
    required = {"hosts", "id_scope", "state_dir", "applications"}
    shown = load_settings(CONFIGURATIONS / "production.yaml")
    shown_otherwise = {("log", "format"), ("registry", "encryption_key_file")}
    for section in document.keys() - required:
        model = type(getattr(shown, section))
        for name in document[section]:
            field = model.model_fields[name]
            if not field.is_required() and (section, name) not in shown_otherwise:
                assert getattr(getattr(shown, section), name) == field.default, f"{section}.{name}"


def _names(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and name != "bind":
            names += _names(annotation)
    return names
