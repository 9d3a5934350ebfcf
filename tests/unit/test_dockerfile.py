"""What the image promises its operator, read off the Dockerfile; hadolint (`make lint`) judges its style."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """(instruction, arguments) in order; comments gone, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name.upper(), arguments) for name, arguments in lines]


@pytest.fixture(scope="module")
def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    start = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


def only(stage: list[Instruction], name: str) -> str:
    (arguments,) = [a for n, a in stage if n == name]
    return arguments


def test_every_base_image_is_pinned_to_a_python_release(instructions: list[Instruction]) -> None:
    bases = [arguments.split()[0] for name, arguments in instructions if name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)


def test_the_gateway_runs_as_a_numbered_user_that_is_not_root(final_stage: list[Instruction]) -> None:
    user, _, group = only(final_stage, "USER").partition(":")
    assert int(user) > 0, "a number, so that runAsNonRoot can check it"
    assert int(group) > 0
    after = [name for name, _ in final_stage[final_stage.index(("USER", f"{user}:{group}")) :]]
    assert not {"RUN", "COPY", "ADD"} & set(after), "nothing is built by, or owned by, the one who runs it"


def test_the_state_lives_in_a_volume_that_the_user_owns(final_stage: list[Instruction]) -> None:
    volume = only(final_stage, "VOLUME")
    assert volume == "/var/lib/gateway"
    made = [i for i, (name, arguments) in enumerate(final_stage) if name == "RUN" and volume in arguments]
    assert made
    assert made[0] < final_stage.index(("VOLUME", volume)), "what is changed after VOLUME is lost"
    assert f"--mode 0700 {volume}" in final_stage[made[0]][1]


def test_the_health_check_and_the_default_command_use_the_set_up_in_the_volume(
    final_stage: list[Instruction],
) -> None:
    config = "/var/lib/gateway/gateway.yaml"
    assert json.loads(only(final_stage, "HEALTHCHECK").partition("CMD ")[2]) == [
        "gateway",
        "health",
        "-c",
        config,
    ]
    assert json.loads(only(final_stage, "ENTRYPOINT")) == ["gateway"]
    assert json.loads(only(final_stage, "CMD")) == ["serve", "-c", config]
    assert f"GATEWAY_CONFIG={config}" in only(final_stage, "ENV")


def test_the_devices_port_is_exposed(final_stage: list[Instruction]) -> None:
    assert "8883" in only(final_stage, "EXPOSE").split()


def test_nothing_is_fetched_by_address_and_no_secret_is_built_in(instructions: list[Instruction]) -> None:
    assert "ADD" not in {name for name, _ in instructions}
    for name, arguments in instructions:
        assert "://" not in arguments, (name, arguments)
        assert not (name in {"ENV", "ARG"} and re.search(r"(?i)password|secret|token|_key", arguments)), (
            arguments
        )


def test_only_what_the_image_needs_is_sent_to_the_builder(instructions: list[Instruction]) -> None:
    ignored, *kept = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    allowed = {line.removeprefix("!") for line in kept if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for name, arguments in instructions
        if name == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
