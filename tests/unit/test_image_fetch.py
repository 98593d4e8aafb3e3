"""No address that somebody gives leads anywhere but to a picture on the public internet.

The servers here are real ones on loopback, which the tests allow by a parameter; names are made up.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trustme
from loopback import Answer, Site, eventually, picture

from miles import images, settings
from miles.errors import ImageRefused, MilesError

HERE = (ipaddress.ip_network("127.0.0.1/32"),)
PICTURE = picture()


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    running.pages["/a.png"] = Answer(PICTURE, "image/png")
    yield running
    running.close()


class Names:
    """A resolver: addresses by name, and what it was asked for. An answer of several lists gives one after the other."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = {name.replace("_", "."): list(addresses) for name, addresses in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.answers[host]


class Raw:
    """A server below HTTP: each connection is handled by a function."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.ended = threading.Event()  # a connection was closed by the other side
        self._handle = handle
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                try:
                    self._handle(connection)
                except OSError:
                    self.ended.set()

    def close(self) -> None:
        self.listening.close()


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], Raw]]:
    made: list[Raw] = []

    def make(handle: Callable[[socket.socket], None]) -> Raw:
        made.append(Raw(handle))
        return made[-1]

    yield make
    for server in made:
        server.close()


def assert_refused(
    url: str,
    kind: str,
    match: str | None = None,
    *,
    allowed: Sequence[images.Network] = (),
    resolve: images.Resolver | None = None,
) -> None:
    with pytest.raises(ImageRefused, match=match) as refusal:
        images.fetch(url, allowed=allowed, resolve=resolve or Names())
    assert refusal.value.kind == kind


# --- Which addresses are public

PRIVATE = [
    *("0.0.0.0", "0.1.2.3"),  # this network  # noqa: S104
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),  # private
    *("100.64.0.1", "100.127.255.254"),  # carriers' own (CGNAT)
    *("127.0.0.1", "127.255.255.254"),  # loopback
    *("169.254.169.254", "169.254.0.1"),  # link-local, where clouds keep their metadata
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),  # metadata of Alibaba, Azure, Oracle
    *("192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),  # multicast, reserved, broadcast
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),  # IPv4 inside
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"),  # NAT64 of a private one; local NAT64
    *("2002:7f00:1::", "2002:0808:0808::", "2001:0:7f00:1::", "2001:db8::1", "3fff::1"),  # 6to4, Teredo, documentation
    *("100::1", "4000::1", "8000::1"),  # discard, and what nobody has been given
]
PUBLIC = [
    *(
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.0.1",
        "223.255.255.1",
    ),
    *("2606:4700:4700::1111", "2a00:1450:4001:830::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_private_and_reserved_networks_are_not_public(address: str) -> None:
    assert not images.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert images.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [one for one in PRIVATE if "%" not in one])
def test_neither_the_address_itself_nor_a_name_that_leads_to_it_is_asked(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert_refused(f"http://{host}/a.png", "address", "private or reserved")
    assert_refused("http://pictures.test/a.png", "address", "private", resolve=Names(pictures_test=[address]))


def test_one_private_address_among_public_ones_is_enough(site: Site) -> None:
    names = Names(pictures_test=["8.8.8.8", "127.0.0.1", "1.1.1.1"])
    assert_refused("http://pictures.test/a.png", "address", "private", resolve=names)


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.0.0.0x1"),
        *("127.000.000.001", "0x7f.1", "0", "0x", "1.2.3.4.5", "256.256.256.256", "127.0.0.1.0x0"),
    ],
)
def test_an_ip_address_in_disguise_is_refused_unresolved(host: str) -> None:
    names = Names()
    assert_refused(f"http://{host}/a.png", "address", "four decimal numbers", resolve=names)
    assert_refused(f"http://{host}./a.png", "address", "four decimal numbers", resolve=names)
    assert names.asked == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.", "１２７.０.０.１", "127。0。0。1", "①②⑦.⓪.⓪.①"),  # a dot at the end; digits of other scripts
        *("[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[::]"),
    ],
)
def test_other_spellings_of_loopback_are_seen_through(site: Site, host: str) -> None:
    assert_refused(f"http://{host}:{site.server.server_port}/a.png", "address", "private")
    assert site.requests == []


def test_names_of_this_machine_lead_nowhere(site: Site) -> None:
    for host in ("localhost", "LOCALHOST.", "localhost"):
        with pytest.raises(ImageRefused, match="private"):
            images.fetch(f"http://{host}:{site.server.server_port}/a.png", allowed=())  # asks the real resolver
    assert site.requests == []


# --- Which addresses are web addresses at all


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.png", "//pictures.test/a.png", "http://", "http:///a.png", "http://:80/a.png", "https:pictures.test"),
        *(
            "file:///etc/passwd",
            "ftp://pictures.test/a",
            "gopher://pictures.test:80/_GET",
            "data:image/png;base64,AAAA",
        ),
        *(
            "javascript:alert(1)",
            "http+unix://%2Fvar%2Frun%2Fdocker.sock/a",
            "ws://pictures.test/",
            "jar:http://a.test!/",
        ),
        *("http://pictures.test:port/", "http://pictures.test:99999/", "http://[::1/a.png", "http://[pictures.test]/"),
        *("http://pictures..test/", "http://.test/", "http://-a.test/", "http://pictures.test%2f@127.0.0.1/"),
        *("http://pic tures.test/", "http://pictures.test/a b.png", "http://pictures.test\\@127.0.0.1/a.png"),
        *("http://pictures.test/\r\nX-Evil: 1", "http://pictures.test/\x00", "http://pictures.test/\x7f"),
        *(
            "http://[fe80::1%25eth0]/",
            "http://" + "a" * 64 + ".test/",
            "http://" + "a." * 200 + "test/",
            "http://xn--/",
        ),
        *("http://pictures.test/" + "a" * 3000, "http://127.0.0.1%00.pictures.test/"),
    ],
)
def test_what_is_no_web_address_is_refused_before_anything_is_asked(url: str) -> None:
    names = Names(pictures_test=["8.8.8.8"])
    assert_refused(url, "address", resolve=names)
    assert names.asked == []


@pytest.mark.parametrize("login", ["user@", "user:secret@", "@", ":@", "pictures.test@", "pictures.test:80@"])
def test_an_address_with_a_login_is_refused(login: str) -> None:
    assert_refused(f"http://{login}127.0.0.1/a.png", "address", "user name")


@pytest.mark.parametrize("port", [1, 22, 25, 81, 5432, 6379, 8080, 8443, 65535])
def test_other_ports_than_those_of_the_web_are_not_asked(port: int) -> None:
    names = Names(pictures_test=["8.8.8.8"])
    assert_refused(f"http://pictures.test:{port}/a.png", "address", f"port {port}", resolve=names)


def test_a_host_that_is_not_there_is_said() -> None:
    assert_refused("http://nobody.test/a.png", "unreachable", "nobody.test of the picture was not found")


def test_a_name_without_addresses_is_said() -> None:
    names = Names(pictures_test=[])
    assert_refused("http://pictures.test/a.png", "unreachable", "not found", resolve=names)


# --- The connection goes to what was checked


def heard(site: Site, path: str = "/a.png") -> list[dict[str, str]]:
    """Lets the site keep the headers of the requests for a path."""
    kept: list[dict[str, str]] = []
    answer = site.answer

    def listening(handler: object, body: bool = True) -> None:
        kept.append({key.lower(): value for key, value in handler.headers.items()})  # type: ignore[attr-defined]
        answer(handler, body)  # type: ignore[arg-type]

    site.answer = listening  # type: ignore[method-assign]
    return kept


def test_a_name_that_changes_its_address_a_moment_later_changes_nothing(site: Site) -> None:
    """DNS rebinding: the first answer is checked and used, a second one is never asked for."""
    names = Names(pictures_test=["127.0.0.1"])

    def rebinding(host: str, port: int) -> list[str]:
        first = names(host, port)
        names.answers[host] = ["127.0.0.2"]
        return first

    port = site.server.server_port
    assert images.fetch(f"http://pictures.test:{port}/a.png", allowed=HERE, resolve=rebinding).data == PICTURE
    assert names.asked == ["pictures.test"]  # and the name is in no real DNS: nothing else can have resolved it


def test_the_host_keeps_its_name_in_the_request(site: Site) -> None:
    headers = heard(site)
    port = site.server.server_port
    images.fetch(f"http://Pictures.test.:{port}/a.png", allowed=HERE, resolve=Names(pictures_test=["127.0.0.1"]))
    assert headers[0]["host"] == f"pictures.test:{port}"
    assert headers[0]["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(headers[0])


def test_an_international_name_is_looked_up_as_dns_spells_it(site: Site) -> None:
    names = Names()
    names.answers["xn--bcher-kva.test"] = ["127.0.0.1"]
    images.fetch(f"http://Bücher.test:{site.server.server_port}/a.png", allowed=HERE, resolve=names)
    assert names.asked == ["xn--bcher-kva.test"]


def test_the_next_address_is_tried_where_the_first_one_does_not_answer(site: Site) -> None:
    allowed = (ipaddress.ip_network("127.0.0.0/8"),)  # the site listens on 127.0.0.1 alone
    names = Names(pictures_test=["127.0.0.9", "127.0.0.1"])
    url = f"http://pictures.test:{site.server.server_port}/a.png"
    assert images.fetch(url, allowed=allowed, resolve=names).data == PICTURE


def test_letters_beyond_ascii_arrive_as_utf_8(site: Site) -> None:
    site.pages["/caf%C3%A9.png?q=%C3%BC&x=[1]"] = Answer(PICTURE)
    assert images.fetch(f"{site.address}/café.png?q=ü&x=[1]#part", allowed=HERE).width == 64


def test_line_breaks_in_percent_stay_in_percent(site: Site) -> None:
    headers = heard(site)
    with pytest.raises(ImageRefused, match="404"):
        images.fetch(f"{site.address}/%0d%0aX-Evil:%201", allowed=HERE)
    assert "x-evil" not in headers[0]


# --- Every hop


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://127.0.0.2:{port}/a.png", "address"),  # another address than the one that is allowed
        ("//127.0.0.2:{port}/a.png", "address"),
        ("http://inside.test:{port}/a.png", "address"),
        ("http://169.254.169.254/latest/meta-data/", "address"),
        ("http://[::1]:{port}/a.png", "address"),
        ("http://2130706433:{port}/a.png", "address"),
        ("http://user:secret@127.0.0.1:{port}/a.png", "address"),
        ("file:///etc/passwd", "address"),
        ("gopher://127.0.0.1:{port}/_GET%20/a.png", "address"),
        ("ftp://127.0.0.1:{port}/a.png", "address"),
        ("data:image/png;base64,AAAA", "address"),
        ("http://[broken/", "address"),
        ("http://public.test:6379/", "address"),  # a port
        ("http://nobody.test/", "unreachable"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(location: str, kind: str) -> None:
    site = Site(host="")  # on every loopback address: what is not checked would be answered
    try:
        site.pages["/a.png"] = Answer(PICTURE)
        site.pages["/go"] = Answer(status=302, headers={"Location": location.format(port=site.server.server_port)})
        names = Names(inside_test=["127.0.0.2"], public_test=["8.8.8.8"])
        assert_refused(f"{site.address}/go", kind, allowed=HERE, resolve=names)
        assert site.requests == ["/go"]
    finally:
        site.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site, status: int) -> None:
    for i in range(4):
        site.pages[f"/{i}"] = Answer(status=status, headers={"Location": f"{i + 1}"})  # relative ones
    site.pages["/4"] = Answer(PICTURE)
    assert images.fetch(f"{site.address}/1", allowed=HERE).width == 64
    assert_refused(f"{site.address}/0", "address", "more than 3 times", allowed=HERE)
    assert site.requests == ["/1", "/2", "/3", "/4", "/0", "/1", "/2", "/3"]


@pytest.mark.parametrize("status", [300, 304, 305, 399])
def test_other_answers_of_the_three_hundreds_lead_nowhere(site: Site, status: int) -> None:
    site.pages["/go"] = Answer(status=status, headers={"Location": "/a.png"})
    assert_refused(f"{site.address}/go", "status", str(status), allowed=HERE)
    site.pages["/lost"] = Answer(status=302)
    assert_refused(f"{site.address}/lost", "status", "302", allowed=HERE)


# --- TLS


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that Miles is told to trust."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    settings.load.cache_clear()
    return made


def secured(site: Site, certificate: trustme.LeafCert) -> list[str | None]:
    """Lets a site speak TLS; returns the names that it was asked for (SNI)."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # who turns away
    return asked


