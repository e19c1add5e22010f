"""A target in words, and a text to begin each kind with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance.evals.target_content import KINDS

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "openai": {
        "kind": "openai",
        "base_url": "https://api.example.com/v1",
        "secret": "env:COUNTERSIGN_MODEL_KEY",
        "model": "",
        "messages": [
            {"role": "system", "content": "{{release.prompt_policy.system}}"},
            {"role": "user", "content": "{{input.text}}"},
        ],
        "parameters": {"temperature": 0},
        "price_in": "0.15",
        "price_out": "0.60",
        "concurrency": 4,
        "tries": 3,
        "budget": "5",
    },
    "http": {
        "kind": "http",
        "method": "POST",
        "url": "https://workflow.example.com/try",
        "secret": "env:COUNTERSIGN_WORKFLOW_KEY",
        "body": {"case": "{{input}}"},
        "paths": {
            "answer": "answer", "escalated": "escalated", "violations": "violations",
            "cost": "usage.cost", "tools": "tool_calls[].name",
        },
        "concurrency": 4,
        "seconds": 60,
    },
    "callable": {"kind": "callable"},
}  # fmt: skip


def in_words(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what a target does, line by line."""
    kind = content["kind"]
    said = [("Kind", KINDS[kind])]
    if kind == "openai":
        said += [
            ("Address", content["base_url"]),
            ("Model", content["model"] or "the one that the release declares"),
            ("Messages", " · ".join(message["role"] for message in content["messages"])),
            (
                "Price",
                f"{content['price_in']} in and {content['price_out']} out, per million tokens",
            ),
        ]
    elif kind == "http":
        said += [("Address", f"{content['method']} {content['url']}")]
    if kind != "callable":
        said.append(("Secret", content["secret"] or "none"))
    if content.get("paths"):
        said.append(("Read from the answer", ", ".join(sorted(content["paths"]))))
    tries = "once" if content["tries"] == 1 else f"up to {content['tries']} times"
    rate = f", at most {content['per_minute']:,} a minute" if content["per_minute"] else ""
    said += [
        ("How", f"{content['concurrency']} at a time{rate}, {tries}, {content['seconds']} s each"),
        ("Budget of a run", content["budget"] or "none"),
    ]
    return said
