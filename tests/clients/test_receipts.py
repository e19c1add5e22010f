"""Receipts of the client: batches, patience, a bounded queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from countersign import Receipts
from countersign.transport import Transport

from tests.clients.server import Answer, Scripted


class Store:
    """Answers as `POST /api/v1/receipts` does, after as many refusals as it is told."""

    def __init__(self, *first: Answer) -> None:
        self.first = list(first)
        self.batches: list[list[dict[str, Any]]] = []
        self.got = threading.Event()

    def __call__(self, method: str, path: str, body: bytes) -> Answer:
        assert (method, path) == ("POST", "/api/v1/receipts")
        if self.first:
            return self.first.pop(0)
        batch = json.loads(body)["receipts"]
        self.batches.append(batch)
        self.got.set()
        done = {"accepted": len(batch), "duplicates": 0, "refused": []}
        return 200, {}, json.dumps(done).encode()


@pytest.fixture
def make_receipts(server: Scripted) -> Iterator[Callable[..., Receipts]]:
    made: list[Receipts] = []
    transport = Transport(server.url, "cs_test", timeout=2)

    def make(**options: Any) -> Receipts:
        made.append(Receipts(transport, "support-triage", **{"every": 0.01, **options}))
        return made[-1]

    yield make
    for receipts in made:
        receipts.close(0.1)
    transport.close()


def test_receipts_go_out_in_batches_with_what_they_lack_filled_in(
    server: Scripted, make_receipts: Callable[..., Receipts]
) -> None:
    server.answer = store = Store()
    receipts = make_receipts(every=60)
    ids = [receipts.add(case_id=f"c{n}", cost="0.01") for n in range(1_200)]
    assert receipts.flush(10)
    assert [len(batch) for batch in store.batches] == [500, 500, 200]
    sent = [receipt for batch in store.batches for receipt in batch]
    assert [receipt["run_id"] for receipt in sent] == ids
    assert len(set(ids)) == 1_200
    assert all(receipt["workflow"] == "support-triage" for receipt in sent)
    assert all(receipt["started_at"].endswith("+00:00") for receipt in sent)
    assert (receipts.counts.stored, receipts.counts.waiting) == (1_200, 0)


def test_a_batch_is_sent_again_until_the_server_takes_it(
    server: Scripted, make_receipts: Callable[..., Receipts]
) -> None:
    server.answer = store = Store((503, {"Retry-After": "0"}, b"{}"), (429, {}, b"{}"))
    receipts = make_receipts()
    run = receipts.add(outcome="answered")
    assert store.got.wait(10)
    assert receipts.flush(5)
    assert [receipt["run_id"] for receipt in store.batches[0]] == [run]
    assert receipts.counts.stored == 1


def test_what_the_server_will_never_take_is_said_and_not_sent_again(
    server: Scripted, make_receipts: Callable[..., Receipts], caplog: pytest.LogCaptureFixture
) -> None:
    refused = {"accepted": 0, "refused": [{"index": 0, "run_id": "r", "error": "quality is 7"}]}
    server.says(refused, 422)
    receipts = make_receipts()
    receipts.add(run_id="r", quality=7)
    assert receipts.flush(5)
    assert (receipts.counts.refused, receipts.counts.stored) == (1, 0)
    assert "quality is 7" in caplog.text
    assert len(server.asked) == 1


def test_the_queue_is_bounded_and_counts_what_it_drops(
    server: Scripted, make_receipts: Callable[..., Receipts]
) -> None:
    server.says(b"{}", 503, Retry_After="60")
    receipts = make_receipts(most_waiting=10, every=60)
    for _ in range(25):
        receipts.add()
    assert receipts.counts.dropped == 15
    receipts.close(0.05)
    assert receipts.counts.dropped == 25


def test_a_batch_that_is_too_large_is_sent_in_smaller_ones(
    server: Scripted, make_receipts: Callable[..., Receipts]
) -> None:
    server.answer = store = Store((413, {}, b"{}"))
    receipts = make_receipts(every=60)
    for _ in range(400):
        receipts.add()
    assert receipts.flush(10)
    assert [len(batch) for batch in store.batches] == [200, 200]
    assert receipts.counts.stored == 400


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_no_json_fails_at_the_caller(
    make_receipts: Callable[..., Receipts], value: object
) -> None:
    with pytest.raises((TypeError, ValueError)):
        make_receipts().add(quality=value)
