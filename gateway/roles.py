"""Who operates the gateway, and what their role allows.

The roles are IoT Central's, each with all rights of the one before it: a *viewer* reads, an *operator* runs the
devices, a *builder* also publishes device templates, an *administrator* also decides who may come in (enrollment
groups) and who may operate (API tokens, the audit log). Which verb needs which role is said in one place, the table of
`gateway.operations`.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import ForbiddenError

__all__ = ["Actor", "Role"]


class Role(StrEnum):
    """The roles, from the least to the most."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    BUILDER = "builder"
    ADMINISTRATOR = "administrator"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what `other` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks for an operation. `name` is what the audit log says: `token/backend`, `local/root`."""

    name: str
    role: Role

    @classmethod
    def local(cls, user: str) -> "Actor":
        """Somebody at this machine: who may open the control socket or the state directory may do everything."""
        return cls(name=f"local/{user}", role=Role.ADMINISTRATOR)

    def require(self, role: Role, verb: str) -> None:
        """Raise `ForbiddenError` unless this actor may do what `role` may."""
        if not self.role.includes(role):
            raise ForbiddenError(
                f"{verb} needs the role {role}, and {self.name} is {self.role}",
                hint="use an API token with that role; an administrator makes one",
            )
