"""What is measured: the rows of the table, their marks, and how large each storm is."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from loadtest.bench.telemetry import Exchange
from loadtest.bench.tester import Credentials, Storm, TlsVersion

__all__ = ["FULL", "SMOKE", "Connects", "Measure", "Memory", "Messages", "Row", "Size", "rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many of each. Large enough that a round's figure stays within a few percent, small enough for minutes."""

    plain: int
    tls: int
    first: int
    amqtt: int
    few_held: int
    many_held: int
    beside_held: int
    idle: int
    messages: int


FULL: Final = Size(
    plain=3000,
    tls=1000,
    first=2000,
    amqtt=200,
    few_held=100,
    many_held=20_000,
    beside_held=1500,
    idle=10_000,
    messages=3000,
)
SMOKE: Final = Size(
    plain=20, tls=10, first=20, amqtt=10, few_held=5, many_held=50, beside_held=20, idle=50, messages=100
)
"""Enough to see that every scenario works; the times mean nothing."""

_TLS_VERSIONS: Final[tuple[TlsVersion, ...]] = ("1.3", "1.2")
_MUTUAL_TLS_MARKS: Final[tuple[tuple[TlsVersion, float, float], ...]] = (("1.3", 0.8, 0.6), ("1.2", 1.0, 0.8))
_SPARE_FILES: Final = 4000
"""For what a server opens besides connections, and what it keeps free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connects:
    """CPU time of a connect: one storm on one server in each round."""

    server: str
    what: str
    storm: Storm
    new_devices: bool = False
    """Other device ids in each round."""
    held: Storm | None = None
    """These stay connected from before the first round until the last one is over, on a server of their own."""

    def in_round(self, number: int) -> Storm:
        """The storm of that round; round 0 is for warming up."""
        if not self.new_devices:
            return self.storm
        return replace(self.storm, prefix=f"{self.storm.prefix}{number}-")

    @property
    def name(self) -> str:
        return f"{self.server}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """CPU time of a message: QoS 1 in, one subscriber with QoS 1 out."""

    server: str
    what: str
    exchange: Exchange

    @property
    def name(self) -> str:
        return f"{self.server}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Growth of the resident set for each idle session: measured once, on a server of its own."""

    server: str
    what: str
    idle: Storm

    @property
    def name(self) -> str:
        return f"{self.server}: {self.what}"


Measure: TypeAlias = Connects | Messages | Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, and what is asked of it.

    A ratio of CPU times, `ours : theirs`; or a figure of its own in KB, if there is no `theirs`.
    """

    number: int
    what: str
    ours: Measure
    theirs: Measure | None = None
    times: int = 1
    """Theirs counts so many times: DPS and hub are two connects."""
    mark: float
    stretch: float
    beside: tuple[Measure, ...] = ()
    """Measured in the same rounds, for the reader."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (self.ours, *([self.theirs] if self.theirs else []), *self.beside)


def rows(size: Size, only: Iterable[int] = (), *, open_files: int = 1 << 20) -> list[Row]:
    """Those rows, or all of them. As many sessions are held as the limit of open files has room for."""
    wanted = set(only)
    room = open_files - size.beside_held - _SPARE_FILES
    fitting = replace(size, many_held=min(size.many_held, room), idle=min(size.idle, room))
    return [row for row in _rows(fitting) if not wanted or row.number in wanted]


def _rows(size: Size) -> list[Row]:
    return [
        _known_plain(size),
        _first(size),
        *_mutual_tls(size),
        *_known_tls(size),
        *_dps(size),
        _with_sessions_held(size),
        *_memory(size),
        _telemetry(size),
    ]


def _known_plain(size: Size) -> Row:
    plain = Storm(count=size.plain, prefix="known-")
    few = replace(plain, count=size.amqtt)
    return Row(
        number=1,
        what="known device, SAS, plain : Mosquitto anonymous",
        ours=Connects(server="gateway", what="known, SAS, plain", storm=plain),
        theirs=Connects(server="mosquitto", what="known, anonymous, plain", storm=_anonymous(plain)),
        mark=1.5,
        stretch=1.0,
        beside=(
            Connects(
                server="mosquitto-password",
                what="known, password file, plain",
                storm=replace(plain, credentials="password"),
            ),
            Connects(server="amqtt", what="known, anonymous, plain", storm=_anonymous(few)),
        ),
    )


def _first(size: Size) -> Row:
    storm = Storm(count=size.first, prefix="new-")
    return Row(
        number=2,
        what="first connect, SAS, plain, durable : Mosquitto anonymous",
        ours=Connects(server="gateway", what="first, SAS, plain, durable", storm=storm, new_devices=True),
        theirs=Connects(
            server="mosquitto", what="first, anonymous, plain", storm=_anonymous(storm), new_devices=True
        ),
        mark=2.5,
        stretch=1.5,
    )


