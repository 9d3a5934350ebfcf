"""One run from its preparation to its report: what all commands share."""

import json
import shlex
import subprocess
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

import typer
from rich.console import Console

from gateway.errors import OperationError
from loadtest.devices import Population
from loadtest.options import DeviceOptions, RunOptions
from loadtest.page import page
from loadtest.plan import Plan, Target
from loadtest.processes import Hold, Interrupts, Phase, run
from loadtest.progress import Display
from loadtest.registry_check import RegistryCheck, check, read_registry
from loadtest.report import Report, to_text, write_file
from loadtest.result import StormResult, print_result
from loadtest.server_usage import ServerUsage
from loadtest.subscriber import Delivery, account
from loadtest.tally import Totals
from loadtest.target import find_target
from loadtest.verdict import cautions, problems

__all__ = ["Scenario"]

_NOT_AS_IT_SHOULD: Final = 1
_INTERRUPTED: Final = 130
_RESTART_TIMEOUT_S: Final = 120.0
_RESTART_POLL_S: Final = 0.1
_WATCH_S: Final = 0.25


@dataclass(kw_only=True)
class Scenario:
    """`execute` runs it, prints, writes the reports, and ends the command with its exit code."""

    name: str
    fleet: DeviceOptions
    how: RunOptions
    plan: Plan
    hold: Hold = field(default_factory=Hold)
    warm_up: bool = False
    """Let each device come once before anything is counted."""
    restart: str | None = None
    """A command that restarts the server after that."""
    delivery: Delivery | None = None
    """What a subscriber receives meanwhile."""

    def execute(self) -> None:
        """Raises `GatewayError` if it can't be run, and `typer.Exit`."""
        population = self.fleet.population()
        target = self.fleet.target()
        interrupts = Interrupts()
        offers = population.count * self.plan.rounds
        with Display() as display:
            self.fleet.make_certificates(population, display.certificates)
        with interrupts.caught(), Display(offers=offers) as display:
            if self.warm_up or self.restart is not None:
                self._prepare_server(target, population, interrupts)
            before = self._registry(population)
            usage = ServerUsage(self._server_pid)
            started_at = time.time()

            def tell(phase: Phase, totals: Totals) -> None:
                nonlocal started_at
                started_at = time.time() - phase.elapsed_s
                display.run(phase, totals)
                usage.sample(phase.elapsed_s)

            tally = run(
                target,
                population,
                self.plan,
                processes=self.how.workers,
                hold=self.hold,
                interrupts=interrupts,
                tell=tell,
            )
        self._watch(usage, started_at, interrupts)
        result = StormResult.of(tally, qos=None if self.plan.messages is None else self.plan.messages.qos)
        registry = None
        if before is not None:
            after = self._registry(population)
            assert after is not None
            registry = check(population, tally, before=before, after=after)
        delivery = None
        if self.delivery is not None:
            sent = {population.device_id(number): messages for number, messages in tally.messages.items()}
            delivery = account(sent, self.delivery, started_at=started_at)
        report = Report(
            scenario=self.name,
            started_at=started_at,
            problems=problems(
                result,
                good_devices=sum(not population.is_bad(number) for number in range(population.count)),
                retried=self.plan.retry is not None,
                registry=registry,
                delivery=delivery,
            ),
            cautions=cautions(result, connectors=self.plan.connectors),
            facts=self._facts(target),
            result=result,
            tally=tally,
            usage=tuple(usage.samples),
            registry=registry,
            delivery=delivery,
        )
        self._tell(report)
        if interrupts.count and (registry is None or registry.holds):
            raise typer.Exit(_INTERRUPTED)
        raise typer.Exit(0 if report.succeeded else _NOT_AS_IT_SHOULD)

    def _prepare_server(self, target: Target, population: Population, interrupts: Interrupts) -> None:
        """Make the devices known, and perhaps let the server forget what it keeps in memory."""
        once = replace(self.plan, rounds=1, stay=False, messages=None)
        tally = run(target, population, once, processes=self.how.workers, interrupts=interrupts)
        result = StormResult.of(tally)
        if not result.all_admitted and not interrupts.count:
            print_result(result, Console(stderr=True))
            raise OperationError("not every device came in when they were to be made known")
        if self.restart is not None:
            done = subprocess.run(shlex.split(self.restart), check=False)  # noqa: S603 - the user's own command
            if done.returncode:
                raise OperationError(f"{self.restart}: ended with {done.returncode}")
            _wait_for(target)

    def _watch(self, usage: ServerUsage, started_at: float, interrupts: Interrupts) -> None:
        """Does its memory return?"""
        until = time.time() + self.how.watch_after
        while not interrupts.count and time.time() < until:
            time.sleep(min(_WATCH_S, max(0.0, until - time.time())))
            usage.sample(time.time() - started_at)

    def _registry(self, population: Population) -> list[tuple[str, str]] | None:
        return None if self.fleet.config is None else read_registry(self.fleet.config, population.prefix)

    def _server_pid(self) -> int | None:
        if self.how.server_pid is not None:
            return self.how.server_pid
        return self.fleet.gateway.pid() if self.fleet.gateway is not None else None

    def _facts(self, target: Target) -> dict[str, str]:
        tls = "plain" if target.ca_file is None else f"TLS {target.tls_version or ''}".strip()
        arrival = self.plan.arrival
        facts = {
            "devices": f"{self.fleet.devices:,}",
            "server": f"{target.host}:{target.address[1]}, {tls}",
            "credentials": str(self.fleet.credentials),
            "path": str(self.plan.path),
            "arrival": arrival.pattern + (f", {arrival.rate_per_s:g}/s" if arrival.rate_per_s else ""),
            "connectors": "no limit" if self.plan.connectors is None else str(self.plan.connectors),
            "worker processes": str(self.how.workers),
        }
        if self.plan.rounds > 1:
            facts["rounds"] = str(self.plan.rounds)
        if self.hold.seconds:
            facts["held"] = f"{self.hold.seconds:g} s"
        if self.plan.messages is not None:
            facts["messages"] = f"{self.plan.messages.rate_per_s:g}/s, QoS {self.plan.messages.qos}"
        if self.plan.churn_per_s:
            facts["churn"] = f"{self.plan.churn_per_s:g}/s"
        if self.plan.retry is not None:
            facts["retry"] = f"from {self.plan.retry.first_s:g} s to {self.plan.retry.longest_s:g} s"
        return facts

    def _tell(self, report: Report) -> None:
        if self.how.report_json is not None:
            write_file(self.how.report_json, to_text(report.document()))
        if self.how.html is not None:
            write_file(self.how.html, page(report.document()))
        if self.how.as_json:
            print(json.dumps(report.summary()))
            return
        console = Console()
        print_result(report.result, console)
        if report.registry is not None:
            _print_registry(report.registry, console)
        if report.delivery is not None:
            _print_delivery(report.delivery, console)
        for caution in report.cautions:
            console.print(f"[yellow]caution[/]  {caution}")
        for problem in report.problems:
            console.print(f"[red]not as it should be[/]  {problem}")


