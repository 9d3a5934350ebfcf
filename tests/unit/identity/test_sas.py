"""SAS tokens against the vectors of Microsoft's own SDKs, and against everything else."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.sas import (
    KeySlot,
    SasToken,
    derive_device_key,
    dps_resource,
    hub_resource,
    names_dps,
    names_hub,
    sign,
    verify,
)
from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey

NOW = 1_700_000_000
EXPIRY = 1_893_456_000
SCOPE = "0ne00ABCDEF"
HOSTS = frozenset({"gateway.example.com", "localhost"})

THERMOSTAT_GROUP_KEY = SymmetricKey(bytes(range(64)))
THERMOSTAT_KEY = SymmetricKey.from_base64("aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY=")
THERMOSTAT_DPS_TOKEN = (
    "SharedAccessSignature sr=0ne00ABCDEF%2Fregistrations%2Fthermostat-001"
    "&sig=WwuAPeu%2F6OSsRI7jQPstxusWDnG5pMDA0I7LWBCGQbU%3D&se=1893456000&skn=registration"
)
THERMOSTAT_HUB_TOKEN = (
    "SharedAccessSignature sr=gateway.example.com%2Fdevices%2Fthermostat-001"
    "&sig=mVXpSjgt6DCO5ajaZjuQktby60sIVnS3sNLY8XC03Eo%3D&se=1893456000"
)

# The group key, id and device key that Microsoft publishes in its DPS how-to, and what its SDKs sign with it.
PUBLISHED_GROUP_KEY = SymmetricKey.from_base64(
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
)
PUBLISHED_ID = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
PUBLISHED_KEY = SymmetricKey.from_base64("Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=")
PUBLISHED_SIGNATURES = [
    pytest.param(
        f"0ne00000000%2Fregistrations%2F{PUBLISHED_ID}",
        "OB2rTFarhRDi46kF8anD8hRSteVV2LsYm8aYZSu+/2c=",
        id="python-dps",
    ),
    pytest.param(
        f"0ne00000000%2fregistrations%2f{PUBLISHED_ID}",
        "3jHECao1f1P6o6KSZ/ZkGLNEPbFSsvw4FmoZS55tVwU=",
        id="c-dps",
    ),
    pytest.param(
        f"hub.example.test%2Fdevices%2F{PUBLISHED_ID}",
        "igax4kUYRuujphWEIYPGmGbrERgbCUiR0J18KUwm2/g=",
        id="python-hub",
    ),
    pytest.param(
        f"0ne00000000/registrations/{PUBLISHED_ID}",
        "NgNb9wgBLl2iCQSSkp6rQSGmbQxP0XIGkLkqiW8UR0s=",
        id="node-dps",
    ),
    pytest.param(
        f"hub.example.test%2fdevices%2f{PUBLISHED_ID}",
        "sDJgiR3990H0yS0O3buW2g+gN950/+02GNebzPwQG9s=",
        id="c-hub",
    ),
]


def parsed(text: str) -> SasToken:
    token = SasToken.parse(text)
    assert isinstance(token, SasToken), token
    return token


def refusal(text: str) -> Refused:
    refused = SasToken.parse(text)
    assert isinstance(refused, Refused)
    return refused


def token_for(resource: str, *, expiry: int = EXPIRY, key_name: str | None = None) -> SasToken:
    return parsed(sign(resource, THERMOSTAT_KEY, expiry, key_name))


# --- What real devices send


def test_device_key_of_a_group_is_the_one_that_central_computes() -> None:
    assert derive_device_key(THERMOSTAT_GROUP_KEY, "thermostat-001") == THERMOSTAT_KEY
    assert derive_device_key(PUBLISHED_GROUP_KEY, PUBLISHED_ID) == PUBLISHED_KEY


@pytest.mark.parametrize(
    ("token", "resource", "key_name"),
    [
        pytest.param(THERMOSTAT_DPS_TOKEN, dps_resource(SCOPE, "thermostat-001"), "registration", id="dps"),
        pytest.param(
            THERMOSTAT_HUB_TOKEN, hub_resource("gateway.example.com", "thermostat-001"), None, id="hub"
        ),
    ],
)
def test_token_of_the_protocol_is_accepted_and_reproduced(
    token: str, resource: str, key_name: str | None
) -> None:
    assert verify(parsed(token), (THERMOSTAT_KEY,), now=NOW) is KeySlot.PRIMARY
    assert sign(resource, THERMOSTAT_KEY, EXPIRY, key_name) == token
    assert parsed(token).key_name == key_name


@pytest.mark.parametrize(("resource", "signature"), PUBLISHED_SIGNATURES)
@pytest.mark.parametrize("encoded", [True, False], ids=["sig-encoded", "sig-raw"])
def test_token_of_every_sdk_is_accepted_however_it_writes_its_resource(
    resource: str, signature: str, encoded: bool
) -> None:
    sent = quote(signature, safe="") if encoded else signature
    token = parsed(f"SharedAccessSignature sr={resource}&sig={sent}&se={EXPIRY}")
    assert verify(token, (PUBLISHED_KEY,), now=NOW) is KeySlot.PRIMARY
    if "devices" in resource:
        assert names_hub(token, frozenset({"hub.example.test"}), PUBLISHED_ID)
    else:
        assert names_dps(token, "0ne00000000", PUBLISHED_ID)


def test_signature_does_not_carry_over_to_another_spelling_of_the_resource() -> None:
    respelled = THERMOSTAT_DPS_TOKEN.replace("%2Fregistrations%2F", "/registrations/")
    assert verify(parsed(respelled), (THERMOSTAT_KEY,), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)


@given(st.permutations(THERMOSTAT_DPS_TOKEN.removeprefix("SharedAccessSignature ").split("&")))
def test_fields_may_come_in_any_order(fields: list[str]) -> None:
    assert parsed("SharedAccessSignature " + "&".join(fields)) == parsed(THERMOSTAT_DPS_TOKEN)


@pytest.mark.parametrize(
    ("suffix", "key_name"),
    [("", None), ("&skn=", ""), ("&skn=registration", "registration"), ("&skn=a%2Fb", "a/b")],
)
def test_key_name_is_absent_empty_or_decoded(suffix: str, key_name: str | None) -> None:
    assert parsed(THERMOSTAT_HUB_TOKEN + suffix).key_name == key_name


def test_plus_is_never_a_space() -> None:
    token = token_for("0ne00ABCDEF/registrations/a+b")
    assert token.resource == "0ne00ABCDEF/registrations/a+b"


# --- Keys and time


def test_secondary_key_is_as_good_as_the_primary() -> None:
    other = SymmetricKey(b"o" * 32)
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert verify(token, (THERMOSTAT_KEY, other), now=NOW) is KeySlot.PRIMARY
    assert verify(token, (other, THERMOSTAT_KEY), now=NOW) is KeySlot.SECONDARY
    assert verify(token, (THERMOSTAT_KEY, THERMOSTAT_KEY), now=NOW) is KeySlot.PRIMARY


def test_token_of_a_foreign_key_is_refused_and_no_keys_admit_nobody() -> None:
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert verify(token, (SymmetricKey(b"o" * 32),), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)
    assert verify(token, (), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)


def test_group_key_itself_signs_no_device_in() -> None:
    token = parsed(sign(dps_resource(SCOPE, "thermostat-001"), THERMOSTAT_GROUP_KEY, EXPIRY))
    assert verify(token, (THERMOSTAT_KEY,), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)


@pytest.mark.parametrize("changed", ["sr=0ne00ABCDEG", "thermostat-002", "se=1893456001"])
def test_changed_token_is_refused(changed: str) -> None:
    original = {
        "sr=0ne00ABCDEG": "sr=0ne00ABCDEF",
        "thermostat-002": "thermostat-001",
        "se=1893456001": "se=1893456000",
    }
    token = parsed(THERMOSTAT_DPS_TOKEN.replace(original[changed], changed))
    assert verify(token, (THERMOSTAT_KEY,), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)


def test_token_is_refused_at_its_expiry_second() -> None:
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert verify(token, (THERMOSTAT_KEY,), now=EXPIRY - 0.001) is KeySlot.PRIMARY
    refused = verify(token, (THERMOSTAT_KEY,), now=EXPIRY)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.TOKEN_EXPIRED


def test_leeway_for_differing_clocks_extends_a_token() -> None:
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert verify(token, (THERMOSTAT_KEY,), now=EXPIRY + 299, leeway_s=300) is KeySlot.PRIMARY
    late = verify(token, (THERMOSTAT_KEY,), now=EXPIRY + 300, leeway_s=300)
    assert late == Refused(Reason.TOKEN_EXPIRED, "expired 300 s ago")


def test_expired_token_of_a_foreign_key_is_not_told_that_it_expired() -> None:
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert verify(token, (SymmetricKey(b"o" * 32),), now=EXPIRY + 1) == Refused(
        Reason.TOKEN_SIGNATURE_INVALID
    )


# --- Whose token is it?


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        ("0ne00ABCDEF%2Fregistrations%2Fmill-1", True),
        ("0ne00ABCDEF/registrations/mill-1", True),
        ("0ne00ABCDEF%2fregistrations/mill%2D1", True),
        ("0ne00OTHER%2Fregistrations%2Fmill-1", False),
        ("0ne00ABCDEF%2Fregistrations%2Fmill-2", False),
        ("0ne00ABCDEF%2Fregistrations%2Fmill-10", False),
        ("0ne00ABCDEF%2Fregistrations%2FMILL-1", False),
        ("0ne00ABCDEF%2Fregistrations", False),
        ("0ne00ABCDEF", False),
        ("0ne00ABCDEF%252Fregistrations%252Fmill-1", False),
        ("0ne00ABCDEF%2Fdevices%2Fmill-1", False),
        ("gateway.example.com%2Fdevices%2Fmill-1", False),
    ],
)
def test_dps_token_is_for_one_registration_in_one_scope(resource: str, named: bool) -> None:
    assert names_dps(token_for(resource), SCOPE, "mill-1") is named


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        ("gateway.example.com%2Fdevices%2Fmill-1", True),
        ("Gateway.Example.COM%2fdevices%2fmill-1", True),
        ("localhost/devices/mill-1", True),
        ("gateway.example.com%2Fdevices%2Fmill-1%2Fapi-version%3D2016-11-14", True),
        ("gateway.example.com/devices/mill-1/api-version=2016-11-14", True),
        ("elsewhere.example.com%2Fdevices%2Fmill-1", False),
        ("gateway.example.com%2Fdevices%2Fmill-10", False),
        ("gateway.example.com%2Fdevices%2Fmill", False),
        ("gateway.example.com%2Fdevices%2FMILL-1", False),
        ("gateway.example.com%2FDevices%2Fmill-1", False),
        ("gateway.example.com%2Fdevices", False),
        ("gateway.example.com", False),
        ("gateway.example.com%2Fdevices%2Fmill-1%2Fmodules%2Fm", False),
        ("%2Fdevices%2Fmill-1", False),
        ("0ne00ABCDEF%2Fregistrations%2Fmill-1", False),
    ],
)
def test_hub_token_is_for_one_device_on_one_of_our_names(resource: str, named: bool) -> None:
    assert names_hub(token_for(resource), HOSTS, "mill-1") is named


# --- What is no token

SIG = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SharedAccessSignature",
        "SharedAccessSignature ",
        "sharedaccesssignature sr=a&sig=b&se=1",
        f"Bearer sr=a&sig={SIG}&se=1",
        f"SharedAccessSignature  sr=a&sig={SIG}&se=1",
        f"SharedAccessSignature sr=a&sig={SIG}",
        f"SharedAccessSignature sr=a&se=1&skn={SIG}",
        f"SharedAccessSignature sig={SIG}&se=1",
        f"SharedAccessSignature sr=&sig={SIG}&se=1",
        "SharedAccessSignature sr=a&sig=&se=1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1.5",
        f"SharedAccessSignature sr=a&sig={SIG}&se=-1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=+1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1_0",
        f"SharedAccessSignature sr=a&sig={SIG}&se= 1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=0x10",
        f"SharedAccessSignature sr=a&sig={SIG}&se=\u0661",
        f"SharedAccessSignature sr=a&sig={SIG}&se=%31",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1893456000000",
        f"SharedAccessSignature sr=a&sig={SIG}&se={'9' * 3000}",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&sr=b",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&se=1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&skn=&skn=",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&x=1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&",
        f"SharedAccessSignature sr=a&&sig={SIG}&se=1",
        f"SharedAccessSignature sr&sig={SIG}&se=1",
        f"SharedAccessSignature SR=a&sig={SIG}&se=1",
        f"SharedAccessSignature sr=%FF&sig={SIG}&se=1",
        f"SharedAccessSignature sr=a&sig={SIG}&se=1&skn=%C3",
        f"SharedAccessSignature sr=\u00e9&sig={SIG}&se=1",
        f"SharedAccessSignature sr=\ud800&sig={SIG}&se=1",
        f"SharedAccessSignature sr={'a' * 4096}&sig={SIG}&se=1",
    ],
)
def test_what_is_no_token_is_refused_as_malformed(text: str) -> None:
    assert refusal(text).reason is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "signature",
    [
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        SIG.rstrip("="),
        SIG[:-2] + "\n=",
        "_" * 43 + "=",
        "%ZZ" + SIG,
        "%FF" + SIG,
        "not base64 at all",
    ],
)
def test_signature_that_is_no_hmac_is_refused_as_malformed(signature: str) -> None:
    assert refusal(f"SharedAccessSignature sr=a&sig={signature}&se=1").reason is Reason.TOKEN_MALFORMED


def test_four_kilobytes_are_read_and_no_more() -> None:
    start, end = "SharedAccessSignature sr=", f"&sig={SIG}&se=1"
    longest = start + "a" * (4096 - len(start) - len(end)) + end
    assert isinstance(SasToken.parse(longest), SasToken)
    assert refusal(longest + "0").reason is Reason.TOKEN_MALFORMED


def test_no_token_or_refusal_shows_a_signature() -> None:
    token = parsed(THERMOSTAT_DPS_TOKEN)
    assert "WwuAPeu" not in repr(token)
    assert repr(token.signature) not in repr(token)
    broken = THERMOSTAT_DPS_TOKEN.replace("&se=", "&sx=")
    assert "WwuAPeu" not in repr(SasToken.parse(broken))


ANY_TEXT = st.text(st.characters())  # lone surrogates included
TOKEN_LIKE = st.lists(
    st.builds(
        "{}={}".format,
        st.sampled_from(["sr", "sig", "se", "skn", "x"]),
        st.one_of(ANY_TEXT, st.sampled_from([SIG, "1893456000", "%", "%2", "%2F", "%ff", "a%00"])),
    ),
    max_size=6,
).map(lambda fields: "SharedAccessSignature " + "&".join(fields))


@given(st.one_of(ANY_TEXT, TOKEN_LIKE))
def test_any_text_is_a_token_or_a_refusal_and_a_token_can_be_judged(text: str) -> None:
    token = SasToken.parse(text)
    if isinstance(token, SasToken):
        outcome = verify(token, (THERMOSTAT_KEY, PUBLISHED_KEY), now=NOW)
        assert isinstance(outcome, Refused)
        assert not names_dps(token, SCOPE, "thermostat-001")
        assert not names_hub(token, HOSTS, "thermostat-001")
    else:
        assert token.reason is Reason.TOKEN_MALFORMED


@given(
    device_id=st.from_regex(r"[A-Za-z0-9\-]{1,128}", fullmatch=True),
    key=st.binary(min_size=16, max_size=64).map(SymmetricKey),
    expiry=st.integers(min_value=NOW + 1, max_value=10**12 - 1),
    key_name=st.one_of(st.none(), st.just(""), st.just("registration")),
)
def test_what_is_signed_verifies_under_its_key_and_names_its_device(
    device_id: str, key: SymmetricKey, expiry: int, key_name: str | None
) -> None:
    dps = parsed(sign(dps_resource(SCOPE, device_id), key, expiry, key_name))
    assert verify(dps, (key,), now=NOW) is KeySlot.PRIMARY
    assert names_dps(dps, SCOPE, device_id)
    assert (dps.expiry, dps.key_name) == (expiry, key_name)
    hub = parsed(sign(hub_resource("Localhost", device_id), key, expiry))
    assert verify(hub, (key,), now=NOW) is KeySlot.PRIMARY
    assert names_hub(hub, HOSTS, device_id)


def _signed_part(token: SasToken) -> tuple[str, str]:
    return token.resource_as_sent, token.expiry_as_sent


@given(
    st.integers(min_value=0, max_value=255),
    st.sampled_from([THERMOSTAT_DPS_TOKEN, THERMOSTAT_HUB_TOKEN]),
    st.data(),
)
def test_one_changed_character_admits_nobody_else(code: int, text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    changed = SasToken.parse(text[:at] + chr(code) + text[at + 1 :])
    if isinstance(changed, Refused) or _signed_part(changed) == _signed_part(parsed(text)):
        return  # the signature's or the key name's spelling changed at most
    assert verify(changed, (THERMOSTAT_KEY,), now=NOW) == Refused(Reason.TOKEN_SIGNATURE_INVALID)
