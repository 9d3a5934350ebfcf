"""IoT Central's JSON, 2022-07-31: what comes in. (Azure/azure-rest-api-specs, iotcentral data plane.)

A member that IoT Central has and this gateway doesn't is left unread, as is one that is only for reading, so that what was
got can be put back. `None` means that a member was not given.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ApiTokenBody",
    "AttestationBody",
    "CertificateBody",
    "Collection",
    "CrlBody",
    "DeviceBody",
    "DeviceChangeBody",
    "DevicePatch",
    "GroupBody",
    "GroupPatch",
    "ProofBody",
    "SymmetricKeyBody",
    "TemplateBody",
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)


Name = Annotated[str, Field(min_length=1, max_length=255)]
Etag = Annotated[str, Field(min_length=1, max_length=70)]
Key = Annotated[str, Field(min_length=1, max_length=200)]
Certificate = Annotated[
    str, Field(min_length=1, max_length=64 * 1024, description="PEM, or base64 of PEM or DER.")
]
Object = dict[str, Any]


class Collection(BaseModel):
    """A page of a list."""

    value: list[Object]
    nextLink: str | None = None


class DeviceBody(_Body):
    displayName: Annotated[str, Field(min_length=1, max_length=148)] | None = None
    template: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    enabled: bool | None = None
    simulated: Literal[False] | None = Field(None, description="Devices are real here.")
    etag: Etag | None = None


class DevicePatch(DeviceBody):
    """`template: null` makes the device Unassociated."""


class SymmetricKeyBody(_Body):
    primaryKey: Key | None = None
    secondaryKey: Key | None = None


class X509CertificateBody(_Body):
    certificate: Certificate | None = None
    verified: bool | None = None


class X509CertificatesBody(_Body):
    primary: X509CertificateBody | None = None
    secondary: X509CertificateBody | None = None


class ClientCertificatesBody(_Body):
    clientCertificates: X509CertificatesBody | None = None


class SigningCertificatesBody(_Body):
    signingCertificates: X509CertificatesBody | None = None


class TpmBody(_Body):
    endorsementKey: Annotated[str, Field(min_length=1, max_length=1400)]


class AttestationBody(_Body):
    """Of one device."""

    type: Literal["symmetricKey", "x509", "tpm"]
    symmetricKey: SymmetricKeyBody | None = None
    x509: ClientCertificatesBody | None = None
    tpm: TpmBody | None = None
    etag: Etag | None = None


class GroupAttestationBody(_Body):
    type: Literal["symmetricKey", "x509"]
    symmetricKey: SymmetricKeyBody | None = None
    x509: SigningCertificatesBody | None = None


class GroupBody(_Body):
    displayName: Name
    attestation: GroupAttestationBody
    enabled: bool | None = None
    type: Literal["iot"] = Field("iot", description="IoT Edge is not served.")
    autoApprove: bool | None = Field(None, description="Not of IoT Central's API: its switch is elsewhere.")
    etag: Etag | None = None


class GroupAttestationPatch(_Body):
    type: Literal["symmetricKey", "x509"] | None = None
    symmetricKey: SymmetricKeyBody | None = None


class GroupPatch(_Body):
    displayName: Name | None = None
    enabled: bool | None = None
    autoApprove: bool | None = None
    attestation: GroupAttestationPatch | None = None
    etag: Etag | None = None


class CrlBody(_Body):
    """A CA's certificate revocation list, PEM or base64 of DER. IoT Central has none."""

    crl: Annotated[str, Field(min_length=1, max_length=1_000_000)]


class CertificateBody(_Body):
    """A CA."""

    certificate: Certificate
    verified: bool = False
    etag: Etag | None = None


class ProofBody(_Body):
    """What the CA signed."""

    certificate: Certificate


class TemplateBody(_Body):
    model_config = ConfigDict(populate_by_name=True)

    type: list[str] = Field(alias="@type", description="`ModelDefinition`, `DeviceModel`.")
    capabilityModel: Object
    displayName: Name | None = None
    etag: Etag | None = None


class RoleAssignmentBody(_Body):
    role: Annotated[str, Field(min_length=1, max_length=64)]


class ApiTokenBody(_Body):
    roles: Annotated[list[RoleAssignmentBody], Field(min_length=1, max_length=1)]
    expiry: (
        Annotated[str, Field(max_length=40, description="ISO 8601; a year from now if left out.")] | None
    ) = None


class DeviceChangeBody(BaseModel):
    """The arguments of `device.change`; with `device_ids` those devices, else those that the filter matches."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    action: Literal["approve", "reject", "block", "unblock", "assign", "delete"]
    device_ids: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=10_000)] | None
    ) = None
    assign_template: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    dry_run: bool = False
    status: Literal["waiting", "registered", "provisioned", "blocked"] | None = None
    template_id: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    model_id: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    group: Name | None = None
    unassociated: bool = False
    id_prefix: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tag: Annotated[str, Field(min_length=1, max_length=64)] | None = None
