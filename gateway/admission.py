"""The only road to a registration.

    CONNECT ─ parse the login ─ who is it? ─ may it come in? ─ what do we know? ─ what is it? ─ Admitted
               dps/hub grammar   identity     enrollment        registry           templates

`admit` decides a CONNECT, `provision` a DPS register request. A CONNECT that changes nothing, as nearly all do, is
decided at once from memory (docs/architecture.md, law 3); any other may have to wait for a look-up or a commit, and
`gateway.eager.run_eagerly` steps it without a task. A refusal is a value and changes nothing. Where a registration
is new or changes, the answer comes only after the commit (law 2).
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.attempts import Judgement, Presented
from gateway.catalog import TemplateCatalog
from gateway.dps.grammar import DpsLogin
from gateway.dps.grammar import parse_username as parse_dps_username
from gateway.eager import run_eagerly
from gateway.enrollment.decide import Verified, decide
from gateway.enrollment.models import EnrollmentGroup, IndividualEnrollment, TpmAttestation
from gateway.groups import Groups
from gateway.hub.grammar import HubLogin
from gateway.hub.grammar import parse_username as parse_hub_username
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import SasToken, names_dps, names_hub
from gateway.intake import Intake
from gateway.log import get_logger
from gateway.refusals import Reason, Refused
from gateway.registry.device import Device, Status, is_device_id, transition
from gateway.registry.registry import DeviceEntry, Registry
from gateway.session import Dialect
from gateway.settings import Settings
from gateway.templates.association import Association, associate
from gateway.tpm_keys import TpmKeys

__all__ = ["Admission", "Admitted", "ConnectRequest"]

log = get_logger()

_MAX_MODEL_ID: Final = 512
_DPS_KEY_NAMES: Final = frozenset({None, "", "registration"})


class ConnectRequest(NamedTuple):
    """What a CONNECT says about who is there. `password` is a SAS token, or absent with a certificate.

    `client_id` is None if MQTT 5 leaves it to the gateway: then the user name says it alone.
    """

    client_id: str | None
    username: str | None
    password: bytes | None
    certificate: CertificateEvidence | None

    def __repr__(self) -> str:
        return f"ConnectRequest(client_id={self.client_id!r})"


class Admitted(NamedTuple):
    """A proven identity that may come in. `device` is None on DPS before the first registration.

    `expires_at` (unix seconds) is when the token, or a certificate of the chain, expires; the session must not outlive it.
    `enrollment`, of an outcome that had to wait, is what decided it, as it was then: see `Admission.holds`.
    """

    dialect: Dialect
    device_id: str
    verified: Verified
    device: Device | None
    expires_at: float | None
    enrollment: EnrollmentGroup | IndividualEnrollment | None = None


Login = DpsLogin | HubLogin


class Admission:
    """Decides CONNECTs and registrations with the groups, devices and templates in force."""

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        tpm_keys: TpmKeys,
        intake: Intake | None = None,
    ) -> None:
        self.intake = intake or Intake(settings.devices.storm, now=0.0)
        self._id_scope = settings.id_scope
        self._hosts = frozenset(host.lower() for host in settings.hosts)
        self._leeway_s = settings.provisioning.token_leeway_s
        self._extended_ids = settings.provisioning.extended_device_ids
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._tpm_keys = tpm_keys
        self.created = 0
        """Registrations that first connects have made."""

    def admit(
        self, request: ConnectRequest, *, now: float
    ) -> "Admitted | Refused | asyncio.Future[Admitted | Refused]":
        """Decide a CONNECT: the decision, or a future of it, which only counts if it `holds`. `now` is unix seconds.

        Raises `StoreError`, or the future does, if the store can't answer.
        """
        login = self._login(request)
        if isinstance(login, Refused):
            return login
        token = self._token(request, login)
        if isinstance(token, Refused):
            return token
        entry = self._registry.peek(_claimed_id(login))
        if entry is None:
            return run_eagerly(self._admit_unknown(login, token, request.certificate, now=now))
        return self._admit(login, token, request.certificate, entry, now=now)

    async def _admit_unknown(
        self, login: Login, token: SasToken | None, certificate: CertificateEvidence | None, *, now: float
    ) -> Admitted | Refused:
        """Of a device that is not in memory."""
        entry = await self._registry.fetch(_claimed_id(login))
        decided = self._admit(login, token, certificate, entry, now=now)
        if isinstance(decided, asyncio.Future):
            return await decided
        return self._resting_on(decided, entry)

    def _admit(
        self,
        login: Login,
        token: SasToken | None,
        certificate: CertificateEvidence | None,
        entry: DeviceEntry,
        *,
        now: float,
    ) -> "Admitted | Refused | asyncio.Future[Admitted | Refused]":
        """Hold the credential against what is known of the device."""
        device_id, device = _claimed_id(login), entry.device
        verified = self._verify(login, token, certificate, entry, now=now)
        if isinstance(verified, Refused):
            return verified
        if isinstance(login, DpsLogin):
            # DPS registers on the register request, which may announce a model; CONNECT only proves who asks.
            if device is not None and device.status is Status.BLOCKED:
                return Refused(Reason.DEVICE_BLOCKED)
            return Admitted(Dialect.DPS, device_id, verified, device, verified.expires_at)
        model_id = login.model_id
        if (
            device is not None
            and _is_settled(device, verified)
            and not _is_news(device, model_id, Dialect.HUB)
        ):
            if not self.intake.admit(verified.enrollment_group, now, is_known=True):
                return Refused(Reason.OVERLOADED)
            return Admitted(Dialect.HUB, device_id, verified, device, verified.expires_at)
        return run_eagerly(self._admit_changed(device_id, verified, entry, model_id, now=now))

    async def _admit_changed(
        self, device_id: str, verified: Verified, entry: DeviceEntry, model_id: str | None, *, now: float
    ) -> Admitted | Refused:
        """On the hub, what is new or has something to change."""
        device, enrollment = entry.device, self._enrollment(verified, entry)
        if device is not None and not self.intake.admit(verified.enrollment_group, now, is_known=True):
            return Refused(Reason.OVERLOADED)
        admitted = Admitted(Dialect.HUB, device_id, verified, device, verified.expires_at, enrollment)
        enrolled = await self._enroll(admitted, model_id, now=now)
        return enrolled if isinstance(enrolled, Refused) else admitted._replace(device=enrolled)

    def holds(self, outcome: Admitted | Refused) -> bool:
        """Whether an outcome that had to wait still rests on what is in force. If not, decide anew.

        Whoever takes a right away closes the sessions that rest on it. One that is about to open is not among them yet, so
        this is asked in the same turn of the loop in which it opens.
        """
        if isinstance(outcome, Refused):
            return outcome.reason is not Reason.ENROLLMENT_CHANGED
        entry, verified = self._registry.peek(outcome.device_id), outcome.verified
        return (
            entry is not None
            and entry.device is outcome.device
            and outcome.enrollment is not None
            and outcome.enrollment is self._enrollment(verified, entry)
            # The list that takes a certificate back may be another group's.
            and not self._groups.book.has_revoked(
                verified.enrollment_group, verified.key_slot, verified.issued
            )
        )

    def _enrollment(
        self, verified: Verified, entry: DeviceEntry
    ) -> EnrollmentGroup | IndividualEnrollment | None:
        """What lets the device in now, if it is what has verified it. A changed enrollment is another object."""
        if verified.enrollment_group is None:
            return entry.individual
        return self._groups.get(verified.enrollment_group) if entry.individual is None else None

    def _resting_on(self, outcome: Admitted | Refused, entry: DeviceEntry) -> Admitted | Refused:
        if isinstance(outcome, Refused):
            return outcome
        return outcome._replace(enrollment=self._enrollment(outcome.verified, entry))

    def renew(
        self, request: ConnectRequest, *, now: float
    ) -> "Admitted | Refused | asyncio.Future[Admitted | Refused]":
        """Decide a new token for a session that is open: as `admit` does, but for a device that must be registered, and
        without waiting in line. A future only counts if it `holds`. Raises `StoreError`, or the future does."""
        login = self._login(request)
        if isinstance(login, Refused):
            return login
        token = self._token(request, login)
        if isinstance(token, Refused):
            return token
        entry = self._registry.peek(_claimed_id(login))
        if entry is None:
            return run_eagerly(self._renew_unknown(login, token, now=now))
        return self._renew(login, token, entry, now=now)

    async def _renew_unknown(self, login: Login, token: SasToken | None, *, now: float) -> Admitted | Refused:
        """Of a device that is no longer in memory."""
        entry = await self._registry.fetch(_claimed_id(login))
        return self._resting_on(self._renew(login, token, entry, now=now), entry)

    def _renew(
        self, login: Login, token: SasToken | None, entry: DeviceEntry, *, now: float
    ) -> Admitted | Refused:
        verified = self._verify(login, token, None, entry, now=now)
        if isinstance(verified, Refused):
            return verified
        device = entry.device
        standing = None if device is None else _standing(device)
        if standing is not None:
            return standing
        dialect = Dialect.DPS if isinstance(login, DpsLogin) else Dialect.HUB
        return Admitted(dialect, _claimed_id(login), verified, device, verified.expires_at)

    async def provision(self, admitted: Admitted, model_id: str | None, *, now: float) -> Device | Refused:
        """Decide a DPS register request (or a poll): the assigned device, or why not. Raises `StoreError`.

        What `admitted` rests on is in force when this is called.
        """
        name = admitted.verified.enrollment_group
        group = None if name is None else self._groups.get(name)
        entry = self._registry.peek(admitted.device_id)
        if entry is None:
            entry = await self._registry.fetch(admitted.device_id)
        admitted = admitted._replace(device=entry.device, enrollment=group or entry.individual)
        return await self._enroll(admitted, model_id, now=now)

    def knows(self, device_id: str) -> bool:
        """Whether a device of that id is in memory. At an early refusal the store may not have been asked."""
        entry = self._registry.peek(device_id)
        return entry is not None and (entry.device is not None or entry.individual is not None)

    async def judge(self, presented: Presented, *, now: float) -> Judgement:
        """What `presented` would come to now, register request included. It changes nothing. Raises `StoreError`."""
        login = self._login(
            ConnectRequest(presented.client_id, presented.username, None, presented.certificate)
        )
        device_id = presented.client_id
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        if isinstance(login, Refused):
            return Judgement(login, None, device_id, entry.device, entry.individual)
        dialect = Dialect.DPS if isinstance(login, DpsLogin) else Dialect.HUB
        outcome = self._judge(presented, login, entry, now=now)
        if isinstance(outcome, Verified):
            if entry.device is not None:
                outcome = _standing(entry.device) or outcome
            elif not outcome.auto_approve:
                outcome = Refused(Reason.APPROVAL_PENDING, "it would be registered, and wait")
        return Judgement(outcome, dialect, device_id, entry.device, entry.individual)

    def _judge(
        self, presented: Presented, login: Login, entry: DeviceEntry, *, now: float
    ) -> Verified | Refused:
        token = presented.token
        if token is None and presented.certificate is None:
            return Refused(Reason.CREDENTIAL_MISSING)
        if isinstance(token, SasToken):
            token = self._of_login(token, login)
        if isinstance(token, Refused):
            return token
        return self._verify(login, token, presented.certificate, entry, now=now)

    # Who is it?

    def _login(self, request: ConnectRequest) -> Login | Refused:
        """The login that the user name claims, checked for what needs no credential."""
        if request.username is None:
            return Refused(Reason.USERNAME_MALFORMED, "no user name")
        login: Login | None = parse_dps_username(request.username) or parse_hub_username(request.username)
        match login:
            case None:
                return Refused(Reason.USERNAME_MALFORMED, f"user name {request.username[:80]!r}")
            case DpsLogin():
                if login.id_scope != self._id_scope:
                    return Refused(Reason.ID_SCOPE_UNKNOWN, f"ID scope {login.id_scope[:64]!r}")
            case HubLogin():
                if login.host.lower() not in self._hosts:
                    return Refused(Reason.HOST_UNKNOWN, f"host {login.host[:255]!r}")
                if login.module_id is not None:
                    return Refused(Reason.MODULE_UNSUPPORTED, f"module {login.module_id[:64]!r}")
        device_id = _claimed_id(login)
        if request.client_id is not None and device_id != request.client_id:
            # An empty one is of 3.1.1, where nothing gives the device another [MQTT-3.1.3-9].
            return Refused(
                Reason.CLIENT_ID_MISMATCH if request.client_id else Reason.CLIENT_ID_INVALID,
                f"client id {request.client_id[:64]!r}, user name {device_id[:64]!r}",
            )
        if not is_device_id(device_id, extended=self._extended_ids):
            return Refused(Reason.CLIENT_ID_INVALID)
        return login

    def _token(self, request: ConnectRequest, login: Login) -> SasToken | Refused | None:
        """The parsed token, if there is one, found to name this device; None if there is only a certificate."""
        if not request.password:
            return None if request.certificate is not None else Refused(Reason.CREDENTIAL_MISSING)
        try:
            text = request.password.decode("ascii")
        except UnicodeDecodeError:
            return Refused(Reason.TOKEN_MALFORMED, "the password is not ASCII")
        token = SasToken.parse(text)
        return token if isinstance(token, Refused) else self._of_login(token, login)

    def _of_login(self, token: SasToken, login: Login) -> SasToken | Refused:
        """The token, found to name the device of the login."""
        if isinstance(login, DpsLogin):
            if token.key_name not in _DPS_KEY_NAMES:
                return Refused(Reason.TOKEN_KEY_NAME_UNKNOWN, "skn is not `registration`")
            named = names_dps(token, self._id_scope, login.registration_id)
        else:
            if token.key_name:
                # Shared access policies are the hub owner's keys; devices have none.
                return Refused(Reason.TOKEN_KEY_NAME_UNKNOWN, "skn names a policy, this gateway has none")
            named = names_hub(token, self._hosts, login.device_id)
        return token if named else Refused(Reason.TOKEN_RESOURCE_MISMATCH, f"sr={token.resource[:160]!r}")

    # May it come in?

    def _verify(
        self,
        login: Login,
        token: SasToken | None,
        certificate: CertificateEvidence | None,
        entry: DeviceEntry,
        *,
        now: float,
    ) -> Verified | Refused:
        evidence = token if token is not None else certificate
        assert evidence is not None, "`_token` refuses a CONNECT without any credential"  # noqa: S101
        device_id, individual, challenge = _claimed_id(login), entry.individual, None
        if individual is not None and isinstance(login, DpsLogin):
            attestation = individual.attestation
            if isinstance(attestation, TpmAttestation):
                challenge = self._tpm_keys.accepted(device_id, attestation, now=now)
        return decide(
            device_id,
            evidence,
            individual=individual,
            groups=self._groups.book,
            known_group=entry.device.enrollment_group if entry.device is not None else None,
            now=now,
            leeway_s=self._leeway_s,
            tpm_challenge=challenge,
        )

    # What do we know, and what is it?

    async def _enroll(self, admitted: Admitted, model_id: str | None, *, now: float) -> Device | Refused:
        """The device's durable registration, made or brought up to date; or why it has none."""
        device, verified, announced_by = admitted.device, admitted.verified, admitted.dialect
        if model_id is not None and not _is_usable(model_id):
            model_id = None
        if device is None:
            registered = await self._register(admitted, model_id, now=now)
            if isinstance(registered, Refused):
                return registered
            device = registered
        standing = _standing(device)
        if standing is not None:
            return standing
        association = None
        if _is_news(device, model_id, announced_by):
            association = await self._association(device, model_id, announced_by)
        if association is None and _is_settled(device, verified):
            return device
        change = _change(verified, association, announced_by, now=now)
        device = await self._registry.amend(admitted.device_id, change)
        standing = _standing(device)
        if standing is not None:
            return standing
        if association is not None:
            _log_association(device)
        return device

    async def _register(self, admitted: Admitted, model_id: str | None, *, now: float) -> Device | Refused:
        group = admitted.verified.enrollment_group
        if not self.intake.begin_registration(group):
            return Refused(Reason.OVERLOADED)
        try:
            if not self.intake.admit(group, now, is_known=False):
                return Refused(Reason.OVERLOADED)
            return await self._register_now(admitted, model_id, now=now)
        finally:
            self.intake.end_registration(group)

    async def _register_now(
        self, admitted: Admitted, model_id: str | None, *, now: float
    ) -> Device | Refused:
        device_id, verified, enrollment = admitted.device_id, admitted.verified, admitted.enrollment
        template_id = await self._discover(model_id, device_id) if model_id else None
        # A model repository may have been asked, which takes its time: nobody registers by what is not in force any more.
        entry = self._registry.peek(device_id)
        if entry is None or enrollment is None or enrollment is not self._enrollment(verified, entry):
            return Refused(Reason.ENROLLMENT_CHANGED, "while it waited to be registered")
        new = Device.new(
            device_id,
            status=Status.PROVISIONED if verified.auto_approve else Status.WAITING,
            template_id=template_id,
            template_assigned_by="association" if template_id is not None else None,
            model_id=model_id,
            model_announced_by=admitted.dialect.value if model_id else None,
            enrollment_group=verified.enrollment_group,
            now=now,
        )
        device = await self._registry.register(new)
        if device is new:
            self.created += 1
            log.info(
                "registration.created", device_id=device_id, status=device.status, mechanism=verified.mechanism,
                group=verified.enrollment_group, template=template_id, model_id=model_id,
            )  # fmt: skip
            if model_id:
                _log_association(device)
        return device

    async def _association(
        self, device: Device, model_id: str | None, announced_by: Dialect
    ) -> Association | None:
        """What the announced model changes in the device's association, or None."""
        model_id = _model_in_force(device, model_id, announced_by)
        if model_id is None:
            return None
        template_id = await self._discover(model_id, device.id)
        return associate(
            template_id=device.template_id,
            model_id=device.model_id,
            announced_model_id=model_id,
            discovered_template_id=template_id,
            assigned_by_operator=device.template_assigned_by == "operator",
        )

    async def _discover(self, model_id: str, device_id: str) -> str | None:
        found = self._catalog.discover(model_id, asked_by=device_id)
        template = await found if isinstance(found, asyncio.Future) else found
        return template.id if template is not None else None


