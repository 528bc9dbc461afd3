"""The OpenAPI document is valid and true: schemathesis sends requests derived from it, right and wrong ones, to a node."""
import collections
import json
import re
import subprocess
import urllib.request

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from member import Person
from programs import BINARY, HOST, Node, free_port

KEY = "key-of-the-tests-0123456789"
DOCUMENT = json.loads(subprocess.run([BINARY, "openapi"], check=True, capture_output=True).stdout)
EXAMPLES_PER_VERB = 15

# Rejections of requests that fit the document, for rules that a schema of JSON cannot express, or not in a way that
# generators of clients understand: the code, and a part of the message.
BEYOND_SCHEMAS = {
    "attachment_invalid": "",
    "conflate_invalid": "",  # bytes, and fields that exclude each other
    "event_invalid": "",
    "idempotency_key_reused": "",
    "target_missing": "no target",
    "no_log": "",  # which rooms have a log is a matter of the configuration
    "name_invalid": "255",  # bytes, where schemas count characters
    "field_invalid": "exclude|applies to",  # fields that depend on others
}

# Ids end in a checksum, for which the document has only a name. This one belonged to a socket.
schemathesis.openapi.format("socket-id", strategies.just("iqCTA_y7U0uCJSbXgUNU"))

CHECKS = {
    "negative_data_rejection": {"expected-statuses": [400, 401, 413, 422]},
    "positive_data_acceptance": {"enabled": False},  # see `accepts_what_fits`
}
schema = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict({"checks": CHECKS}))
outcomes = collections.defaultdict(collections.Counter)


@pytest.fixture(scope="module")
def node():
    internal = f"{HOST}:{free_port()}"
    node = Node(
        APP__KIND="relay",
        API__KEY=KEY,
        API__REQUESTS_PER_SECOND="100000",
        SERVER__INTERNAL_BIND=internal,
        AUTH__REVOCATION_LIMIT="100000",
        RECOVERY__NAMESPACES="/",  # so that rooms have logs
    )
    node.api = f"http://{internal}"
    yield node
    node.stop()


@pytest.fixture(scope="module")
def somebody(node):
    """Connects a client that is in the rooms of the examples, unless the last one is still connected."""
    last = None

    def connected():
        nonlocal last
        if last is None or not last.client.connected:
            last = Person(node.url)
            for room in ("news", "team:7"):
                last.join(room)
        return last

    yield connected
    if last:
        last.close()


def test_the_document_is_valid_and_the_node_serves_it(node):
    errors = list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())
    assert errors == []
    with urllib.request.urlopen(f"{node.api}/api/v1/openapi.json", timeout=30) as response:
        assert json.load(response) == DOCUMENT


def test_every_example_has_the_form_that_its_schema_describes():
    def content(operation):
        yield operation["requestBody"]["content"]["application/json"]
        for response in operation["responses"].values():
            yield response["content"]["application/json"]

    checked = 0
    for item in [*DOCUMENT["paths"].values(), *DOCUMENT["webhooks"].values()]:
        for described in content(item["post"]):
            validator = Draft202012Validator({**DOCUMENT, **described["schema"]})
            examples = [example["value"] for example in described.get("examples", {}).values()]
            if "example" in described:
                examples.append(described["example"])
            for example in examples:
                assert [error.message for error in validator.iter_errors(example)] == [], example
                checked += 1
    # A request and nine rejections of each verb, five webhooks and a response to them.
    assert checked == len(DOCUMENT["paths"]) * 10 + 6


def accepts_what_fits(context, response, case):
    """A request that fits the document is executed, unless it breaks a rule that is not in the document."""
    if not case.meta.generation.mode.is_positive or response.status_code in (200, 401):
        return
    error = response.json()["error"]
    pattern = BEYOND_SCHEMAS.get(error["code"])
    assert pattern is not None and re.search(pattern, error["message"]), f"{response.status_code} {error}"


@schema.parametrize()
@hypothesis.settings(max_examples=EXAMPLES_PER_VERB, deadline=None, derandomize=True, database=None)
def test_requests_derived_from_the_document_have_the_outcome_that_it_describes(case, node, somebody):
    somebody()
    headers = {"Authorization": f"Bearer {KEY}"}
    response = case.call(base_url=node.api, headers=headers)
    outcomes[case.operation.path][response.status_code] += 1
    case.validate_response(
        response,
        additional_checks=[accepts_what_fits],
        headers=headers,
        transport_kwargs={"base_url": node.api},
    )


def test_each_verb_was_executed_and_rejected(node):
    assert set(outcomes) == set(DOCUMENT["paths"])
    for path, statuses in outcomes.items():
        assert statuses[200] >= 3 and statuses[400] >= 3, (path, statuses)
    assert node.process.poll() is None
