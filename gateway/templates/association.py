"""Which template belongs to a device that announces a model. Pure.

IoT Central's order: a published template of that model, else one generated from the model repository, else Unassociated.
What an operator assigned stays, as long as the device goes on announcing the same model.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Association", "associate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """A device's new association. `template_id` None is Unassociated."""

    model_id: str
    template_id: str | None
    assigned_by: Literal["association", "operator"] | None


def associate(
    *,
    template_id: str | None,
    model_id: str | None,
    announced_model_id: str,
    discovered_template_id: str | None,
    assigned_by_operator: bool = False,
) -> Association | None:
    """What changes when a device with `template_id` and `model_id` announces a model; None if nothing does.

    `discovered_template_id` is what the catalog (published, then repository) has for the announced model.
    """
    if announced_model_id == model_id and (template_id is not None or discovered_template_id is None):
        return None
    if assigned_by_operator and model_id is None:
        # The operator chose before the device ever said what it is: its first announcement changes nothing.
        return Association(model_id=announced_model_id, template_id=template_id, assigned_by="operator")
    return Association(
        model_id=announced_model_id,
        template_id=discovered_template_id,
        assigned_by="association" if discovered_template_id is not None else None,
    )
