"""Every model of a checkout of a model repository (github.com/Azure/iot-plugandplay-models).

Collected only when GATEWAY_MODEL_REPOSITORY names the checkout (conftest.py).
"""

import os
from pathlib import Path

import orjson
import pytest

from gateway.modelrepo import ModelRepository, make_repository
from gateway.settings import ModelRepositorySettings
from gateway.templates.dtmi import repository_path
from gateway.templates.template import build_template, template_from_json

pytestmark = pytest.mark.slow


def models(checkout: Path) -> list[str]:
    """The DTMI of every model, from the file that its path says it is in."""
    found: list[str] = []
    for file in sorted(checkout.glob("dtmi/**/*.json")):
        if not file.name.endswith(".expanded.json"):
            document = orjson.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
            ids = [element["@id"] for element in (document if isinstance(document, list) else [document])]
            found += [dtmi for dtmi in ids if checkout / repository_path(dtmi) == file]
    return found


async def test_every_model_becomes_a_template_that_can_be_stored() -> None:
    checkout = Path(os.environ["GATEWAY_MODEL_REPOSITORY"])
    repository = make_repository(ModelRepositorySettings(directory=checkout))
    assert isinstance(repository, ModelRepository)
    found = models(checkout)
    for model_id in found:
        documents = await repository.fetch(model_id)
        assert documents is not None, model_id
        template = build_template(documents, model_id, source="repository")
        assert template_from_json(template.to_json(), model_id, source="repository") == template
    assert found
