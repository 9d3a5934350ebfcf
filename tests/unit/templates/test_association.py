import pytest

from gateway.templates.association import Association, associate

OLD, NEW = "dtmi:com:example:Old;1", "dtmi:com:example:New;1"
OTHER = "dtmi:com:example:Other;1"


def associated(model_id: str, template_id: str) -> Association:
    return Association(model_id=model_id, template_id=template_id, assigned_by="association")


def unassociated(model_id: str) -> Association:
    return Association(model_id=model_id, template_id=None, assigned_by=None)


@pytest.mark.parametrize(
    ("template_id", "model_id", "announced", "discovered", "change"),
    [
        # a device's first announcement
        (None, None, NEW, NEW, associated(NEW, NEW)),
        (None, None, NEW, None, unassociated(NEW)),
        # the same model again
        (OLD, OLD, OLD, OLD, None),
        (None, OLD, OLD, None, None),
        (None, OLD, OLD, OLD, associated(OLD, OLD)),  # it was published since
        (OTHER, OLD, OLD, OLD, None),  # an operator's choice stays
        (OTHER, OLD, OLD, None, None),
        # new firmware, another model
        (OLD, OLD, NEW, NEW, associated(NEW, NEW)),
        (OLD, OLD, NEW, None, unassociated(NEW)),
        (OTHER, OLD, NEW, NEW, associated(NEW, NEW)),  # an operator's choice was for the old model
        (None, OLD, NEW, None, unassociated(NEW)),
    ],
)
def test_what_an_announced_model_changes(
    template_id: str | None,
    model_id: str | None,
    announced: str,
    discovered: str | None,
    change: Association | None,
) -> None:
    assert (
        associate(
            template_id=template_id,
            model_id=model_id,
            announced_model_id=announced,
            discovered_template_id=discovered,
        )
        == change
    )


def test_what_an_operator_chose_before_the_device_said_what_it_is_stays() -> None:
    change = associate(
        template_id=OTHER,
        model_id=None,
        announced_model_id=NEW,
        discovered_template_id=NEW,
        assigned_by_operator=True,
    )
    assert change == Association(model_id=NEW, template_id=OTHER, assigned_by="operator")