def test_over_tls_the_name_is_asked_for_and_checked_though_the_connection_goes_to_an_address(
    site: Site, authority: trustme.CA
) -> None:
    asked = secured(site, authority.issue_cert("pictures.test"))
    url = f"https://pictures.test:{site.server.server_port}/a.png"
    assert images.fetch(url, allowed=HERE, resolve=Names(pictures_test=["127.0.0.1"])).data == PICTURE
    assert asked == ["pictures.test"]


def test_a_certificate_for_another_name_is_refused(site: Site, authority: trustme.CA) -> None:
    secured(site, authority.issue_cert("others.test", "127.0.0.1"))  # valid for where it is, not for who it is
    url = f"https://pictures.test:{site.server.server_port}/a.png"
    names = Names(pictures_test=["127.0.0.1"])
    assert_refused(url, "unreachable", "certificate", allowed=HERE, resolve=names)
    assert site.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(site: Site) -> None:
    secured(site, trustme.CA().issue_cert("127.0.0.1"))
    assert_refused(f"https://127.0.0.1:{site.server.server_port}/a.png", "unreachable", "certificate", allowed=HERE)


def test_a_file_without_authorities_is_named(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    settings.load.cache_clear()
    with pytest.raises(MilesError, match=r"nothing.pem .* Correct SSL_CERT_FILE"):
        images.fetch(f"{site.address}/a.png", allowed=HERE)


# --- Time and size


TIMELY = 20.0  # seconds, for a limit of less than one on a busy machine; what is tested would take a minute and more


def assert_ends(url: str, kind: str, match: str | None = None) -> None:
    """It is refused in time, and its thread ends with it."""
    before = {thread for thread in threading.enumerate() if thread.name == "within"}
    started = time.monotonic()
    assert_refused(url, kind, match, allowed=HERE)
    assert time.monotonic() - started < TIMELY
    eventually(lambda: not {one for one in threading.enumerate() if one.name == "within"} - before, what="its end")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FETCH_TIMEOUT", 0.6)


@pytest.mark.usefixtures("impatient")
def test_headers_that_drip_end_in_time_and_leave_no_thread(raw: Callable[..., Raw]) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1000)
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    server = raw(drip)
    assert_ends(f"{server.address}/a.png", "timeout", "did not arrive within")
    assert server.ended.wait(60)  # the connection was closed, not left to drip


