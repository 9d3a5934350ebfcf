"""A device's TPM: swtpm, a whole TPM 2.0 in a process of its own, and the few commands that a provisioning client needs.

The commands are written by hand and share nothing with `gateway.identity.tpm`: what the gateway wraps has to
satisfy a TPM, not our own idea of one. Handles and templates are those of Microsoft's device SDKs.
(TCG "TPM 2.0 Library", parts 2 and 3; swtpm(8).)
"""

import base64
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import pytest

__all__ = ["SoftwareTpm", "TpmCommandError", "requires_swtpm"]

requires_swtpm = pytest.mark.skipif(
    shutil.which("swtpm") is None, reason="swtpm is not installed: apt-get install swtpm"
)

_OWNER, _ENDORSEMENT, _NULL, _PASSWORD = 0x40000001, 0x4000000B, 0x40000007, 0x40000009
_CREATE_PRIMARY, _ACTIVATE_CREDENTIAL, _POLICY_SECRET = 0x131, 0x147, 0x151
_HMAC, _IMPORT, _LOAD, _FLUSH_CONTEXT, _START_AUTH_SESSION = 0x155, 0x156, 0x157, 0x165, 0x176
_TIMEOUT_S = 20

_AES_128_CFB = bytes.fromhex("0006 0080 0043")
_EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_EK_TEMPLATE = (
    bytes.fromhex("0001 000b 000300b2 0020")
    + _EK_POLICY
    + _AES_128_CFB
    + bytes.fromhex("0010 0800 00000000 0000")
)
_SRK_TEMPLATE = (
    bytes.fromhex("0001 000b 00030472 0000") + _AES_128_CFB + bytes.fromhex("0010 0800 00000000 0000")
)


class TpmCommandError(Exception):
    """The TPM refused a command; `code` is its TPM_RC."""

    def __init__(self, command: int, code: int) -> None:
        super().__init__(f"command {command:#x} failed with {code:#x}")
        self.code = code


class SoftwareTpm:
    """`with SoftwareTpm(directory) as tpm:` a new TPM, with an EK and an SRK."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key: int | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir()
        ours, theirs = socket.socketpair()
        ours.settimeout(_TIMEOUT_S)
        with theirs, (self._directory / "swtpm.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._directory}", "--fd", str(theirs.fileno()),
                 "--flags", "not-need-init,startup-clear"],
                pass_fds=[theirs.fileno()],
                stderr=log,
            )  # fmt: skip
        self._socket = ours
        self._ek, self.endorsement_key = self._create_primary(_ENDORSEMENT, _EK_TEMPLATE)
        self._srk, self.storage_root_key = self._create_primary(_OWNER, _SRK_TEMPLATE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()  # swtpm ends with its one client
        try:
            self._process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def activate(self, blob: bytes) -> None:
        """Unwrap the key that a provisioning service sent, and keep it to sign with. Raises `TpmCommandError`."""
        credential, secret, duplicate, seed, public, _ = _split(blob)
        session = self._start_policy_session()
        try:
            self._run(_POLICY_SECRET, (_ENDORSEMENT, session), _sized(b"") * 3 + bytes(4), auth=[_PASSWORD])
            (inner_key,) = _split(self._run(
                _ACTIVATE_CREDENTIAL, (self._srk, self._ek), _sized(credential) + _sized(secret), auth=[_PASSWORD, session]
            ))  # fmt: skip
        finally:
            self._flush(session)
        (private,) = _split(self._run(
            _IMPORT, (self._srk,),
            _sized(inner_key) + _sized(public) + _sized(duplicate) + _sized(seed) + _AES_128_CFB, auth=[_PASSWORD],
        ))  # fmt: skip
        if self._key is not None:
            self._flush(self._key)  # a TPM has few slots
        loaded = self._run(_LOAD, (self._srk,), _sized(private) + _sized(public), auth=[_PASSWORD], handles=1)
        self._key = int.from_bytes(loaded[:4], "big")

    def hmac(self, data: bytes) -> bytes:
        """HMAC-SHA256 with the activated key."""
        assert self._key is not None, "no key was activated"
        (signature,) = _split(self._run(_HMAC, (self._key,), _sized(data) + b"\x00\x0b", auth=[_PASSWORD]))
        return signature

    def sas_token(self, resource: str, expiry: int, key_name: str | None = None) -> str:
        """A SAS token for the (plain) resource, signed in the TPM."""
        encoded = quote(resource, safe="")
        signature = quote(base64.b64encode(self.hmac(f"{encoded}\n{expiry}".encode())), safe="")
        token = f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}"
        return token if key_name is None else f"{token}&skn={key_name}"

    def _create_primary(self, hierarchy: int, template: bytes) -> tuple[int, bytes]:
        sensitive = _sized(_sized(b"") + _sized(b""))
        answer = self._run(
            _CREATE_PRIMARY, (hierarchy,), sensitive + _sized(template) + _sized(b"") + bytes(4), auth=[_PASSWORD], handles=1
        )  # fmt: skip
        public = _split(answer[4:], at_most=1)[0]
        return int.from_bytes(answer[:4], "big"), _sized(public)

    def _start_policy_session(self) -> int:
        policy, null_cipher, sha256 = b"\x01", b"\x00\x10", b"\x00\x0b"
        nonce = _sized(bytes(20))
        answer = self._run(
            _START_AUTH_SESSION, (_NULL, _NULL), nonce + _sized(b"") + policy + null_cipher + sha256, auth=[]
        )
        return int.from_bytes(answer[:4], "big")

    def _flush(self, handle: int) -> None:
        self._run(_FLUSH_CONTEXT, (handle,), b"", auth=[])

    def _run(
        self,
        command: int,
        handles_in: tuple[int, ...],
        parameters: bytes,
        *,
        auth: list[int],
        handles: int = 0,
    ) -> bytes:
        """Send one command. Returns the handles and the parameters of its answer."""
        # No session has a key, so no authorization needs a nonce or an HMAC of the client's.
        sessions = b"".join(handle.to_bytes(4, "big") + bytes(2) + b"\x01" + bytes(2) for handle in auth)
        body = b"".join(handle.to_bytes(4, "big") for handle in handles_in)
        body += (len(sessions).to_bytes(4, "big") + sessions if auth else b"") + parameters
        tag = 0x8002 if auth else 0x8001
        self._socket.sendall(
            tag.to_bytes(2, "big") + (10 + len(body)).to_bytes(4, "big") + command.to_bytes(4, "big") + body
        )
        header = self._receive(10)
        answer = self._receive(int.from_bytes(header[2:6], "big") - 10)
        code = int.from_bytes(header[6:10], "big")
        if code:
            raise TpmCommandError(command, code)
        if not auth:
            return answer
        at = 4 * handles
        size = int.from_bytes(answer[at : at + 4], "big")
        return answer[:at] + answer[at + 4 : at + 4 + size]

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self._socket.recv(count - len(received))
            assert more, "swtpm has ended"
            received += more
        return received


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _split(data: bytes, at_most: int | None = None) -> list[bytes]:
    """The TPM2Bs that `data` consists of."""
    parts = []
    while data and len(parts) != at_most:
        size = int.from_bytes(data[:2], "big")
        parts.append(data[2 : 2 + size])
        data = data[2 + size :]
    return parts