def _is_usable(model_id: str) -> bool:
    """A model id is stored and logged as it was announced, DTMI or not, within reason."""
    return len(model_id) <= _MAX_MODEL_ID and model_id.isprintable()


def _claimed_id(login: Login) -> str:
    return login.registration_id if isinstance(login, DpsLogin) else login.device_id


def _standing(device: Device) -> Refused | None:
    """What the device's status alone says."""
    match device.status:
        case Status.BLOCKED:
            return Refused(Reason.DEVICE_BLOCKED)
        case Status.WAITING:
            return Refused(Reason.APPROVAL_PENDING)
        case _:
            return None


def _is_settled(device: Device, verified: Verified) -> bool:
    """Whether the registration stays as it is, but for its model."""
    return device.status is Status.PROVISIONED and device.enrollment_group == verified.enrollment_group


def _is_news(device: Device, model_id: str | None, announced_by: Dialect) -> bool:
    """Whether the announced model may change the device's association."""
    model_id = _model_in_force(device, model_id, announced_by)
    return model_id is not None and (model_id != device.model_id or device.template_id is None)


def _model_in_force(device: Device, announced: str | None, announced_by: Dialect) -> str | None:
    """The model that counts: DPS's announcement wins over the hub user name's."""
    if announced is None or (announced_by is Dialect.HUB and device.model_announced_by == "dps"):
        return device.model_id
    return announced


def _change(
    verified: Verified, association: Association | None, announced_by: Dialect, *, now: float
) -> Callable[[Device], Device]:
    """What `Registry.amend` applies to the latest state of the device."""

    def change(device: Device) -> Device:
        if device.status is Status.REGISTERED:
            device = transition(device, "provision", now=now)
        if device.enrollment_group != verified.enrollment_group:
            device = device.replace(now=now, enrollment_group=verified.enrollment_group)
        if association is not None:
            device = device.replace(
                now=now,
                model_id=association.model_id,
                template_id=association.template_id,
                template_assigned_by=association.assigned_by,
                model_announced_by=announced_by.value,
            )
        return device

    return change


def _log_association(device: Device) -> None:
    if device.template_id is None:
        log.warning("template.missing", device_id=device.id, model_id=device.model_id)
    else:
        log.info(
            "template.associated", device_id=device.id, template=device.template_id, model_id=device.model_id
        )
