"""`gateway why ID`: why a device does not get in, and what would let it in."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.channel import call
from gateway.cli.files import read_optional, read_text
from gateway.cli.options import CONFIG, Config, DeviceId, Json
from gateway.cli.output import print_json, print_page, printable
from gateway.errors import OperationError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["why"]

_STYLES: Final = {"accepted": "green", "refused": "red", "ended": "yellow"}
_STATUS_STYLES: Final = {"provisioned": "green", "registered": "green", "waiting": "yellow", "blocked": "red"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def why(
    *,
    device_id: DeviceId,
    token: Annotated[
        str | None,
        typer.Option(help="Judge this SAS token. Others on this machine see it: rather use --token-file."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Judge the SAS token in this file; - is standard input.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM: judge this certificate.")] = None,
    chain: Annotated[Path | None, typer.Option(help="PEM: the CAs that the device sends with it.")] = None,
    username: Annotated[
        str | None, typer.Option(help="The MQTT user name; default: what the SDKs send.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Say why a device does not get in, and what would let it in.

    With a token or a certificate: say what would happen if the device presented it now. Nothing changes.
    """
    if token is not None and token_file is not None:
        raise OperationError("give --token or --token-file, not both")
    told = call(
        config,
        "device.why",
        device_id=device_id,
        token=token if token_file is None else read_text(token_file).strip(),
        certificate=read_optional(certificate),
        chain=read_optional(chain),
        username=username,
    )
    if as_json:
        print_json(told)
    else:
        print_page(_page(printable(told)))


def _page(told: dict[str, Any]) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 - rich takes as long to import as a command to run

    verdict = told["verdict"]
    parts: list[RenderableType] = [_head(told), ""]
    parts.append(_summary(told))
    if verdict is not None and verdict["evidence"] is not None:
        parts += ["", _title("Evidence"), _evidence(verdict["evidence"])]
    if verdict is not None and verdict["remedies"]:
        parts += ["", _title("What would let it in"), _remedies(verdict["remedies"])]
    if told["attempts"]:
        parts += ["", _title("Last attempts"), _attempts(told)]
    return Group(*parts)


