"""A command on a terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from tests.support.gateway_process import TIMEOUT_S, GatewayProcess


def on_a_terminal(gateway: GatewayProcess, width: int, *arguments: str) -> list[str]:
    """What a command prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments, "-c", gateway.setup["config"]],
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            | {"COLUMNS": str(width), "LINES": "50", "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(theirs)
        written = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not read:
                break
            written += read
        assert process.wait(TIMEOUT_S) == 0, written
    finally:
        os.close(ours)
    return written.decode().replace("\r\n", "\n").splitlines()


def plain(line: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)
