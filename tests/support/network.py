"""A network of a test's own, in which packets get lost, where the machine lets us make one (CI's does).

It is the loopback of a network namespace that belongs to one thread (unshare(2)) and to what that thread starts: a gateway
and its devices in it see nobody else, and nobody else sees them. Packets are lost by nftables, as `tc netem` would do it,
which not every kernel has.
"""

import asyncio
import ctypes
import json
import os
import subprocess
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.privileges import run_or_skip

__all__ = ["LossyNetwork", "in_lossy_network"]

_CLONE_NEWNET = 0x40000000  # sched.h
_RIGHT = "to make a network (CAP_NET_ADMIN)"
_RULES = """
flush ruleset
table inet bad {{
    chain input {{
        type filter hook input priority 0;
        tcp dport {port} numgen random mod 1000 <= {last} counter drop
        tcp sport {port} numgen random mod 1000 <= {last} counter drop
    }}
}}
"""


class LossyNetwork:
    """Which packets are lost. Its methods block for some milliseconds."""

    def __init__(self) -> None:
        self._lost_before = 0

    def lose(self, share: float, *, port: int) -> None:
        """From now on that share of the packets to and from that TCP port is lost: 0.001 to 1."""
        self._lost_before = self.lost
        rules = _RULES.format(port=port, last=round(share * 1000) - 1)
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    @property
    def lost(self) -> int:
        """Packets so far."""
        done = subprocess.run(["nft", "--json", "list", "ruleset"], capture_output=True, check=True)
        listed = json.loads(done.stdout)
        rules = [entry["rule"]["expr"] for entry in listed["nftables"] if "rule" in entry]
        counters = [part["counter"] for rule in rules for part in rule if "counter" in part]
        return self._lost_before + sum(counter["packets"] for counter in counters)


def in_lossy_network(scenario: Callable[[LossyNetwork], Coroutine[None, None, None]]) -> None:
    """Run `scenario` in an event loop of its own, and in a network of its own; it loses nothing until it is told to."""

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip(f"needs the right {_RIGHT}: {os.strerror(ctypes.get_errno())}")
        run_or_skip("ip", "link", "set", "lo", "up", right=_RIGHT)
        run_or_skip("nft", "flush", "ruleset", right=_RIGHT)
        asyncio.run(scenario(LossyNetwork()))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