def _head(told: dict[str, Any]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    head = Text(told["id"], style="bold")
    device, individual = told["device"], told["individualEnrollment"]
    if device is None:
        head.append("  no device of this id is registered", style="yellow")
    else:
        head.append("  ").append(device["status"], style=_STATUS_STYLES[device["status"]])
        head.append(", connected now" if device["connected"] else ", not connected")
        if device["enrollmentGroup"]:
            head.append(f", by group {device['enrollmentGroup']}")
    if individual is not None:
        state = "" if individual["enabled"] else ", disabled"
        head.append(f", individual enrollment ({individual['attestation']}{state})")
    return head


def _summary(told: dict[str, Any]) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    verdict, attempts = told["verdict"], told["attempts"]
    newest = attempts[0] if attempts else None
    if verdict is not None and verdict["of"] == "given":
        return _told_of("If it presented this now, ", verdict)
    if newest is None:
        said = _told_of("", verdict) if verdict is not None else Text()
        if not told["running"]:
            return said.append("No gateway runs, and its memory of attempts ends with it.")
        return said.append(_never_seen(told))
    if newest["outcome"] == "accepted":
        said = (
            Text("Its last CONNECT was ").append("accepted", style="green").append(f" {_ago(newest, told)}.")
        )
        if verdict is not None:
            said.append("\n").append_text(_told_of("Its next one: ", verdict))
        return said
    said = Text(f"{_ago(newest, told).capitalize()} it was ")
    said.append(newest["outcome"], style=_STYLES[newest["outcome"]]).append(": ")
    said.append(newest["reason"], style="bold").append(f"{_in_brackets(newest['detail'])}.")
    if newest["outcome"] == "refused":
        said.append(_as_told_to_the_device(newest))
    if verdict is not None:
        same = verdict.get("reason") == newest.get("reason")
        said.append("\n").append_text(_told_of("With the same credential now, ", verdict, brief=same))
    return said


def _told_of(start: str, verdict: dict[str, Any], *, brief: bool = False) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    said = Text(f"{start}it would be " if start else "It would be ")
    if verdict["outcome"] == "accepted":
        by = (
            f"group {verdict['enrollmentGroup']}"
            if verdict["enrollmentGroup"]
            else "its individual enrollment"
        )
        said.append("accepted", style="green").append(f" by {by}, {verdict['keySlot']}.")
        return said.append(" It would be registered first.") if verdict["registers"] else said
    said.append("refused", style="red")
    if brief:
        return said.append(" again.")
    said.append(": ").append(verdict["reason"], style="bold").append(f"{_in_brackets(verdict['detail'])}.")
    return said.append("\n") if verdict["of"] == "status" else said


def _never_seen(told: dict[str, Any]) -> str:
    return (
        f"No attempt of this id is remembered. Does the device dial this gateway, and with client id {told['id']}?\n"
        "A TLS handshake that fails has no id yet: gateway logs -f --event connection.closed shows it."
    )


def _as_told_to_the_device(attempt: dict[str, Any]) -> str:
    if attempt["registering"]:
        return f" DPS answered {attempt['dpsError']}."
    after = "; after that Microsoft's Python SDK does not try again" if attempt["givesUp"] else ""
    return f" It was told CONNACK {attempt['connack']}{after}."


def _evidence(evidence: dict[str, Any]) -> "Table":
    rows: list[tuple[str, str]] = []
    if evidence["username"]:
        rows.append(("user name", evidence["username"]))
    token, certificate = evidence["token"], evidence["certificate"]
    if token is not None:
        rows.append(("token for", f"{token['resource']}"))
        rows.append(
            ("expires", f"{token['expiry']}" + (f"  ({token['expiresAt']})" if token["expiresAt"] else ""))
        )
        if token["keyName"] is not None:
            rows.append(("skn", token["keyName"] or "(empty)"))
        rows.append(("signed with", token["signedWith"]))
    if certificate is not None:
        rows += _of_certificate(certificate)
    if token is None and certificate is None:
        rows.append(("credential", "none that can be read"))
    return _grid(rows)


def _of_certificate(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    if "unreadable" in certificate:
        return [("certificate", f"can't be read: {certificate['unreadable']}")]
    vouched = certificate["vouchedBy"]
    rows = [
        ("certificate", certificate["subject"]),
        ("issued by", certificate["issuer"]),
        ("valid", f"{certificate['notBefore'][:16]}Z to {certificate['notAfter'][:16]}Z".replace("T", " ")),
        ("SHA-256", certificate["sha256Thumbprint"]),
        ("SHA-1", certificate["sha1Thumbprint"]),
    ]
    rows += [("sent with it", f"{ca['subject']}, issued by {ca['issuer']}") for ca in certificate["chain"]]
    who = "no CA of any group" if vouched is None else f"group {vouched['group']}, {vouched['keySlot']} CA"
    return [*rows, ("vouched for by", who)]


def _remedies(remedies: list[dict[str, Any]]) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    lines: list[RenderableType] = []
    for remedy in remedies:
        lines.append(Padding(Text(remedy["do"]), (0, 0, 0, 2)))
        if remedy["command"] is not None:
            lines.append(Padding(Text(remedy["command"], style="bold cyan", overflow="fold"), (0, 0, 0, 6)))
    return Group(*lines)


def _attempts(told: dict[str, Any]) -> "Table":
    from rich.text import Text  # noqa: PLC0415

    rows = []
    for attempt in told["attempts"]:
        what = Text(attempt["outcome"], style=_STYLES[attempt["outcome"]])
        times = attempt.get("times", 1)
        more = f", {times} times since {_clock(attempt['firstAt'])}" if times > 1 else ""
        if attempt["outcome"] == "accepted":
            why_ = f"{attempt['dialect']}, {attempt['enrollmentGroup'] or 'individual enrollment'}"
        else:
            why_ = attempt["reason"] + _in_brackets(attempt["detail"]) + more
        rows.append((Text(_clock(attempt["at"]), style="dim"), what, why_, attempt["peer"]))
    return _grid(rows)


def _grid(rows: "list[Any]") -> "Table":
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    for first, *others in rows:
        label = Text(first, style="dim") if isinstance(first, str) else first
        cells = [Text(cell, overflow="fold") if isinstance(cell, str) else cell for cell in others]
        table.add_row("", label, *cells)
    table.columns[1].no_wrap = True
    return table


def _title(text: str) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    return Text(text, style="bold")


def _in_brackets(detail: str) -> str:
    return f" ({detail})" if detail else ""


def _ago(attempt: dict[str, Any], told: dict[str, Any]) -> str:
    seconds = max(0.0, (_time(told["at"]) - _time(attempt["at"])).total_seconds())
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds / _DAY:.0f} d ago"


def _clock(text: str) -> str:
    """In the time of this terminal's place."""
    at = _time(text).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
