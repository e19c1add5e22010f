"""The demo's application: a help desk mailbox, answered by the release that is live.

It knows nothing of Countersign's database. It asks which release to run with the ordinary
OpenFeature client, and sends run receipts with the ordinary OpenTelemetry SDK.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import numpy as np
from opentelemetry.sdk.trace import TracerProvider

from governance.demo.support import telemetry
from governance.demo.support.library import LibraryError, chosen_library
from governance.demo.support.release_source import ReleaseSource
from governance.demo.support.traffic import Arrival, Mailbox, case_id

log = logging.getLogger("governance.demo.support")
LAST_WEEK = 11.0  # the mix of mail with which the history ends
LAST_WORD_SECONDS = 1.0  # for what is still to be sent when asked to stop


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="governance.demo.support", description=__doc__)
    parser.add_argument("--url", required=True, help="where Countersign answers")
    parser.add_argument("--token-file", type=Path, help="default: demo-token in DATA_DIR")
    parser.add_argument("--data", type=Path, help="demo.json of the installation's data folder")
    parser.add_argument("--interval", type=float, default=1.5, help="seconds between two mails")
    parser.add_argument("--count", type=int, default=0, help="stop after so many mails; 0: never")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it tries again by itself
    logging.getLogger("openfeature").setLevel(logging.CRITICAL)  # said here, in one line
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    if options.data is not None:
        os.environ["DATA_DIR"] = str(options.data.absolute().parent)
    folder = Path(os.environ.get("DATA_DIR", ".data"))
    try:
        token = (options.token_file or folder / "demo-token").read_text().strip()
        mailbox = Mailbox(chosen_library())
    except (OSError, LibraryError) as error:
        print(f"The demo application cannot start: {error}", file=sys.stderr)
        return 1
    source = ReleaseSource(options.url, token)
    provider = telemetry.provider_for(options.url, token)
    _stop_with(provider)
    try:
        _answer_mail(source, provider, mailbox, options.interval, options.count)
    finally:
        _close(provider)
    return 0


def _answer_mail(
    source: ReleaseSource,
    provider: TracerProvider,
    mailbox: Mailbox,
    interval: float,
    count: int,
) -> None:
    tracer = provider.get_tracer("kettlewick.support", "1")
    rng = np.random.default_rng()
    answered = 0
    while not count or answered < count:
        began = time.monotonic()
        arrival = _next_mail(mailbox, rng)
        running = source.current(arrival.case_id)
        if running is None:
            log.debug("No release has been live yet, or none serves now: nothing is answered")
        else:
            try:
                telemetry.answer(tracer, running, arrival, arrival.at)
            except Exception as error:  # one bad mail must not stop the mailbox
                log.exception("The mail %s could not be answered", arrival.case_id)
                telemetry.fail(tracer, running, arrival, error)
        answered += 1
        pause = interval * float(rng.uniform(0.7, 1.3)) - (time.monotonic() - began)
        if pause > 0 and (not count or answered < count):
            time.sleep(pause)


def _next_mail(mailbox: Mailbox, rng: np.random.Generator) -> Arrival:
    now = datetime.now(UTC)
    (message,) = mailbox.draw(rng, 1, LAST_WEEK)
    # Numbered by the tenth of a second: the history's own numbers are much smaller.
    number = 10_000 + int((now - now.replace(hour=0, minute=0, second=0)).total_seconds() * 10)
    return Arrival(now, case_id(now.date(), number, message), message)


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave at once, also out of a request that waits for its answer."""
    raise SystemExit(0)


def _stop_with(provider: TracerProvider) -> None:
    """From now on a signal sends the last words and ends the process where it stands.

    Raising out of the handler instead would pass through whatever library is at work, and some of
    them turn it into an error of their own.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _close(provider)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _close(provider: TracerProvider) -> None:
    """Send what is left, but wait only a moment: the server may be gone already."""
    last = threading.Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(LAST_WORD_SECONDS)


if __name__ == "__main__":
    code = 0
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    # Not sys.exit: the exporter's thread may be waiting for a server that is gone.
    os._exit(code)
