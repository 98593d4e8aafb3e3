"""The API against requests made from its own OpenAPI document: good ones, bad ones, and the edges between."""

import pytest
import schemathesis
from loopback import picture
from schemathesis.specs.openapi.checks import positive_data_acceptance

from miles import api, images
from miles.api_problems import MEDIA_TYPE
from miles.errors import ImageRefused
from miles.settings import Settings

KEY = "a key for the fuzzing"
#: What no schema can say: which text is the base64 of an image, which address leads to one, what came first.
BEYOND_THE_SCHEMA = {"image-refused": None, "invalid": "observed_before_published"}

app = api.create_app(chosen=Settings(MILES_API_KEYS=KEY, MILES_API_RATE=0, MILES_API_TIMEOUT=300))
schema = schemathesis.openapi.from_asgi(
    "/openapi.json",
    app,
    config=schemathesis.Config.from_dict({"seed": 7, "generation": {"max-examples": 100}}),
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other address leads to a picture."""

    def fetch(url: str) -> images.Image:
        if len(url) % 2:
            raise ImageRefused("Nobody is there.", "unreachable")
        return images.Image(picture(), "image/png", 64, 36)

    monkeypatch.setattr(images, "fetch", fetch)


@schema.parametrize()
def test_whatever_is_sent_the_answer_keeps_to_the_document_and_is_no_fault_of_the_server(case, no_network):
    response = case.call_and_validate(headers={"X-API-Key": KEY}, excluded_checks=[positive_data_acceptance])
    if response.status_code >= 400:
        assert response.headers["content-type"] == [MEDIA_TYPE]
    if response.status_code == 422 and case.meta is not None and case.meta.generation.mode.is_positive:
        problem = response.json()
        name = problem["type"].rpartition("/")[2]
        assert name in BEYOND_THE_SCHEMA, problem
        assert BEYOND_THE_SCHEMA[name] in (None, *(fault["code"] for fault in problem["errors"])), problem