def _print_registry(registry: RegistryCheck, console: Console) -> None:
    if registry.holds:
        console.print(
            f"[bold]registry[/]  holds each of the {registry.acknowledged:,} devices that were told so, once"
        )
        return
    for name, ids in (
        ("told that they are registered, and not in the registry", registry.missing),
        ("refused, and in the registry", registry.unexpected),
        ("more than once in the registry", registry.twice),
    ):
        if ids:
            console.print(f"[red]{len(ids):,} devices were {name}:[/] {', '.join(ids[:10])}")


def _print_delivery(delivery: dict[str, Any], console: Console) -> None:
    missing = delivery["missing"]
    console.print(
        f"[bold]application[/]  received {delivery['copies']:,} copies: {delivery['once']:,} messages once, "
        f"{delivery['repeated']:,} more often, {missing['count']:,} missing"
    )
    if missing["count"]:
        console.print(
            f"[red]acknowledged or sent, and not delivered:[/] {', '.join(missing['messages'][:10])}"
        )
    if delivery["unexpected"]:
        console.print(f"[red]{delivery['unexpected']:,} copies of messages that were not sent[/]")
    if delivery["validation"]:
        said = ", ".join(f"{count:,} {status}" for status, count in delivery["validation"].items())
        console.print(f"  by the template: {said}")
    latency = delivery["latencyMs"]
    if latency:
        console.print(f"  from due to delivered: p50 {latency['p50']} ms, p99 {latency['p99']} ms")


def _wait_for(target: Target) -> None:
    """Until the restarted server takes connections again."""
    deadline = time.monotonic() + _RESTART_TIMEOUT_S
    while True:
        try:
            find_target(target.host, target.address[1], ca_file=target.ca_file)
        except OperationError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RESTART_POLL_S)
        else:
            return
