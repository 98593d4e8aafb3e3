"""Pictures from the web: fetched from public addresses only, with limits, and checked to be pictures.

Whoever publishes a video, or calls the API, chooses an address, so it is hostile until shown otherwise. Each hop
is looked up once, every address of the answer must be public, and the connection goes to an address that was
checked: a name that says something else a moment later changes nothing. What the bytes are is for `decoding`.
Knows nothing about videos or where a picture is kept.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

import certifi
import idna

from miles import decoding, settings
from miles.deadline import within
from miles.decoding import MAX_BYTES
from miles.errors import ImageRefused, MilesError

FETCH_TIMEOUT = 20.0  # seconds for all of one picture, redirects included
CONNECT_TIMEOUT = 4.0  # seconds for each address of a name
READ_TIMEOUT = 8.0  # seconds of silence
MAX_REDIRECTS = 3
MAX_ADDRESS = 2_000  # characters
MOST_TRIED = 3  # addresses of one name, if connecting fails
DEFAULT_PORTS = {"http": 80, "https": 443}  # on the internet no others are asked: they are seldom pictures

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

# Beside what `ipaddress` calls not global; the lists of older Pythons are shorter.
NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),  # protocols; 6to4 relays; an Azure machine's host
        *("2002::/16", "2001::/32", "3fff::/20"),  # 6to4 and Teredo, which hold other addresses; documentation
    )
]
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # how a network without IPv4 reaches it; holds the address it means
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Where clouds hand secrets to their machines: refused even inside a network that the settings allow.
METADATA = [
    ipaddress.ip_network(network)
    for network in (
        *("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    )
]


@dataclass(frozen=True, slots=True)
class Image:
    """The bytes of a picture that decodes."""

    data: bytes
    content_type: str
    width: int  # pixels
    height: int  # pixels


def fetch(url: str, *, allowed: Sequence[Network] | None = None, resolve: Resolver | None = None) -> Image:
    """The picture at a web address. Raises ImageRefused.

    `allowed` are networks that may be asked though they are not public, on any port; without, those of the
    settings. `resolve` gives the IP addresses of a host's name, as text.
    """
    chosen = settings.load()
    download = _Download(
        chosen.private_images if allowed is None else allowed,
        resolve or look_up,
        _proxy(chosen.proxy) if chosen.proxy else None,
        _trust(str(chosen.ssl_cert_file) if chosen.ssl_cert_file else certifi.where()),
    )
    try:
        return check(within(FETCH_TIMEOUT, lambda: download.get(url)))
    except TimeoutError as error:
        raise ImageRefused(f"The picture did not arrive within {FETCH_TIMEOUT:.0f} s.", "timeout") from error
    except ssl.SSLCertVerificationError as error:
        raise ImageRefused("The certificate of the picture's server is not valid for its name.", "unreachable") from (
            error
        )
    except (OSError, http.client.HTTPException) as error:
        raise ImageRefused(f"The picture could not be fetched ({type(error).__name__}).", "unreachable") from error
    finally:
        download.close()


def check(data: bytes) -> Image:
    """The picture that these bytes are, decoded once to be sure of it. Raises ImageRefused."""
    return Image(data, *decoding.whole(data))


def look_up(host: str, port: int) -> list[str]:
    """The IP addresses of a name, the one to try first first. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet: to no private, local, reserved or multicast network."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in GLOBAL_UNICAST or address.scope_id is not None:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class _Hop:
    """One address of a chain of redirects, taken apart."""

    url: str  # as it was given, without its fragment
    scheme: str  # http | https
    host: str  # ASCII, lower case; an IPv6 address without its brackets
    port: int
    target: str  # path and query, ASCII

    @property
    def place(self) -> str:
        """Host and port as an address spells them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def _hop(url: str) -> _Hop:
    """An address taken apart. Raises ImageRefused for one that is not plainly a web address."""
    shown = url[:100]
    if len(url) > MAX_ADDRESS:
        raise ImageRefused(f"The picture's address is longer than {MAX_ADDRESS} characters.", "address")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise ImageRefused(f"Not a web address: {shown!r} holds spaces, backslashes or control characters.", "address")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImageRefused(f"Not a web address: {shown}", "address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageRefused(f"Not a web address: {shown}. It should begin with http:// or https://.", "address")
    if "@" in parts.netloc:
        raise ImageRefused("The picture's address holds a user name. Leave it out.", "address")
    target = quote(parts.path or "/", safe="%/:=&~+!$,;'@()*") + ("?" if parts.query else "")
    return _Hop(
        url=parts._replace(fragment="").geturl(),
        scheme=parts.scheme,
        host=_host(parts.hostname),
        port=DEFAULT_PORTS[parts.scheme] if port is None else port,
        target=target + quote(parts.query, safe="%/:=&?~+!$,;'@()*[]|"),
    )


def _host(name: str) -> str:
    """A host's name as it is looked up. Raises ImageRefused.

    Numbers are taken only as four decimal ones: 0x7f.1, 017700000001 and 2130706433 are ways past a check.
    """
    refusal = ImageRefused(f"Not a web address: {name[:100]} is no host's name.", "address")
    if ":" in name:
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError as error:
            raise refusal from error
    try:
        ascii_name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise refusal from error
    host = ascii_name.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels):
        raise refusal
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise ImageRefused("Write an IP address as four decimal numbers, like 192.0.2.1.", "address") from error
    return host


class _Pinned(http.client.HTTPConnection):
    """A connection to IP addresses that were checked; the name stays that of the host, for TLS too."""

    def __init__(
        self, hop: _Hop, addresses: Sequence[str], trust: ssl.SSLContext, keep: Callable[[socket.socket], None]
    ):
        super().__init__(hop.host, hop.port, timeout=READ_TIMEOUT)
        self.default_port = DEFAULT_PORTS[hop.scheme]  # which the Host header leaves out
        self._addresses = addresses
        self._trust = trust if hop.scheme == "https" else None
        self._keep = keep

    def connect(self) -> None:
        for i, address in enumerate(self._addresses):
            try:
                self.sock = socket.create_connection((address, self.port), CONNECT_TIMEOUT)
                break
            except OSError:
                if i + 1 == len(self._addresses):
                    raise
        self.sock.settimeout(READ_TIMEOUT)
        self._keep(self.sock)
        if self._trust:
            self.sock = self._trust.wrap_socket(self.sock, server_hostname=self.host)
            self._keep(self.sock)


@dataclass(frozen=True, slots=True)
class _Proxy:
    """The proxy of the settings."""

    host: str
    port: int
    login: dict[str, str]  # the header that carries it, or none

    def connection(self, hop: _Hop, trust: ssl.SSLContext) -> http.client.HTTPConnection:
        if hop.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=READ_TIMEOUT)
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=READ_TIMEOUT, context=trust)
        connection.set_tunnel(hop.host, hop.port, self.login)
        return connection


def _proxy(address: str) -> _Proxy:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise MilesError("MILES_PROXY must be like http://host:port for pictures to be fetched through it.")
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    login = {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()} if parts.username else {}
    return _Proxy(parts.hostname, port, login)


class _Download:
    """One picture on its way, over at most MAX_REDIRECTS + 1 connections."""

    def __init__(
        self, allowed: Sequence[Network], resolve: Resolver, proxy: _Proxy | None, trust: ssl.SSLContext
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._proxy = proxy
        self._trust = trust
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    def get(self, url: str) -> bytes:
        """The body that an address leads to. Raises ImageRefused, OSError, HTTPException."""
        for _ in range(MAX_REDIRECTS + 1):
            hop = _hop(url)
            with closing(self._connection(hop)) as connection:
                connection.connect()
                self._keep(connection.sock)
                # identity: a compressed answer would be a second way to make a bomb
                headers = {"Accept-Encoding": "identity", "Accept": "image/*", "User-Agent": "Miles"}
                if self._proxy and hop.scheme == "http":
                    connection.request("GET", f"http://{hop.place}{hop.target}", headers=headers | self._proxy.login)
                else:
                    connection.request("GET", hop.target, headers=headers)
                with connection.getresponse() as answer:
                    if answer.status == 200:
                        return _body(answer)
                    location = answer.getheader("Location")
                    if answer.status not in (301, 302, 303, 307, 308) or location is None:
                        raise ImageRefused(f"The picture's server answered {answer.status}.", "status", answer.status)
            # http.client reads headers as Latin-1; what is not ASCII there is meant as UTF-8
            url = _joined(hop.url, location.encode("latin-1").decode("utf-8", "replace"))
        raise ImageRefused(f"The picture's address leads on more than {MAX_REDIRECTS} times.", "address")

    def close(self) -> None:
        """End what is still under way: a thread that was given up on must not wait for a server that drips."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _keep(self, new: socket.socket) -> None:
        with self._lock:
            self._socket = new
            if self._closed:
                raise TimeoutError

    def _connection(self, hop: _Hop) -> http.client.HTTPConnection:
        if not self._proxy:
            return _Pinned(hop, self._checked(hop), self._trust, self._keep)
        # The proxy looks names up, so only addresses that are written out can be checked here: for names it is
        # the proxy that must keep private networks closed.
        addresses = _written_out(hop.host)
        if hop.host == "localhost" or hop.host.endswith(".localhost"):
            addresses = [ipaddress.IPv4Address("127.0.0.1")]
        self._check(hop, addresses)
        return self._proxy.connection(hop, self._trust)

    def _checked(self, hop: _Hop) -> list[str]:
        """The IP addresses of a hop, all of which may be asked. Raises ImageRefused."""
        addresses = _written_out(hop.host)
        if not addresses:
            refusal = ImageRefused(f"The host {hop.host[:100]} of the picture was not found.", "unreachable")
            try:
                addresses = [ipaddress.ip_address(address) for address in self._resolve(hop.host, hop.port)]
            except (OSError, UnicodeError) as error:
                raise refusal from error
            if not addresses:
                raise refusal
        self._check(hop, addresses)
        return [str(address) for address in addresses[:MOST_TRIED]]

    def _check(self, hop: _Hop, addresses: Sequence[Address]) -> None:
        """Refuse a hop that leads where nobody may ask. One private address among public ones is enough."""
        if addresses and all(self._is_allowed(address) for address in addresses):
            return
        if not all(is_public(address) for address in addresses):
            raise ImageRefused(
                "The picture's address leads into a private or reserved network. Use one on the public internet.",
                "address",
            )
        if hop.port not in DEFAULT_PORTS.values():
            raise ImageRefused(f"The picture's address names port {hop.port}; only 80 and 443 are asked.", "address")

    def _is_allowed(self, address: Address) -> bool:
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self._allowed) and not any(plain in one for one in METADATA)


def _written_out(host: str) -> list[Address]:
    """The address that a host is, or none where it is a name."""
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        return []


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise ImageRefused(f"Not a web address: {location[:100]}", "address") from error


def _body(answer: http.client.HTTPResponse) -> bytes:
    """The bytes of an answer, as many as were announced and not too many."""
    announced = answer.length  # None where it is not said
    data = bytearray()
    while max(len(data), announced or 0) <= MAX_BYTES and (part := answer.read1(65536)):
        data += part
    if max(len(data), announced or 0) > MAX_BYTES:
        raise ImageRefused(f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB.", "too_large")
    if len(data) < (announced or 0):
        raise http.client.IncompleteRead(bytes(data), announced)
    return bytes(data)


@lru_cache(maxsize=4)
def _trust(authorities: str) -> ssl.SSLContext:
    """The certificate authorities in a PEM file; read once, it takes 20 ms."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise MilesError(f"{authorities} holds no certificate authorities. Correct SSL_CERT_FILE.") from error
