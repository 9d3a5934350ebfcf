"""An operator's program: the REST API of a running gateway, with one API token."""

import ssl
from typing import Any

import httpx

from tests.support.gateway_process import GatewayProcess

__all__ = ["Api", "trust"]

VERSION = "2022-07-31"


def trust(gateway: GatewayProcess) -> ssl.SSLContext:
    """TLS that trusts the set-up's CA."""
    return ssl.create_default_context(cafile=gateway.setup["caCertificate"])


class Api(httpx.Client):
    """Speaks to `/api` with the set-up's CA, an API version, and a token (default: the administrator's)."""

    def __init__(self, gateway: GatewayProcess, token: str | None = None, **more: Any) -> None:
        setup = gateway.setup
        self._trust = trust(gateway)
        super().__init__(
            base_url=f"https://localhost:{setup['httpPort']}/api",
            verify=self._trust,
            headers={"Authorization": token if token is not None else setup["apiToken"]},
            params={"api-version": VERSION},
            timeout=30,
            **more,
        )

    def ok(self, method: str, path: str, **more: Any) -> Any:
        """The answer's JSON; None if it has none (204)."""
        answer = self.request(method, path, **more)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def follow(self, link: str) -> Any:
        """The page that a `nextLink` leads to: the link as it is, and the token."""
        headers = {"Authorization": self.headers["Authorization"]}
        answer = httpx.get(link, headers=headers, verify=self._trust)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json()

    def refused(self, method: str, path: str, status: int, code: str, **more: Any) -> str:
        """The message of an error that has that status and code, in IoT Central's form."""
        answer = self.request(method, path, **more)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        error = answer.json()["error"]
        assert error.keys() == {"code", "message", "requestId", "time"}
        assert (error["code"], answer.headers["x-ms-error-code"]) == (code, code), answer.text
        return str(error["message"])
