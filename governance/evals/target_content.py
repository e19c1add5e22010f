"""What an eval target may say: where a release is called, and how its answer is read. No Django
models here.

Three kinds: `callable` (a Python callable of EVAL_TARGETS), `openai` (an OpenAI-compatible
endpoint) and `http` (any JSON over HTTP, read by JMESPath).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import jmespath
from django.conf import settings
from jmespath.exceptions import JMESPathError

from governance.common import outbound, secret_references
from governance.common.canonical import canonical
from governance.common.errors import InvalidInputError

KINDS = {
    "callable": "A Python callable of EVAL_TARGETS",
    "openai": "An OpenAI-compatible endpoint",
    "http": "JSON over HTTP",
}
COMMON: dict[str, Any] = {
    "seconds": 60,  # for one call
    "concurrency": 4,  # calls at the same time
    "per_minute": 0,  # calls begun in a minute; 0: as many as it takes
    "tries": 3,
    "budget": "",  # of a run, in the workflow's currency; "": none
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "callable": {"kind": "callable", **COMMON, "seconds": 600, "concurrency": 1, "tries": 1},
    "openai": {
        "kind": "openai", "base_url": "", "secret": "", "model": "", "messages": [],
        "parameters": {}, "price_in": "0", "price_out": "0", "paths": {}, **COMMON,
    },
    "http": {
        "kind": "http", "method": "POST", "url": "", "secret": "", "secret_header": "Authorization",
        "headers": {}, "body": None, "paths": {}, **COMMON,
    },
}  # fmt: skip
# What may be read out of an answer, each by a JMESPath.
PATHS = ("answer", "escalated", "violations", "cost", "tools")
SET_BY_ITSELF = {"model", "messages", "stream", "n"}  # no parameters of a chat completion
METHODS = ("GET", "POST", "PUT")
MOST_MESSAGES = 50
LONGEST_CALL = 600  # seconds; a worker's task is killed after 15 minutes
LARGEST = 64 * 1024  # characters of the canonical JSON
LARGEST_BUDGET = Decimal(10) ** 7
SMALLEST = Decimal("1e-8")  # of any amount
_HOLE = re.compile(r"\{\{\s*((?:input|release)(?:\.[\w-]+)*)\s*\}\}")
_ANY_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}\Z")
_RESERVED = ("host", "content-length", "transfer-encoding", "connection", "x-countersign-release",
             "traceparent", "authorization")  # fmt: skip


def clean(content: Any) -> dict[str, Any]:
    """Return a target's content with every key there.

    Raises:
        InvalidInputError: in one sentence, with what is wrong.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInputError(f"The kind of a target is one of {', '.join(KINDS)}.")
    known = DEFAULTS[kind]
    if unknown := sorted(set(content) - set(known)):
        raise InvalidInputError(f"A target of this kind has no {unknown[0]!r}.")
    found = {**known, **content}
    if len(canonical(found)) > LARGEST:
        raise InvalidInputError(f"A target is at most {LARGEST // 1024} kB large.")
    _whole(found, "seconds", 1, LONGEST_CALL)
    _whole(found, "concurrency", 1, 32)
    _whole(found, "per_minute", 0, 60_000)
    _whole(found, "tries", 1, 10)
    if found["budget"] != "":
        found["budget"] = amount_of_money(found["budget"], "The budget", above=Decimal(0))
    if found["kind"] == "openai":
        _openai(found)
    elif found["kind"] == "http":
        _http(found)
    return found


def _openai(found: dict[str, Any]) -> None:
    _address(str(found["base_url"]))
    _secret(found["secret"])
    if not isinstance(found["model"], str) or len(found["model"]) > 200:
        raise InvalidInputError("The model is a name; empty: the one that the release declares.")
    messages = found["messages"]
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_MESSAGES:
        raise InvalidInputError(f"Write 1 to {MOST_MESSAGES} messages.")
    for message in messages:
        roles = ("system", "developer", "user", "assistant")
        if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
            raise InvalidInputError("A message has a role and a content.")
        if message["role"] not in roles or not isinstance(message["content"], str):
            raise InvalidInputError(f"A message's role is one of {', '.join(roles)}.")
    if not isinstance(found["parameters"], Mapping):
        raise InvalidInputError('Parameters are an object, such as {"temperature": 0}.')
    if taken := sorted(SET_BY_ITSELF & set(found["parameters"])):
        raise InvalidInputError(f"The parameter {taken[0]!r} is set by the target itself.")
    for name in ("price_in", "price_out"):
        found[name] = amount_of_money(found[name], "A price per million tokens")
    _holes([message["content"] for message in messages])
    _paths(found["paths"])


