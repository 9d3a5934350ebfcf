"""API tokens, and what their roles allow."""

import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest

from gateway.errors import ConflictError, ForbiddenError, NotFoundError, OperationError
from gateway.operations import VERBS, Verb
from gateway.roles import Actor, Role
from gateway.tokens import MAX_TOKENS, read_authorization
from tests.support.bench import NOW, Bench, open_bench

DAY = 86_400


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def bench(tmp_path: Path, clock: Clock) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, clock=clock) as bench:
        yield bench


def secret_of(token: str) -> str:
    return dict(parse_qsl(token.partition(" ")[2]))["sig"]


# Tokens


async def test_a_token_is_written_as_iot_central_writes_its_own(bench: Bench) -> None:
    created = await bench.call("token.create", name="backend", role="operator", days=1)
    scheme, _, rest = created["token"].partition(" ")
    fields = dict(parse_qsl(rest))
    assert scheme == "SharedAccessSignature"
    assert list(fields) == ["sr", "sig", "skn", "se"]
    assert (fields["sr"], fields["skn"], fields["se"]) == (
        "0ne00TEST", "backend", str(int((NOW + DAY) * 1000)),
    )  # fmt: skip
    assert len(fields["sig"]) == 43  # 256 bits in base64url
    assert created["expiresAt"] == "2027-01-16T08:00:00.000Z"


async def test_either_scheme_shows_the_same_token(bench: Bench) -> None:
    text = (await bench.call("token.create", name="backend", role="operator"))["token"]
    secret = secret_of(text)
    for header in (
        text,
        text.replace("SharedAccessSignature", "sharedaccesssignature"),
        f"SharedAccessSignature sig={quote(secret)}&skn=backend",
        f"Bearer {secret}",
        f"bearer   {secret} ",
        f"Bearer {text}",
    ):
        token = bench.tokens.authenticate(header, now=NOW)
        assert token is not None, header
        assert token.actor == Actor(name="token/backend", role=Role.OPERATOR)


@pytest.mark.parametrize(
    "header",
    [
        "", " ",  "Bearer", "Bearer ", "Basic YTpi", "SharedAccessSignature", "SharedAccessSignature sr=x&se=1",
        "SharedAccessSignature " + "&".join(f"a{number}=1" for number in range(50)),
        "Bearer " + "A" * 43, "SharedAccessSignature sig=" + "A" * 43, "Bearer \x00",
    ],
)  # fmt: skip
async def test_what_is_no_token_of_ours_lets_nobody_in(bench: Bench, header: str) -> None:
    await bench.call("token.create", name="backend", role="operator")
    assert bench.tokens.authenticate(header, now=NOW) is None


def test_a_stored_digest_is_no_token() -> None:
    assert read_authorization("Digest abc") is None


async def test_a_token_is_refused_at_its_expiry_second(bench: Bench, clock: Clock) -> None:
    text = (await bench.call("token.create", name="brief", role="viewer", days=0.5))["token"]
    assert bench.tokens.authenticate(text, now=NOW + DAY / 2 - 1) is not None
    assert bench.tokens.authenticate(text, now=NOW + DAY / 2) is None
    clock.now = NOW + DAY / 2
    assert (await bench.call("token.show", name="brief"))["expired"] is True


async def test_a_deleted_token_is_refused_at_once_and_its_name_is_free(bench: Bench) -> None:
    first = (await bench.call("token.create", name="backend", role="viewer"))["token"]
    with pytest.raises(ConflictError):
        await bench.call("token.create", name="backend", role="administrator")
    await bench.call("token.delete", name="backend")
    assert bench.tokens.authenticate(first, now=NOW) is None
    second = (await bench.call("token.create", name="backend", role="viewer"))["token"]
    assert secret_of(first) != secret_of(second)
    with pytest.raises(NotFoundError):
        await bench.call("token.delete", name="nobody")


async def test_tokens_outlive_a_restart_and_their_secrets_are_nowhere_on_the_disk(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        text = (await bench.call("token.create", name="backend", role="builder"))["token"]
        assert secret_of(text) not in str(bench.tokens.list())
    async with open_bench(tmp_path) as bench:
        token = bench.tokens.authenticate(text, now=NOW)
        assert token is not None
        assert token.role is Role.BUILDER
        assert "token" not in await bench.call("token.show", name="backend")
    for file in tmp_path.iterdir():  # noqa: ASYNC240 - a few little files
        assert secret_of(text).encode() not in file.read_bytes()


@pytest.mark.parametrize("name", ["with space", "a/b", "ä", "x" * 256])
async def test_a_name_that_the_log_could_not_hold_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(OperationError):
        await bench.call("token.create", name=name, role="viewer")


async def test_there_is_an_end_to_the_number_of_tokens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TOKENS == 1000
    monkeypatch.setattr("gateway.operations.tokens.MAX_TOKENS", 2)
    await bench.call("token.create", name="a", role="viewer")
    await bench.call("token.create", name="b", role="viewer")
    with pytest.raises(ConflictError):
        await bench.call("token.create", name="c", role="viewer")


# Roles


def documented_roles() -> dict[str, str]:
    """The table of verbs in docs/operators.md."""
    text = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
    section = text.partition("## What each role may do\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", section, re.MULTILINE)
    return {verb: role for role, verbs in rows for verb in re.findall(r"`([a-z_.]+)`", verbs)}


def test_the_page_says_what_each_role_may_do() -> None:
    assert documented_roles() == {name: str(verb.role) for name, verb in VERBS.items()}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_is_for_its_role_and_those_above(
    bench: Bench, verb: str, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does is for other tests: here nothing is asked but whether it is reached."""

    async def reached(*_: object) -> dict[str, bool]:
        return {"reached": True}

    monkeypatch.setattr(Verb, "check", lambda self, _: dict.fromkeys(self.arguments.model_fields))
    monkeypatch.setattr(Verb, "run", reached)
    asked = bench.operations.call(verb, {}, by=Actor(name="token/someone", role=role))
    if list(Role).index(role) >= list(Role).index(Role(documented_roles()[verb])):
        assert await asked == {"reached": True}
    else:
        with pytest.raises(ForbiddenError):
            await asked


@pytest.mark.parametrize(
    ("verb", "arguments", "needed"),
    [
        ("group.show", {"name": "G"}, Role.ADMINISTRATOR),
        ("enrollment.show", {"device_id": "d"}, Role.OPERATOR),
    ],
)
async def test_keys_are_for_fewer_than_what_they_belong_to(
    bench: Bench, verb: str, arguments: dict[str, str], needed: Role
) -> None:
    await bench.call("group.create", name="G", attestation="symmetricKey")
    await bench.call("enrollment.create", device_id="d", attestation="symmetricKey")
    for role in Role:
        someone = dataclasses.replace(bench, by=Actor(name="token/someone", role=role))
        assert "primaryKey" not in await someone.call(verb, **arguments)
        if role.includes(needed):
            assert "primaryKey" in await someone.call(verb, **arguments, keys=True)
        else:
            with pytest.raises(ForbiddenError) as caught:
                await someone.call(verb, **arguments, keys=True)
            assert str(needed) in caught.value.message


def test_a_role_has_every_right_of_the_ones_below_it() -> None:
    roles = list(Role)
    assert roles == ["viewer", "operator", "builder", "administrator"]
    for higher in roles:
        for lower in roles:
            assert higher.includes(lower) == (roles.index(higher) >= roles.index(lower))
