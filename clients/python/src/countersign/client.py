"""Which release runs this case? Asked at Countersign, remembered for when it is away."""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import re
import ssl
import time
import weakref
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal
from urllib.parse import quote

from countersign.answers import Answer, Choice, Served, read_flag
from countersign.contents import Contents, Release
from countersign.errors import (
    BadAnswerError,
    ContentError,
    CountersignError,
    NoAnswerError,
    StaleAnswerError,
    SwitchedOffError,
    UnreachableError,
)
from countersign.memory import Memory, read_bundle
from countersign.receipts import Receipts
from countersign.transport import Transport

log = logging.getLogger("countersign")
WORKFLOW = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")
PAUSE = 1.0  # seconds without asking for each case after the server did not answer
CONTENT_TIMEOUT = 30.0  # seconds; a corpus of 100,000 documents is 10 MB
Ask = Literal["background", "each"]


class Client:
    """One workflow of one Countersign. Make one per process and share it between threads.

    Args:
        url: where Countersign is.
        token: with the scope `releases:read`, and `receipts:write` for `receipts`.
        workflow: the slug.
        cache_dir: a folder for the last good answer and release contents; None keeps them in
            memory only, and a restart while the server is away then knows nothing.
        ask: `background` asks every `refresh_seconds` and answers at once, following a change
            within that time. `each` asks before every case, following at the next one.
        refresh_seconds: how often to ask in the background.
        max_age_seconds: how old an answer may be to act on at authority `execute`.
        timeout: seconds to wait for the server.
        bundle: a file of `manage.py export_lkg`, for a start without server and cache.
        prefetch: fetch the content of what is live ahead of the first case.
        ssl_context: for an own certificate authority.
    """

    _lock: Lock
    _begun: bool
    _thread: Thread | None
    _quiet_until: float  # by the process's own clock: until then nobody is asked for a case

    def __init__(
        self,
        url: str,
        token: str,
        workflow: str,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        ask: Ask = "background",
        refresh_seconds: float = 5.0,
        max_age_seconds: float = 60.0,
        timeout: float = 2.0,
        bundle: str | os.PathLike[str] | None = None,
        prefetch: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not WORKFLOW.match(workflow):
            raise ValueError(f"{workflow!r} is no slug of a workflow.")
        if ask not in ("background", "each"):
            raise ValueError("ask is 'background' or 'each'.")
        if refresh_seconds <= 0 or max_age_seconds <= 0 or timeout <= 0:
            raise ValueError("Seconds must be more than 0.")
        self.workflow = workflow
        self._ask_each = ask == "each"
        self._refresh_seconds = refresh_seconds
        self._max_age = max_age_seconds
        self._prefetch = prefetch
        self._transport = Transport(url, token, timeout=timeout, context=ssl_context)
        folder = Path(cache_dir) / workflow if cache_dir is not None else None
        self._memory = Memory(
            self._transport.url, workflow, folder and folder / "answer.json",
            fresh_for=3 * refresh_seconds + timeout,
        )  # fmt: skip
        self._contents = Contents(workflow, folder and folder / "releases", self._fetch)
        self._receipts: Receipts | None = None
        self._wake = Event()
        self._closed = False
        self._reset()
        self._memory.load()
        if bundle is not None:
            self._load_bundle(Path(bundle))
        _clients.add(self)

    # -- what an application asks ----------------------------------------------------------------

    def release_for(self, case: str | None = None) -> Answer:
        """Return which release runs this case (customer, invoice, ticket).

        Raises:
            NoAnswerError: nobody ever said what is live.
            StaleAnswerError: the authority is `execute` and the answer is older than its maximum
                age. Its `answer` still tells what to draft with.
        """
        case = case or ""
        is_first = self._take_first_turn()
        served = self._memory.served
        fresh = None
        if self._ask_each or is_first or served is None or (case and served.has_pins):
            fresh = self._ask(case)
        if is_first:
            self._start()
        answer = self._memory.answer(case, fresh)
        if answer is None:
            raise NoAnswerError(
                f"Nobody says what is live in {self.workflow}. {self._memory.fault}"
            )
        if answer.authority == "execute" and answer.age > self._max_age:
            raise StaleAnswerError(answer.drafting(), self._max_age)
        return answer

    def content(self, answer: Answer | str) -> Release:
        """Return the verified content of an answer's release, or of a digest.

        Raises:
            SwitchedOffError: the kill switch is on.
            ContentError: what was found is not what the digest names.
            UnreachableError: it is kept nowhere here, and the server does not answer.
        """
        wanted = answer if isinstance(answer, str) else answer.digest
        if not isinstance(answer, str) and answer.is_off:
            raise SwitchedOffError(f"{self.workflow} is switched off: no release may run.")
        return self._contents.get(wanted)

    @property
    def receipts(self) -> Receipts:
        """Sends run receipts in the background."""
        with self._lock:
            if self._receipts is None:
                self._receipts = Receipts(self._transport, self.workflow)
            return self._receipts

    def refresh(self) -> bool:
        """Ask the server now; returns whether it gave a usable answer."""
        self._quiet_until = 0.0
        return self._ask("") is not None

    def forget(self) -> None:
        """Drop what is known, in memory and on disk.

        For an operator whose server was restored from a backup: its numbers start lower again.
        """
        self._memory.forget()

    def close(self, timeout: float = 5.0) -> None:
        """Send what is left of the receipts, and stop asking."""
        self._closed = True
        self._wake.set()
        if self._receipts is not None:
            self._receipts.close(timeout)
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(timeout)
        self._transport.close()
        _clients.discard(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- asking ----------------------------------------------------------------------------------

    def _take_first_turn(self) -> bool:
        """True once per process: the first case asks at once, and then the background begins."""
        if self._begun or self._closed:
            return False
        with self._lock:
            begun, self._begun = self._begun, True
        return not begun

    def _start(self) -> None:
        self._thread = Thread(
            target=_keep_asking, args=(weakref.ref(self), self._wake), daemon=True,
            name=f"countersign {self.workflow}",
        )  # fmt: skip
        self._thread.start()

    def _ask(self, case: str) -> tuple[Served, Choice] | None:
        """Ask about one case; None when no usable answer came, with the reason remembered."""
        asked_at = time.monotonic()
        if asked_at < self._quiet_until:
            return None
        context = {"context": {"targetingKey": case}} if case else {"context": {}}
        try:
            reply = self._transport.send(
                "POST", f"/ofrep/v1/evaluate/flags/{self.workflow}", json.dumps(context).encode()
            )
            if reply.status != 200:
                raise UnreachableError(_sentence(reply.status, reply.body), reply.retry_after)
            served, choice = read_flag(json.loads(reply.body), self.workflow)
        except UnreachableError as error:
            self._quiet_until = time.monotonic() + max(PAUSE, error.retry_after)
            self._memory.blame(str(error))
            return None
        except (BadAnswerError, ValueError, RecursionError) as error:
            self._memory.blame(f"The server's answer cannot be used: {error}")
            return None
        return (served, choice) if self._memory.learn(served, case, choice, asked_at) else None

    def _bring_content(self) -> None:
        """Have the content of what is live here before a case needs it."""
        served = self._memory.served
        if self._prefetch and served is not None:
            for wanted in served.digests:
                try:
                    self._contents.get(wanted)
                except CountersignError as error:
                    log.warning("The content of %s is not here yet: %s", wanted, error)

    def _fetch(self, wanted: str) -> bytes:
        reply = self._transport.send(
            "GET", f"/api/v1/releases/{quote(wanted, safe=':')}", timeout=CONTENT_TIMEOUT
        )
        if reply.status == 200:
            return reply.body
        sentence = _sentence(reply.status, reply.body)
        if reply.status in (429, 500, 502, 503, 504):
            raise UnreachableError(sentence, reply.retry_after)
        raise ContentError(f"The server has no content of {wanted}. {sentence}")

    def _load_bundle(self, path: Path) -> None:
        try:
            bundle = read_bundle(json.loads(path.read_bytes()), self.workflow)
            # Every content first: an answer whose release cannot be verified is not used.
            for wanted, document in bundle["releases"].items():
                self._contents.add(document, wanted)
            self._memory.load_bundle(bundle)
        except (OSError, ValueError, RecursionError, CountersignError) as error:
            log.warning("Ignored the bundle %s: %s", path, error)

    # -- processes -------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._lock = Lock()
        self._begun = False
        self._thread = None
        self._quiet_until = 0.0

    def _after_fork(self) -> None:
        """In the child: threads are gone, locks may be held by them, sockets are the parent's."""
        self._reset()
        self._wake = Event()
        self._transport.forget_connections()
        self._memory.reset_locks()
        self._contents.reset_locks()
        if self._receipts is not None:
            self._receipts.after_fork()


def _keep_asking(reference: weakref.ref[Client], wake: Event) -> None:
    """Look again and again, until the client is closed or nobody holds it any more."""
    pause = 0.0
    while not wake.wait(pause):
        client = reference()
        if client is None:
            return
        try:
            if pause:  # the first case has just asked itself
                client._ask("")
            client._bring_content()
        except Exception:
            log.exception("Asking for the live release failed")
        pause = client._refresh_seconds * random.uniform(0.9, 1.1)  # noqa: S311
        del client


def _sentence(status: int, body: bytes) -> str:
    try:
        said: Any = json.loads(body)
        text = said.get("errorDetails") or said.get("error") or ""
    except (ValueError, AttributeError, RecursionError):
        text = ""
    return f"The server answered {status}. {str(text)[:300]}".rstrip()


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _in_child() -> None:
    for client in list(_clients):
        client._after_fork()


def _at_exit() -> None:
    for client in list(_clients):
        if client._receipts is not None:
            client._receipts.close(3.0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
