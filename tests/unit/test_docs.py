"""What the documents list is what the code has."""

import re
from pathlib import Path
from typing import Any

from gateway.edge.v5 import DISCONNECTS
from gateway.events import EVENTS
from gateway.refusals import Reason, answer_for
from gateway.session import CloseReason
from gateway.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def section(page: str, heading: str) -> str:
    text = (DOCS / page).read_text()
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_event_is_documented_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([a-z._]+)` \| (.*) \|$", section("log.md", "Events"), re.MULTILINE)
    assert dict(rows) == EVENTS


def test_every_refusal_is_documented_with_its_codes_and_its_hint() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d) \| (\d+) \| (.*) \|$",
        section("log.md", "Why a device was refused"),
        re.MULTILINE,
    )
    expected = [(reason, answer_for(reason)) for reason in Reason]
    assert rows == [(str(reason), str(a.connack), str(a.dps_error), a.hint) for reason, a in expected]


def test_what_a_device_of_mqtt_5_is_told_is_documented() -> None:
    def rows(title: str) -> list[tuple[str, ...]]:
        return re.findall(r"^\| `(\w+)` \| 0x(\w\w) \| (.*) \|$", section("mqtt5.md", title), re.MULTILINE)

    answers = [(reason, answer_for(reason)) for reason in Reason]
    assert rows("Why a device was refused") == [(str(r), f"{a.connack5:02X}", a.told) for r, a in answers]
    ends = [(str(reason), f"{code:02X}", words) for reason, (code, words) in DISCONNECTS.items()]
    assert rows("Why a session ended") == ends


def test_every_reason_to_close_is_documented() -> None:
    named = re.findall(r"^- `(\w+)`", section("log.md", "Why a connection ended"), re.MULTILINE)
    assert named == list(CloseReason)


def test_documents_link_to_what_exists() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_limit_in_the_security_page_is_the_setting_s_default() -> None:
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| ([\d.,]+) \| .* \|$", section("security.md", "Limits"), re.MULTILINE
    )
    assert len(rows) > 30
    for name, number in rows:
        model: Any = Settings
        *path, last = name.split(".")
        for step in path:
            model = model.model_fields[step].annotation
            model = next(
                (each for each in getattr(model, "__args__", ()) if hasattr(each, "model_fields")), model
            )
        assert float(number.replace(",", "")) == model.model_fields[last].default, name


def test_every_test_that_the_security_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", section("security.md", "Gates")))
    there = {
        name
        for file in (DOCS.parent / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 25
    assert named <= there
