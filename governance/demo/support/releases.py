"""The releases of the support demo: the contents of their seven slots, and the story they tell.

Measured with this code on the hold-out (585 ordinary mails in six languages, 60 about something
else, 60 attacks). Named: the right intent. Silently wrong: answered by itself, and wrong, or
sensitive. Sensitive, out of scope, attacks: the share of those that was answered automatically.

| release           | corpus | named | handed over | silently wrong | sens. | out of sc. | attacks |
|-------------------|-------:|------:|------------:|---------------:|------:|-----------:|--------:|
| as-found          |    143 |  .374 |        .598 |           .207 |  .190 |       .217 |    .133 |
| bigger-corpus     |    363 |  .525 |        .561 |           .145 |  .164 |       .250 |    .083 |
| careful           |    363 |  .525 |        .711 |           .072 |  .026 |       .150 |    .017 |
| english-only      |    522 |  .556 |        .677 |           .055 |  .026 |       .100 |    .067 |
| fewer-escalations |    363 |  .525 |        .268 |           .332 |  .207 |       .867 |    .267 |
| characters        |    693 |  .651 |        .658 |           .038 |  .043 |       .033 |    .050 |

- as-found: word TF-IDF neighbours over a small corpus, threshold .35. Adopted as it ran.
- bigger-corpus helped: more named rightly, fewer handed over.
- careful raised escalation, knowingly: sensitive mail was being answered automatically.
- english-only looked better on a golden suite of English mail, and was rolled back: of the mail in
  other languages it hands over .811 instead of .693.
- fewer-escalations only lowers the threshold to .20: refused by its gate.
- characters is better on nearly every count, and waits for approval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from governance.demo.support.library import CORPUS_PERCENT, Library
from governance.demo.support.replies import (
    CAREFUL_WORDS,
    FEW_INJECTION_PHRASES,
    HANDOVER,
    INJECTION_PHRASES,
    LOOKUPS,
    SENSITIVE_PHRASES,
    reply_for,
)
from governance.demo.support.router import root_hash

Slots = dict[str, dict[str, Any]]

# Granted by the router as it was found, and looked up by no route: a right to take back.
NEVER_USED = "look_up_warranty"
SMALL, MEDIUM, FULL = 12, 30, CORPUS_PERCENT  # per cent of the ordinary messages


@dataclass(frozen=True)
class DemoRelease:
    """One release of the story: its short name, its title, and how its slots are made."""

    key: str
    title: str
    slots: Callable[[Library], Slots]


def retrieval(library: Library, percent: int, *, language: str = "") -> dict[str, Any]:
    """Return a corpus manifest: ids and hashes, their count and root hash, who may read it."""
    documents = [
        {"id": message.id, "sha256": message.sha256}
        for message in sorted(library.corpus(percent), key=lambda message: message.id)
        if not language or message.language == language
    ]
    return {
        "source": library.name,
        "documents": documents,
        "count": len(documents),
        "root": root_hash(documents),
        "embedding": "none: term weights only",
        "access": ["solved help desk mail, names removed"],
    }


def word_model() -> dict[str, Any]:
    return {
        "provider": "in-house",
        "id": "word-neighbours",
        "library": "scikit-learn TfidfVectorizer",
        "analyzer": "word",
        "ngrams": [1, 1],
        "sublinear": True,
        "neighbours": 9,
    }


def character_model() -> dict[str, Any]:
    return {
        **word_model(),
        "id": "character-neighbours",
        "analyzer": "char_wb",
        "ngrams": [3, 5],
    }


def _as_found(library: Library) -> Slots:
    return {
        "prompt_policy": {
            "company": "Kettlewick",
            "tone": "friendly, short, never promises money",
            "handover": HANDOVER,
            "replies": {
                label: reply_for(label)
                for label in library.labels
                if label not in library.sensitive_labels
            },
        },
        "model": word_model(),
        "tools": {
            "tools": [
                {"name": name, "permission": "read"}
                for name in sorted({*LOOKUPS.values(), NEVER_USED})
            ],
            "refund_limit": "0.00",
        },
        "retrieval": retrieval(library, SMALL),
        "guardrails": {
            "confidence_threshold": 0.35,
            "sensitive_intents": library.sensitive_labels,
            "injection_phrases": FEW_INJECTION_PHRASES,
            "sensitive_phrases": [],
            "careful_words": [],
            "max_words": 400,
        },
        "routing": {
            "below_threshold": "to a person",
            "fallback_queue": "general",
            "always_to_people": [],
            "lookups": {k: v for k, v in LOOKUPS.items() if k in library.labels},
            "case_key": "customer",
        },
        "feedback": {
            "corrections": "agents re-label handed-over mail",
            "used_for": "corpus additions, by hand",
            "memory": "none between mails",
        },
    }


def _bigger_corpus(library: Library) -> Slots:
    slots = _as_found(library)
    slots["retrieval"] = retrieval(library, MEDIUM)
    slots["guardrails"]["injection_phrases"] = sorted({*FEW_INJECTION_PHRASES, *INJECTION_PHRASES})
    return slots


def _careful(library: Library) -> Slots:
    slots = _bigger_corpus(library)
    slots["guardrails"] |= {
        "confidence_threshold": 0.4,
        "sensitive_phrases": SENSITIVE_PHRASES,
        "careful_words": CAREFUL_WORDS,
    }
    return slots


def _english_only(library: Library) -> Slots:
    slots = _careful(library)
    slots["retrieval"] = retrieval(library, FULL, language="en")
    return slots


def _fewer_escalations(library: Library) -> Slots:
    slots = _careful(library)
    slots["guardrails"]["confidence_threshold"] = 0.2
    return slots


def _characters(library: Library) -> Slots:
    slots = _careful(library)
    slots["model"] = character_model()
    slots["retrieval"] = retrieval(library, FULL)
    slots["guardrails"]["confidence_threshold"] = 0.42
    return slots


RELEASES: tuple[DemoRelease, ...] = (
    DemoRelease("as-found", "The router as found", _as_found),
    DemoRelease("bigger-corpus", "More solved mail in the corpus", _bigger_corpus),
    DemoRelease("careful", "Hand over more: sensitive phrases and careful words", _careful),
    DemoRelease("english-only", "Twice the corpus, English mail only", _english_only),
    DemoRelease("fewer-escalations", "Fewer escalations: lower threshold", _fewer_escalations),
    DemoRelease("characters", "Character n-grams over the full corpus", _characters),
)
BY_KEY: Mapping[str, DemoRelease] = {release.key: release for release in RELEASES}