def _mutual_tls(size: Size) -> list[Row]:
    def storm(version: TlsVersion) -> Storm:
        return Storm(count=size.tls, prefix="known-mtls-", tls=version, credentials="certificate")

    return [
        Row(
            number=3,
            what=f"known device, certificate, TLS {version} : Mosquitto, certificate, TLS {version}",
            ours=Connects(server="gateway", what=f"known, certificate, TLS {version}", storm=storm(version)),
            theirs=Connects(
                server="mosquitto-mtls", what=f"known, certificate, TLS {version}", storm=storm(version)
            ),
            mark=mark,
            stretch=stretch,
        )
        for version, mark, stretch in _MUTUAL_TLS_MARKS
    ]


def _known_tls(size: Size) -> list[Row]:
    storm = Storm(count=size.tls, prefix="known-tls-")
    post_quantum = replace(storm, tls="1.3", post_quantum=True)
    return [
        Row(
            number=4,
            what=f"known device, SAS, TLS {version} : Mosquitto anonymous, TLS {version}",
            ours=Connects(
                server="gateway", what=f"known, SAS, TLS {version}", storm=replace(storm, tls=version)
            ),
            theirs=Connects(
                server="mosquitto",
                what=f"known, anonymous, TLS {version}",
                storm=_anonymous(replace(storm, tls=version)),
            ),
            mark=1.1,
            stretch=0.8,
            beside=(
                Connects(server="gateway", what="known, SAS, TLS 1.3, X25519MLKEM768", storm=post_quantum),
            )
            if version == "1.3"
            else (),
        )
        for version in _TLS_VERSIONS
    ]


def _dps(size: Size) -> list[Row]:
    known = Storm(count=size.tls, prefix="known-dps-", tls="1.3", dps=True)
    tls = Storm(count=size.tls, prefix="known-tls-", tls="1.3")
    return [
        Row(
            number=5,
            what=f"{name} device, DPS then hub, TLS 1.3 : twice Mosquitto anonymous, TLS 1.3",
            ours=Connects(
                server="gateway",
                what=f"{name}, SAS, DPS then hub, TLS 1.3",
                storm=replace(known, prefix=f"{name}-dps-"),
                new_devices=name == "new",
            ),
            theirs=Connects(server="mosquitto", what="known, anonymous, TLS 1.3", storm=_anonymous(tls)),
            times=2,
            mark=1.2,
            stretch=0.9,
        )
        for name in ("known", "new")
    ]


def _with_sessions_held(size: Size) -> Row:
    def with_held(server: str, count: int, credentials: Credentials) -> Connects:
        return Connects(
            server=server,
            what=f"known, {'SAS' if credentials == 'sas' else 'anonymous'}, plain, {count:,} sessions held",
            storm=Storm(count=size.beside_held, prefix="known-", credentials=credentials),
            held=Storm(count=count, prefix="held-", credentials=credentials, subscribe=True),
        )

    return Row(
        number=6,
        what=f"known device with {size.many_held:,} sessions held : with {size.few_held:,}",
        ours=with_held("gateway", size.many_held, "sas"),
        theirs=with_held("gateway", size.few_held, "sas"),
        mark=1.2,
        stretch=1.05,
        beside=(
            with_held("mosquitto", size.many_held, "none"),
            with_held("mosquitto", size.few_held, "none"),
        ),
    )


def _memory(size: Size) -> list[Row]:
    plain = Storm(count=size.idle, prefix="idle-")
    return [
        Row(
            number=7,
            what=f"KB of memory for an idle session, {name}, {size.idle:,} held",
            ours=Memory(server="gateway", what=f"idle session, SAS, {name}", idle=idle),
            mark=mark,
            stretch=stretch,
            beside=(
                Memory(server="mosquitto", what=f"idle session, anonymous, {name}", idle=_anonymous(idle)),
            ),
        )
        for name, idle, mark, stretch in (
            ("plain", plain, 6, 3),
            ("TLS 1.3", replace(plain, tls="1.3"), 45, 30),
        )
    ]


def _telemetry(size: Size) -> Row:
    exchange = Exchange(messages=size.messages)
    return Row(
        number=8,
        what="telemetry, QoS 1 in, validated, QoS 1 out : Mosquitto QoS 1 in, QoS 1 out",
        ours=Messages(
            server="gateway", what="message, validated, on the template's topic", exchange=exchange
        ),
        theirs=Messages(server="mosquitto", what="message, passed on", exchange=exchange),
        mark=4,
        stretch=2,
    )


def _anonymous(storm: Storm) -> Storm:
    return replace(storm, credentials="none")
