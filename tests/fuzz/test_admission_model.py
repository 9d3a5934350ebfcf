"""A model of who may be in by a SAS token, and the gateway held to it: both versions of MQTT, new keys, tokens renewed."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from gateway import mqtt
from gateway.secrets import SymmetricKey
from tests.fuzz.machine import DEVICE_IDS, SLOTS, GatewayMachine, examples
from tests.support.wired import hub_connect, hub_token

FOREIGN = SymmetricKey(bytes(32))

GROUPS = st.sampled_from(["open", "closed"])
KEYS = st.sampled_from(["good", "good", "good", "old", "foreign"])
LEVELS = st.sampled_from([4, mqtt.MQTT_5_LEVEL])


class AdmissionMachine(GatewayMachine):
    """Two SAS groups: who comes by `closed` waits for approval."""

    groups = ("open", "closed")
    approving = frozenset({"open"})

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[tuple[str, str], SymmetricKey] = {}
        self.old_keys: dict[str, SymmetricKey] = {}

    def make_groups(self) -> None:
        for name in self.groups:
            auto_approve = name in self.approving
            self.call("group.create", name=name, attestation="symmetricKey", auto_approve=auto_approve)
            self._learn_keys(name)

    def _learn_keys(self, group: str) -> None:
        shown = self.call("group.show", name=group, keys=True)
        for slot in ("primary", "secondary"):
            self.keys[group, slot] = SymmetricKey.from_base64(shown[f"{slot}Key"])

    def _key(self, group: str, slot: str, key: str) -> SymmetricKey:
        return {"good": self.keys[group, slot], "old": self.old_keys.get(group, FOREIGN), "foreign": FOREIGN}[
            key
        ]

    @rule(device=st.sampled_from(DEVICE_IDS), group=GROUPS, slot=SLOTS, key=KEYS, level=LEVELS)
    def device_connects(self, device: str, group: str, slot: str, key: str, level: int) -> None:
        connect = hub_connect(device, self._key(group, slot, key), level=level, now=self.now)
        self.connect(self.new(group=group, slot=slot, level=level, proof=key == "good"), connect)

    @precondition(lambda self: self._who_can_renew())
    @rule(data=st.data(), group=GROUPS, slot=SLOTS, key=KEYS)
    def device_renews_its_token(self, data: st.DataObject, group: str, slot: str, key: str) -> None:
        device = data.draw(st.sampled_from(self._who_can_renew()))
        live = self.live[device]
        token = hub_token(device, self._key(group, slot, key), now=self.now)
        # Its device is provisioned and in memory: nothing is stored for a renewal.
        expected = key == "good" and self.model.enabled[group]

        async def renew() -> None:
            words = mqtt.Properties(authentication_method="SAS", authentication_data=token)
            live.channel.answered.clear()
            live.send(mqtt.Auth(reason=0x19, properties=words))
            await live.channel.answered.wait()

        self.runner.run(renew())
        if expected:
            assert isinstance(live.answers[-1], mqtt.Auth)
            live.group, live.slot = group, slot
        else:
            assert isinstance(live.answers[-1], mqtt.Disconnect)
            self.expect_closed([device])

    def _who_can_renew(self) -> list[str]:
        return sorted(name for name, live in self.live.items() if live.level == mqtt.MQTT_5_LEVEL)

    @precondition(lambda self: self.model.store_works)
    @rule(group=GROUPS, slot=SLOTS)
    def operator_regenerates_a_key(self, group: str, slot: str) -> None:
        self.old_keys[group] = self.keys[group, slot]
        self.call("group.regenerate_key", name=group, slot=slot)
        self._learn_keys(group)
        self.expect_closed(
            [name for name, live in self.live.items() if (live.group, live.slot) == (group, slot)]
        )


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = examples()
