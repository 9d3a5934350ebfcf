"""The rooms of docs/architecture.md, held to by reading the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gateway"

VOCABULARY = {"errors", "refusals", "secrets", "events", "session"}
# A pure room, and what of ours it may import besides itself.
PURE = {
    "mqtt": set(),
    "identity": VOCABULARY,
    "enrollment": VOCABULARY | {"identity"},
    "templates": VOCABULARY,
    "dps/grammar.py": VOCABULARY,
    "dps/rest.py": VOCABULARY | {"identity", "dps"},
    "hub/grammar.py": VOCABULARY,
    "hub/twin.py": VOCABULARY,
    "telemetry/envelope.py": VOCABULARY | {"telemetry"},
    "telemetry/validation.py": VOCABULARY | {"templates"},
}
IMPURE_MODULES = {
    "asyncio", "socket", "selectors", "ssl", "threading", "multiprocessing", "subprocess", "os", "io", "pathlib", "shutil",
    "tempfile", "time", "logging", "structlog", "urllib.request", "http", "sqlite3", "sqlalchemy", "amqtt", "aiomqtt",
}  # fmt: skip
# What adapters may not import: each other.
ADAPTERS = {
    "dps": {"hub", "edge", "api", "cli", "operations"},
    "edge": {"dps", "hub", "api", "cli", "operations", "telemetry"},
    "api": {"edge", "dps", "cli", "console"},
    "registry": {"admission", "edge", "dps", "api", "cli", "operations", "telemetry", "templates"},
    "operations": {"edge", "dps", "api", "cli", "console", "admission"},
    "console": {"edge", "dps", "hub", "cli", "admission", "registry", "operations"},
}
MAY_IMPORT_AMQTT = {"plugin.py", "telemetry/sinks/amqtt.py", "app.py"}


def imports(file: Path) -> set[str]:
    """Every module that `file` imports, as a dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("gateway.")}


def files(room: str) -> list[Path]:
    path = PACKAGE / room
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_touches_no_io_no_clock_and_no_log(room: str) -> None:
    assert files(room)
    for file in files(room):
        for name in imports(file):
            parts = name.split(".")
            prefixes = {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
            assert not prefixes & IMPURE_MODULES, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_only_what_lies_below_it(room: str) -> None:
    itself = room.split("/", maxsplit=1)[0]
    for file in files(room):
        allowed = PURE[room] | ({itself} if "/" not in room else set())
        assert ours(imports(file)) <= allowed, file.relative_to(ROOT)


@pytest.mark.parametrize("room", ADAPTERS)
def test_adapters_do_not_import_one_another(room: str) -> None:
    for file in files(room):
        assert not ours(imports(file)) & ADAPTERS[room], file.relative_to(ROOT)


def test_amqtt_is_imported_only_where_it_is_adapted() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        if any(name.partition(".")[0] == "amqtt" for name in imports(file)):
            assert str(file.relative_to(PACKAGE)) in MAY_IMPORT_AMQTT


def test_every_event_that_the_code_logs_is_listed_and_every_listed_one_is_logged() -> None:
    from gateway.events import EVENTS

    logged: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in {"debug", "info", "warning", "error", "log"} and not (
                isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
            ):
                continue
            for argument in node.args[:2]:
                if (
                    isinstance(argument, ast.Constant)
                    and isinstance(argument.value, str)
                    and "." in argument.value
                ):
                    logged.add(argument.value)
    assert logged == set(EVENTS)


def test_nobody_goes_past_the_one_road_to_the_operations() -> None:
    """What checks the role and writes the audit log is `Operations.call`."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.parent.name == "operations":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and _name_of(node.value) in {"operations", "_operations"}:
                # `finish` carries nothing out: it waits for what has been called.
                allowed = node.attr in {"call", "finish"}
                assert allowed, f"{file.relative_to(ROOT)}:{node.lineno}: operations.{node.attr}"


def _name_of(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None