def _http(found: dict[str, Any]) -> None:
    if found["method"] not in METHODS:
        raise InvalidInputError(f"The method is one of {', '.join(METHODS)}.")
    _address(str(found["url"]))
    _secret(found["secret"])
    if not isinstance(found["headers"], Mapping):
        raise InvalidInputError('Headers are an object, such as {"X-Team": "support"}.')
    for name in (found["secret_header"], *found["headers"]):
        if not isinstance(name, str) or not _HEADER.match(name):
            raise InvalidInputError(f"{name!r} is no name of a header.")
    for name, value in found["headers"].items():
        if name.lower() in _RESERVED:
            raise InvalidInputError(f"The header {name} is set by Countersign itself.")
        if not isinstance(value, str) or not value.isprintable() or len(value) > 1_000:
            raise InvalidInputError(f"The header {name} needs a text of one line.")
    if found["secret_header"].lower() in set(_RESERVED) - {"authorization"}:
        raise InvalidInputError("The secret cannot stand in this header.")
    _holes(found["body"])
    _paths(found["paths"])


def _address(url: str) -> None:
    if not url:
        raise InvalidInputError("Say at which address the release answers.")
    if _ANY_HOLE.search(url):
        raise InvalidInputError("An address is fixed: what varies goes into the body.")
    outbound.check_url(url, allowed=settings.OUTBOUND_ALLOWED)


def _secret(reference: Any) -> None:
    if reference == "":
        return
    secret_references.check_reference(str(reference), folders=settings.SECRET_FOLDERS)


def _paths(paths: Any) -> None:
    if not isinstance(paths, Mapping) or set(paths) - set(PATHS):
        raise InvalidInputError(f"Paths are named {', '.join(PATHS)}.")
    for name, path in paths.items():
        if not isinstance(path, str) or len(path) > 500:
            raise InvalidInputError(f"The path of {name!r} is a JMESPath.")
        compiled(name, path)


def _holes(value: Any) -> None:
    """Every `{{…}}` names a part of the input or of the release."""
    for text in _texts(value):
        for hole in _ANY_HOLE.finditer(text):
            if not _HOLE.fullmatch(hole.group()):
                raise InvalidInputError(
                    f"{hole.group()[:60]} names nothing: write {{{{input.name}}}} or"
                    " {{release.slot.name}}."
                )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []


def fill(value: Any, facts: Mapping[str, Any]) -> Any:
    """Put facts into the holes of a template; nothing in a fact is looked at again.

    A text that is one hole and nothing else becomes the fact itself, of whatever JSON type.

    Raises:
        InvalidInputError: a fact is missing.
    """
    if isinstance(value, str):
        alone = _HOLE.fullmatch(value)
        if alone:
            return _fact(alone.group(1), facts)
        return _HOLE.sub(lambda hole: _words(_fact(hole.group(1), facts)), value)
    if isinstance(value, Mapping):
        return {key: fill(item, facts) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, facts) for item in value]
    return value


def check_release(value: Any, declared: Mapping[str, Any]) -> None:
    """Find a hole that this release cannot fill: here, once, and not in every case.

    Raises:
        InvalidInputError: a fact is missing.
    """
    for text in _texts(value):
        for hole in _HOLE.finditer(text):
            if hole.group(1).startswith("release"):
                _fact(hole.group(1), {"release": declared})


def _fact(path: str, facts: Mapping[str, Any]) -> Any:
    found: Any = facts
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            raise InvalidInputError(f"There is no {path}.")
        found = found[name]
    return found


def _words(fact: Any) -> str:
    return fact if isinstance(fact, str) else canonical(fact)


def compiled(name: str, path: str) -> Callable[[Any], Any]:
    """Return what reads one thing out of an answer.

    Raises:
        InvalidInputError: this is no JMESPath.
    """
    try:
        expression = jmespath.compile(path)
    except (JMESPathError, RecursionError) as error:
        raise InvalidInputError(
            f"The path of {name!r} is no JMESPath: {' '.join(str(error).split())[:120]}"
        ) from error
    return cast("Callable[[Any], Any]", expression.search)


def _whole(found: Mapping[str, Any], name: str, least: int, most: int) -> None:
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        said = name.replace("_", " ")
        raise InvalidInputError(f"{said.capitalize()}: a whole number from {least} to {most:,}.")


def amount_of_money(value: Any, what: str, *, above: Decimal | None = None) -> str:
    """Return an amount of money as text, so that no digit is lost.

    Raises:
        InvalidInputError: it is none, too large, or has more decimals than are kept.
    """
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= LARGEST_BUDGET or amount == above:
        raise InvalidInputError(f"{what} is an amount of money.")
    if amount != amount.quantize(SMALLEST):
        raise InvalidInputError(f"{what} has at most 8 decimals.")
    return f"{amount.normalize():f}"
