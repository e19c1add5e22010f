"""Requests to addresses that people typed: none may reach what stands behind the firewall.

https, or an origin that the operator lists in OUTBOUND_ALLOWED. The name is resolved once, every
address it has is checked, and the connection goes to the address that was checked. No redirects,
no proxies from the environment, and bounds on bytes and seconds that a slow server cannot stretch.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import math
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from governance.common.errors import GovernanceError, InvalidInputError

SECONDS = 10.0
MOST_BYTES = 1024 * 1024
MOST_ADDRESSES = 32
STEP = 64 * 1024
LONGEST_URL = 2_000
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What `is_global` lets through and still does not lead to one public machine.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24",  # AS112 and AMT anycast
        "192.88.99.0/24",  # 6to4 relays
        "2002::/16",  # 6to4: any IPv4 address inside
        "64:ff9b::/96", "64:ff9b:1::/48",  # NAT64: likewise
        "2001::/23",  # Teredo and other protocol assignments
        "2620:4f:8000::/48",  # AS112
        "3fff::/20", "5f00::/16",  # documentation, segment routing
    )
)  # fmt: skip
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # mapped, translated, local: all outside


class RefusedAddressError(InvalidInputError):
    """Requests to this address are not made."""


class OutboundError(GovernanceError):
    """The other side did not answer as it should."""

    status = 502


class TooLargeError(OutboundError):
    """The other side sent more than is read. It would again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever the status."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be asked, before it is resolved."""

    scheme: str
    host: str
    port: int
    path: str
    is_listed: bool  # by the operator: then it may be private too

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def is_public(address: _Address) -> bool:
    """Whether one public machine stands at this address, and nothing is wrapped inside it."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id is not None or address not in GLOBAL_UNICAST
    ):
        return False
    if any(address in network for network in NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def check_url(url: str, *, allowed: tuple[str, ...] | list[str]) -> Target:
    """Say whether this address may be asked at all, without asking anybody.

    Args:
        allowed: origins such as `http://pipeline.internal:8080` that the operator lists.

    Raises:
        RefusedAddressError: with the reason.
    """
    if len(url) > LONGEST_URL or _UNFIT.search(url):
        raise RefusedAddressError("The address is too long, or holds blanks or control characters.")
    target, parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise RefusedAddressError("Leave user name and password out of the address.")
    listed = {_split(origin)[0].origin for origin in allowed}
    is_listed = target.origin in listed
    if target.scheme != "https" and not is_listed:
        raise RefusedAddressError(
            "The address must start with https://, or its origin must be listed in"
            " OUTBOUND_ALLOWED by an operator."
        )
    with contextlib.suppress(ValueError):
        if not is_listed and not is_public(ipaddress.ip_address(target.host)):
            raise RefusedAddressError(_refusal(target.host))
    return Target(target.scheme, target.host, target.port, target.path, is_listed)


def _split(url: str) -> tuple[Target, SplitResult]:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if ":" not in host:
            host = host.encode("idna").decode("ascii").lower()
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:  # UnicodeError is one
        raise RefusedAddressError("The address cannot be read.") from error
    if parts.scheme not in ("http", "https") or not host or "%" in host:
        raise RefusedAddressError("The address must look like https://host/path.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise RefusedAddressError("Write the path of the address in ASCII, the rest as %XX.")
    return Target(parts.scheme, host, port, path, False), parts


def _refusal(host: str) -> str:
    return f"{host} leads to an address that is not public. An operator may list its origin."


def addresses_of(target: Target, *, seconds: float = SECONDS) -> list[str]:
    """Resolve the name once and check everything it leads to.

    Raises:
        RefusedAddressError: one of its addresses is not public.
        OutboundError: it has none, or nobody says so in time.
    """
    with contextlib.suppress(ValueError):
        literal = ipaddress.ip_address(target.host)
        if not target.is_listed and not is_public(literal):
            raise RefusedAddressError(_refusal(target.host))
        return [target.host]  # nobody has to be asked
    found: list[str] = []
    faults: list[OSError] = []

    def ask() -> None:
        try:
            for answer in socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
                found.append(str(answer[4][0]))
        except (OSError, UnicodeError) as error:
            faults.append(OSError(str(error)))

    # The resolver of the system knows no deadline.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if asking.is_alive():
        raise OutboundError(f"The name {target.host} was not resolved in time.")
    addresses = list(dict.fromkeys(found))[:MOST_ADDRESSES]
    if faults or not addresses:
        raise OutboundError(f"The name {target.host} leads nowhere.")
    if not target.is_listed:
        for address in found:
            if not is_public(ipaddress.ip_address(address)):
                raise RefusedAddressError(_refusal(target.host))
    return addresses


class _Bounded(socket.socket):
    """A socket whose waiting ends at one moment. A timeout would start anew with each byte."""

    deadline = math.inf  # by the monotonic clock

    def _wait_until_deadline(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)

    def recv_into(self, *given: Any, **named: Any) -> int:
        self._wait_until_deadline()
        return super().recv_into(*given, **named)

    def send(self, *given: Any, **named: Any) -> int:
        self._wait_until_deadline()
        return super().send(*given, **named)

    def sendall(self, *given: Any, **named: Any) -> None:
        self._wait_until_deadline()
        super().sendall(*given, **named)


class _BoundedTLS(_Bounded, ssl.SSLSocket):
    """The same over TLS, where one read or write waits no longer than one timeout."""


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was checked, and still names the host it was asked for."""

    def __init__(self, target: Target, address: str, deadline: float) -> None:
        super().__init__(target.host, target.port)
        self._target = target
        self._address = address
        self._deadline = deadline
        if target.scheme == "https":
            self.default_port = 443  # so that `Host` names the port only where it is another one

    def connect(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time was left")
        plain = socket.create_connection((self._address, self._target.port), left)
        self.sock = _Bounded(fileno=plain.detach())
        self.sock.deadline = self._deadline

    def secure(self) -> None:
        # The handshake waits no longer than one timeout.
        self.sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        secured = _trusted().wrap_socket(self.sock, server_hostname=self._target.host)
        self.sock = cast("_BoundedTLS", secured)
        self.sock.deadline = self._deadline


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Whom this machine trusts: reading that takes longer than a short answer."""
    context = ssl.create_default_context()
    context.sslsocket_class = _BoundedTLS
    return context


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    allowed: tuple[str, ...] | list[str],
    seconds: float = SECONDS,
    most_bytes: int = MOST_BYTES,
) -> Answer:
    """Send one request and return the answer, a redirect too: it is never followed.

    Args:
        seconds: for everything together, from resolving to the last byte.
        most_bytes: of the answer's body.

    Raises:
        RefusedAddressError: this address is not asked.
        OutboundError: no whole answer came within the bounds.
    """
    deadline = time.monotonic() + seconds
    target = check_url(url, allowed=allowed)
    addresses = addresses_of(target, seconds=seconds)
    connection = _connect(target, addresses, deadline)
    try:
        if target.scheme == "https":
            connection.secure()
        sent = {"Accept-Encoding": "identity", "Connection": "close", **(headers or {})}
        connection.request(method, target.path, body, sent)
        received = bytearray()
        with connection.getresponse() as reply:
            while part := reply.read1(STEP):
                received += part
                if len(received) > most_bytes:
                    raise TooLargeError(f"{target.host} sent more than {most_bytes:,} bytes.")
            if reply.length:
                raise OutboundError(f"The answer of {target.host} broke off.")
        named = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, named, bytes(received))
    except TimeoutError as error:
        raise OutboundError(f"{target.host} took longer than {seconds:g} s.") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OutboundError(f"{target.host} did not answer: {_said(error)}.") from error
    finally:
        connection.close()


def _connect(target: Target, addresses: list[str], deadline: float) -> _Pinned:
    last: OSError | None = None
    for address in addresses:
        connection = _Pinned(target, address, deadline)
        try:
            connection.connect()
        except OSError as error:
            last = error
            continue
        return connection
    said = _said(last) if last is not None else "it has no address"
    raise OutboundError(f"{target.host} cannot be reached: {said}.") from last


def _said(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200].rstrip(".")