@pytest.mark.usefixtures("impatient")
def test_a_body_that_drips_leaves_no_thread(site: Site) -> None:
    site.pages["/a.png"] = Answer(PICTURE, drip=0.5)
    assert_ends(f"{site.address}/a.png", "timeout")


@pytest.mark.usefixtures("impatient")
def test_a_handshake_that_never_ends_is_ended(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "READ_TIMEOUT", 2.0)
    server = raw(lambda connection: time.sleep(60))
    assert_ends(f"https://127.0.0.1:{server.port}/a.png", "timeout")


@pytest.mark.usefixtures("impatient")
def test_redirects_share_one_time_limit(site: Site) -> None:
    for i in range(3):
        site.pages[f"/{i}"] = Answer(status=302, headers={"Location": f"/{i + 1}"}, delay=0.3)
    site.pages["/3"] = Answer(PICTURE)
    assert_ends(f"{site.address}/0", "timeout")
    assert "/3" not in site.requests


@pytest.mark.usefixtures("impatient")
def test_a_slow_look_up_counts_too() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(1.5)
        return ["127.0.0.1"]

    assert_refused("http://pictures.test/a.png", "timeout", allowed=HERE, resolve=slow)


def test_silence_is_not_waited_for_to_the_end(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "READ_TIMEOUT", 0.3)
    server = raw(lambda connection: time.sleep(60))
    started = time.monotonic()
    assert_refused(f"{server.address}/a.png", "timeout", allowed=HERE)
    assert time.monotonic() - started < TIMELY


