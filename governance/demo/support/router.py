"""The support router: nearest neighbours over a corpus, guardrails, and the reply. No Django."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from governance.demo.support.helpdesk import cost_of
from governance.demo.support.library import Library, LibraryError, Message, open_library
from governance.demo.support.policy import broken_rules

BATCH = 512  # messages compared with the corpus at once: bounds memory at 10,000 documents


class ReleaseError(ValueError):
    """A release that this router cannot run, in one sentence."""


@dataclass(frozen=True)
class Decision:
    """What the router did with one message.

    `answer` is the intent it named, also for a mail it hands over: it picks the queue.
    `cost` is USD, `latency_ms` milliseconds of wall time, `confidence` 0 to 1.
    """

    answer: str
    confidence: float
    escalated: bool
    reason: str
    reply: str
    tools: tuple[str, ...]
    violations: tuple[str, ...]
    cost: Decimal
    latency_ms: float


class Router:
    """One release, ready to answer."""

    def __init__(self, components: Mapping[str, Mapping[str, Any]], library: Library) -> None:
        try:
            self._guardrails = components["guardrails"]
            self._policy = components["prompt_policy"]
            self._routing = components["routing"]
            self._tools = {
                str(tool["name"]): str(tool["permission"]) for tool in components["tools"]["tools"]
            }
            self._threshold = float(self._guardrails["confidence_threshold"])
            self._sensitive = frozenset(self._guardrails["sensitive_intents"])
            model = components["model"]
            documents = _documents(components["retrieval"], library)
            self._neighbours = int(model["neighbours"])
            self._vectorizer = _vectorizer(model)
        except (KeyError, TypeError) as error:
            raise ReleaseError(f"The release leaves out what the router needs: {error}.") from error
        self._phrases = {
            name: tuple(plain(phrase) for phrase in self._guardrails.get(name, ()))
            for name in ("injection_phrases", "sensitive_phrases", "careful_words")
        }
        self._labels = sorted({document.label for document in documents})
        index = {label: position for position, label in enumerate(self._labels)}
        self._label_of = np.array([index[document.label] for document in documents])
        self._corpus = self._vectorizer.fit_transform([plain(d.text) for d in documents]).T.tocsr()

    def decide(self, text: str) -> Decision:
        """Answer one message, or hand it to a person."""
        return self.decide_all([text])[0]

    def decide_all(self, texts: Sequence[str]) -> list[Decision]:
        """Answer many messages; measured time is shared out evenly within a batch."""
        decisions: list[Decision] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            cpu, clock = time.process_time(), time.perf_counter()
            named = self._name([plain(text) for text in batch])
            drafts = [
                self._draft(text, label, confidence)
                for text, (label, confidence) in zip(batch, named, strict=True)
            ]
            cpu = (time.process_time() - cpu) / len(batch)
            latency = (time.perf_counter() - clock) * 1000 / len(batch)
            decisions.extend(
                Decision(*draft, cost_of(cpu, escalated=draft[2]), round(latency, 3))
                for draft in drafts
            )
        return decisions

    def _name(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return intent and confidence: the neighbours vote, close ones louder."""
        likeness = (self._vectorizer.transform(texts) @ self._corpus).toarray()
        count = min(self._neighbours, likeness.shape[1])
        # Stable on ties, so that the same release names the same intent on every machine.
        nearest = np.argsort(-np.round(likeness, 9), axis=1, kind="stable")[:, :count]
        named = []
        for row, chosen in zip(likeness, nearest, strict=True):
            votes = np.zeros(len(self._labels))
            np.add.at(votes, self._label_of[chosen], row[chosen] ** 2)
            best = int(votes.argmax())
            if votes[best] <= 0:
                named.append((str(self._routing["fallback_queue"]), 0.0))
                continue
            agreement = votes[best] / votes.sum()
            closest = row[chosen][self._label_of[chosen] == best].max()
            named.append((self._labels[best], round(float(np.sqrt(agreement * closest)), 6)))
        return named

    def _draft(
        self, text: str, label: str, confidence: float
    ) -> tuple[str, float, bool, str, str, tuple[str, ...], tuple[str, ...]]:
        reason = self._why_a_person(text, label, confidence)
        escalated = bool(reason)
        reply = str(
            self._policy["handover"] if escalated else self._policy["replies"].get(label, "")
        )
        used: tuple[str, ...] = ()
        if not escalated and (tool := self._routing.get("lookups", {}).get(label)):
            used = (str(tool),)
        broken = broken_rules(
            text, label, reply, escalated=escalated, used=used, allowed=tuple(self._tools)
        )
        return label, confidence, escalated, reason, reply, used, broken

    def _why_a_person(self, text: str, label: str, confidence: float) -> str:
        """Return why this mail goes to a person; empty when the router answers by itself."""
        said = plain(text)
        if any(phrase in said for phrase in self._phrases["injection_phrases"]):
            return "instructions in the mail"
        if label in self._sensitive:
            return "sensitive intent"
        if any(phrase in said for phrase in self._phrases["sensitive_phrases"]):
            return "sensitive words"
        if any(phrase in said for phrase in self._phrases["careful_words"]):
            return "careful words"
        if len(text.split()) > int(self._guardrails.get("max_words", 400)):
            return "too long"
        if confidence < self._threshold:
            return "low confidence"
        if label in self._routing.get("always_to_people", ()):
            return "queue for people"
        if not self._policy["replies"].get(label):
            return "no reply text"
        return ""


def build(components: Mapping[str, Mapping[str, Any]], library: Library | None = None) -> Router:
    """Return a router for the contents of a release's seven slots.

    Raises:
        ReleaseError: a slot is missing something, or the corpus is not the one declared.
    """
    if library is None:
        try:
            library = open_library(str(components["retrieval"]["source"]))
        except (KeyError, LibraryError) as error:
            raise ReleaseError(f"The corpus is not here: {error}") from error
    return Router(components, library)


def plain(text: str) -> str:
    """Lower case, no accents, single spaces: what is compared is what is written."""
    letters = unicodedata.normalize("NFKD", text.lower())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())


def root_hash(documents: Sequence[Mapping[str, str]]) -> str:
    """Return one hash over the ids and hashes of a corpus, in the order of the ids."""
    listed = sorted(f"{document['id']} {document['sha256']}\n" for document in documents)
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _documents(manifest: Mapping[str, Any], library: Library) -> list[Message]:
    """Return the corpus exactly as declared, or refuse."""
    listed = manifest["documents"]
    if len(listed) != manifest["count"] or root_hash(listed) != manifest["root"]:
        raise ReleaseError("The corpus manifest contradicts itself: count or root hash is wrong.")
    if not listed:
        raise ReleaseError("The corpus is empty.")
    documents = []
    for entry in listed:
        message = library.by_id.get(entry["id"])
        if message is None:
            raise ReleaseError(f"The document {entry['id']} of the corpus is missing.")
        if message.sha256 != entry["sha256"]:
            raise ReleaseError(f"The document {entry['id']} is not the one that was declared.")
        documents.append(message)
    return documents


def _vectorizer(model: Mapping[str, Any]) -> TfidfVectorizer:
    kind = model["analyzer"]
    if kind not in ("word", "char_wb"):
        raise ReleaseError(f"Unknown analyzer: {kind}.")
    low, high = model["ngrams"]
    return TfidfVectorizer(
        analyzer=kind,
        ngram_range=(int(low), int(high)),
        sublinear_tf=bool(model["sublinear"]),
        token_pattern=r"(?u)\b\w\w+\b" if kind == "word" else None,
        dtype=np.float64,
    )
