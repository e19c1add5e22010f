"""Asking an OpenAI-compatible endpoint, well and ill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from governance.common.outbound import RefusedAddressError
from governance.evals.chat import CallError, Completion, PassingError, complete
from tests.evals.model_server import ModelServer, always, completion, model_server, scripted


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("COUNTERSIGN_MODEL_KEY", "sk-very-secret")
    with model_server(always("Paris")) as found:
        settings.OUTBOUND_ALLOWED = [found.origin]
        yield found


def ask(server: ModelServer, **changes: Any) -> Completion:
    wanted: dict[str, Any] = {
        "base_url": f"{server.origin}/v1", "secret": "env:COUNTERSIGN_MODEL_KEY", "model": "m",
        "messages": [{"role": "user", "content": "Capital of France?"}],
        "parameters": {"temperature": 0, "seed": 7}, "headers": {"X-Countersign-Release": "r1"},
        "seconds": 5.0, **changes,
    }  # fmt: skip
    return complete(**wanted)


def test_a_model_is_asked_with_the_secret_and_its_answer_is_kept_with_its_usage(
    server: ModelServer,
) -> None:
    said = ask(server)
    assert (said.text, said.model, said.fingerprint) == ("Paris", "model-2026-01-01", "fp_1")
    assert (said.prompt_tokens, said.completion_tokens) == (100, 20)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == "Bearer sk-very-secret"
    assert asked.headers["X-Countersign-Release"] == "r1"
    assert asked.body["messages"] == [{"role": "user", "content": "Capital of France?"}]
    assert (asked.body["model"], asked.body["seed"]) == ("m", 7)


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        ((429, {"Retry-After": "3"}, b"slow down"), PassingError, "429: slow down"),
        ((500, {}, b""), PassingError, "It answered 500."),
        ((401, {}, b"no key sk-very-secret here"), CallError, "401: no key … here"),
        ((302, {"Location": "http://169.254.169.254/"}, b""), CallError, "never followed"),
        ((200, {}, b"<html>"), CallError, "not a chat completion"),
        ((200, {}, b'{"choices": []}'), CallError, "not a chat completion"),
        ((200, {}, b'{"choices": [{"message": 3}]}'), CallError, "not a chat completion"),
        ((200, {}, b"[" * 100_000), CallError, "not a chat completion"),
        ((200, {}, b"x" * 5_000_000), CallError, "more than"),  # it would be as much again
        ((0, {}, b""), PassingError, "took longer than"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_whether_to_ask_again(
    server: ModelServer, reply: Any, kind: type[CallError], sentence: str
) -> None:
    server.behave = scripted(reply)
    with pytest.raises(CallError, match=sentence) as raised:
        ask(server, seconds=1.0 if reply[0] == 0 else 5.0)
    assert type(raised.value) is kind
    assert "very-secret" not in str(raised.value)
    if reply[0] == 429:
        assert raised.value.retry_after == 3  # type: ignore[attr-defined]


def test_an_address_behind_the_firewall_is_not_asked(server: ModelServer, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED = []
    with pytest.raises(RefusedAddressError):
        ask(server)
    assert not server.asked


def test_parts_and_tool_calls_are_read(server: ModelServer) -> None:
    message = {
        "content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}],
        "tool_calls": [{"type": "function", "function": {"name": "lookup", "arguments": "{}"}}],
    }
    server.behave = scripted(completion("", choices=[{"message": message}], usage=None))
    said = ask(server, secret="")
    assert (said.text, said.tools, said.prompt_tokens) == ("Paris", ("lookup",), None)
    assert "Authorization" not in server.asked[0].headers