def test_a_body_in_chunks_is_counted_too(raw: Callable[..., Raw]) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
            sent += 65536

    server = raw(endless)
    assert_refused(f"{server.address}/a.png", "too_large", "larger than 10 MB", allowed=HERE)
    assert server.ended.wait(60)
    assert sent < 2 * images.MAX_BYTES


def test_a_body_in_chunks_arrives(raw: Callable[..., Raw]) -> None:
    def chunks(connection: socket.socket) -> None:
        connection.recv(1000)
        parts = (PICTURE[i : i + 7] for i in range(0, len(PICTURE), 7))
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")

    assert images.fetch(f"{raw(chunks).address}/a.png", allowed=HERE).data == PICTURE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    ],
)
def test_what_is_no_answer_is_refused(raw: Callable[..., Raw], answer: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)

    assert_refused(f"{raw(speak).address}/a.png", "unreachable", "could not be fetched", allowed=HERE)


@pytest.mark.parametrize("said", ["image/svg+xml", "image/png", "text/html", ""])
def test_what_the_bytes_are_counts_and_not_what_they_are_called(site: Site, said: str) -> None:
    site.pages["/svg"] = Answer(b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='36'/>", said)
    site.pages["/png"] = Answer(PICTURE, said)
    assert images.fetch(f"{site.address}/png", allowed=HERE).content_type == "image/png"
    assert_refused(f"{site.address}/svg", "not_an_image", allowed=HERE)


# --- What the settings open


def test_without_a_setting_nothing_private_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.fetch(f"{site.address}/a.png").width == 64  # the tests' own setting allows loopback
    monkeypatch.delenv("MILES_IMAGE_NETWORKS")
    settings.load.cache_clear()
    with pytest.raises(ImageRefused, match="private"):
        images.fetch(f"{site.address}/a.png")
    assert site.requests == ["/a.png"]


def test_networks_that_make_no_sense_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_IMAGE_NETWORKS", "10.0.0.0/8, home")
    settings.load.cache_clear()
    with pytest.raises(MilesError, match="MILES_IMAGE_NETWORKS"):
        settings.load()


@pytest.mark.parametrize("address", ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16"])
def test_no_setting_opens_what_hands_out_a_clouds_secrets(address: str) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert_refused(f"http://{address}/latest/meta-data/", "address", "private", allowed=everything)


def test_the_environments_own_proxy_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Site()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.address)
    monkeypatch.setenv("no_proxy", "")
    assert images.fetch(f"{site.address}/a.png", allowed=HERE).width == 64
    assert proxy.requests == []
    proxy.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A proxy, asked for whole addresses."""
    running = Site()
    monkeypatch.setenv("MILES_PROXY", running.address.replace("//", "//me:s%20cret@"))
    settings.load.cache_clear()
    yield running
    running.close()


def test_through_a_proxy_names_are_its_business_and_nobody_else_is_asked(proxy: Site) -> None:
    headers = heard(proxy)
    proxy.pages["http://pictures.test/a.png"] = Answer(PICTURE)
    names = Names(pictures_test=["8.8.8.8"])
    assert images.fetch("http://pictures.test/a.png", resolve=names).width == 64
    assert names.asked == []
    assert headers[0]["host"] == "pictures.test"
    assert headers[0]["proxy-authorization"] == "Basic bWU6cyBjcmV0"


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://localhost/", "http://a.localhost./"),
        *(
            "http://0x7f.1/",
            "http://2130706433/",
            "http://pictures.test:8080/",
            "http://10.0.0.1/",
            "file:///etc/passwd",
        ),
    ],
)
def test_through_a_proxy_what_can_be_seen_of_an_address_is_checked(proxy: Site, url: str) -> None:
    assert_refused(url, "address")
    proxy.pages["http://pictures.test/go"] = Answer(status=302, headers={"Location": url})
    assert_refused("http://pictures.test/go", "address")
    assert proxy.requests == ["http://pictures.test/go"]


def test_over_tls_a_proxy_is_asked_for_a_tunnel(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n")

    monkeypatch.setenv("MILES_PROXY", raw(refuse).address.replace("//", "//me:secret@"))
    settings.load.cache_clear()
    assert_refused("https://pictures.test/a.png", "unreachable")
    assert asked[0].startswith(b"CONNECT pictures.test:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked[0]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://proxy.test:443", "http://", "http://a:port"])
def test_a_proxy_of_another_kind_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_PROXY", proxy)
    settings.load.cache_clear()
    with pytest.raises(MilesError, match="MILES_PROXY must be like http://host:port"):
        images.fetch("http://pictures.test/a.png")
