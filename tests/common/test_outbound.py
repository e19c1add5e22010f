"""Requests to typed addresses: which are refused, and what a hostile server cannot do."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from governance.common import outbound
from governance.common.outbound import OutboundError, RefusedAddressError, check_url, is_public
from tests.clients.server import Scripted, scripted

INSIDE = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.9.9.9",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1",
    "fd12:3456::1", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::200e"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_one_public_machine_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(RefusedAddressError):
        check_url(f"https://{host}/", allowed=())


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_is_not(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///path", "http://example.com/", "ftp://example.com/",
        "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "//example.com/",
        "https://user:secret@example.com/", "https://user@example.com/", "https://ex ample.com/",
        "https://example.com/\r\nX: y", "https://example.com\\@127.0.0.1/", "https://[::1/",
        "https://example.com:99999/", "https://example.com:abc/", "https://[fe80::1%25eth0]/",
        "https://example.com/\x00", "https://" + "a" * 300 + ".com/", "https://example.com/ä",
        "https://example.com/" + "a" * 3000,
    ],
)  # fmt: skip
def test_an_address_that_is_no_https_address_is_refused(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        check_url(url, allowed=())


def test_an_operator_lists_one_origin_and_no_other() -> None:
    allowed = ["http://pipeline.internal:8080"]
    assert check_url("http://pipeline.internal:8080/hook?x=1", allowed=allowed).is_listed
    assert check_url("http://PIPELINE.internal.:8080/", allowed=allowed).is_listed
    for other in (
        "http://pipeline.internal/", "http://pipeline.internal:8081/", "http://x.internal:8080/",
        "http://pipeline.internal.evil.com:8080/",
    ):  # fmt: skip
        with pytest.raises(RefusedAddressError):
            check_url(other, allowed=allowed)
    assert not check_url("https://pipeline.internal:8080/", allowed=allowed).is_listed


def resolver(*answers: list[str]) -> tuple[Callable[..., Any], list[str]]:
    """A resolver that gives these answers in turn, and the names it was asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return getaddrinfo, asked


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:169.254.169.254"], ["fe80::1"]]
)
def test_every_address_of_a_name_is_checked(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    getaddrinfo, _ = resolver(addresses)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it connected"))
    with pytest.raises(RefusedAddressError):
        outbound.request("POST", "https://rebind.example/", allowed=())


def test_numbers_that_the_system_reads_as_addresses_are_checked_after_resolving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it connected"))
    for host in ("2130706433", "0x7f.1", "127.1", "017700000001", "localhost"):
        with pytest.raises((RefusedAddressError, OutboundError)):
            outbound.request("POST", f"https://{host}/", allowed=(), seconds=5)


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    getaddrinfo, asked = resolver(["8.8.8.8"], ["127.0.0.1"])  # rebinding: the second look lies
    connected: list[Any] = []

    def create_connection(address: Any, timeout: Any = None) -> socket.socket:
        connected.append(address)
        raise OSError("not in a test")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(OutboundError):
        outbound.request("POST", "https://rebind.example/", allowed=())
    assert asked == ["rebind.example"]
    assert connected == [("8.8.8.8", 443)]


@contextmanager
def raw_server(talk: Callable[[socket.socket], None], *, at_once: bool = False) -> Iterator[str]:
    """A server that does to each connection what the test wants, one by one or many at once."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if at_once:
                threading.Thread(target=answer, args=(connection,), daemon=True).start()
            else:
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def call(url: str, **options: Any) -> outbound.Answer:
    given = {"body": b"{}", "allowed": [url.rpartition("/")[0] if url[8:].count("/") else url]}
    return outbound.request("POST", url, **{**given, **options})


def test_a_listed_origin_is_asked_and_answers(server: Scripted) -> None:
    server.says({"ok": True}, 202)
    answer = outbound.request(
        "POST", f"{server.url}/hook?x=1", body=b"hello", headers={"X-Sent": "yes"},
        allowed=[server.url],
    )  # fmt: skip
    assert (answer.status, answer.is_success, answer.body) == (202, True, b'{"ok": true}')
    method, path, headers, body = server.asked[0]
    assert (method, path, body, headers["x-sent"]) == ("POST", "/hook?x=1", b"hello", "yes")
    assert headers["host"] == server.url.removeprefix("http://")
    assert headers["accept-encoding"] == "identity"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


def test_a_redirect_is_not_followed(server: Scripted) -> None:
    server.says(b"", 302, Location="http://127.0.0.1:9/secret")
    answer = outbound.request("POST", f"{server.url}/", allowed=[server.url])
    assert (answer.status, answer.is_success) == (302, False)
    assert len(server.asked) == 1


def test_an_answer_without_end_is_cut(server: Scripted) -> None:
    server.says(b"x" * 200_000)
    with pytest.raises(OutboundError, match="more than 100,000 bytes"):
        outbound.request("GET", server.url, allowed=[server.url], most_bytes=100_000)


def _never_answer(connection: socket.socket) -> None:
    while connection.recv(1_000):
        pass


def _drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.05)


def _drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def _never_read(_: socket.socket) -> None:
    time.sleep(1)


@pytest.mark.parametrize("talk", [_never_answer, _never_read, _drip_headers, _drip_body])
def test_a_slow_server_costs_no_more_than_its_seconds(
    talk: Callable[[socket.socket], None],
) -> None:
    with raw_server(talk) as url:
        started = time.monotonic()
        with pytest.raises(OutboundError, match="took longer"):
            call(url, body=b"x" * 20_000_000 if talk is _never_read else b"{}", seconds=0.4)
        assert time.monotonic() - started < 3


def test_a_body_may_come_after_the_headers_while_others_are_asked() -> None:
    def talk(connection: socket.socket) -> None:
        asked = b""
        while len(body := asked.partition(b"\r\n\r\n")[2]) < 4:
            asked += connection.recv(4_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        time.sleep(0.05)
        connection.sendall(body * 10_000)

    with raw_server(talk, at_once=True) as url, ThreadPoolExecutor(8) as pool:
        sent = [f"{at:04}".encode() for at in range(80)]
        answers = list(pool.map(lambda body: call(url, body=body), sent))
    assert [answer.body for answer in answers] == [body * 10_000 for body in sent]


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_nonsense_is_one_kind_of_error(sent: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(4_000)
        connection.sendall(sent)

    with raw_server(talk) as url:
        try:
            answer = call(url, seconds=3)
        except OutboundError:
            return
        assert answer.body == b""  # read as an empty answer at most


def test_nobody_there_is_said() -> None:
    with pytest.raises(OutboundError, match="cannot be reached"):
        call("http://127.0.0.1:9", seconds=2)
    with pytest.raises(OutboundError, match="leads nowhere"):
        outbound.request("GET", "https://no-such-host.invalid/", allowed=(), seconds=5)


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A certificate for hooks.test that this process trusts, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.test")])
    moment = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )  # fmt: skip
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    outbound._trusted.cache_clear()
    yield path
    outbound._trusted.cache_clear()


def test_tls_names_and_verifies_the_host_although_the_address_is_pinned(
    certified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified)
    names: list[str] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    received: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            received.append(secure.recv(4_000))
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    getaddrinfo, _ = resolver(["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with raw_server(talk) as url:
        port = url.rpartition(":")[2]
        origin = f"https://hooks.test:{port}"
        assert outbound.request("POST", f"{origin}/in", allowed=[origin]).status == 204
        assert names == ["hooks.test"]
        assert f"Host: hooks.test:{port}".encode() in received[0]
        other = f"https://other.test:{port}"
        with pytest.raises(OutboundError, match="did not answer"):
            outbound.request("POST", f"{other}/in", allowed=[other])


def _drip_handshake(connection: socket.socket, _: ssl.SSLContext) -> None:
    connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB, byte by byte
    while True:
        connection.sendall(b"\x02")
        time.sleep(0.05)


def _drip_body_secured(connection: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(4_000)
        _drip_body(secured)


def _drip_record(connection: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(4_000)
        below = socket.socket(fileno=secured.detach())
    with below:
        below.sendall(b"\x17\x03\x03\x40\x00")
        while True:
            below.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("talk", [_drip_handshake, _drip_body_secured, _drip_record])
def test_a_slow_server_gains_nothing_from_tls(
    talk: Callable[[socket.socket, ssl.SSLContext], None],
    certified: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified)
    getaddrinfo, _ = resolver(["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with raw_server(lambda connection: talk(connection, context)) as url:
        origin = f"https://hooks.test:{url.rpartition(':')[2]}"
        started = time.monotonic()
        with pytest.raises(OutboundError, match="took longer"):
            outbound.request("POST", origin, allowed=[origin], seconds=0.6)
        assert time.monotonic() - started < 3
