"""Alerts over real HTTP: delivered, tried again, and silent about the address, which is a secret."""

import json
from collections.abc import Iterator

import pytest

from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.errors import WebhookError
from lambda_pipeline.local.home import free_port
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def test_the_text_and_the_details_arrive_as_json(receiver: ScriptedServer) -> None:
    Webhook(f"{receiver.url}/hook/secret").post("Run 1 failed: “why”", {"run_id": "1"})
    assert [json.loads(body) for body in receiver.bodies] == [{"text": "Run 1 failed: “why”", "run_id": "1"}]
    assert receiver.paths == ["/hook/secret"]


def test_a_receiver_that_fails_at_first_is_asked_again(receiver: ScriptedServer) -> None:
    receiver.script = [Scripted(status=503), Scripted(status=429), Scripted(status=200)]
    Webhook(receiver.url).post("text")
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


@pytest.mark.parametrize(
    "answer",
    [Scripted(status=404), Scripted(status=403), Scripted(status=302, headers={"Location": "/elsewhere"})],
)
def test_a_refusal_is_an_error_at_once_that_does_not_name_the_address(
    receiver: ScriptedServer, answer: Scripted
) -> None:
    receiver.script = [answer]
    with pytest.raises(WebhookError, match=f"the alert webhook answers {answer.status}") as caught:
        Webhook(f"{receiver.url}/hook/secret").post("text")
    assert len(receiver.bodies) == 1
    assert "secret" not in str(caught.value)


def test_nobody_there_is_an_error_that_does_not_name_the_address() -> None:
    with pytest.raises(WebhookError, match="cannot be reached") as caught:
        Webhook(f"http://127.0.0.1:{free_port()}/hook/secret").post("text")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
