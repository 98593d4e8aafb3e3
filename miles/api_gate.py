"""Who may ask the API, how often, and with what: keys, rate limit, and the reading of hostile bodies.

Knows nothing about models, images or what a body should hold. All state is in memory, of this process.
"""

import asyncio
import hashlib
import hmac
import json
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from starlette.requests import ClientDisconnect, Request

from miles.api_problems import MALFORMED, NO_KEY, NOT_JSON, SLOW_BODY, TOO_LARGE, TOO_MANY, Problem
from miles.settings import Settings

DEFAULT_RATE = 600  # requests a minute for each client over the network, where the operator says nothing
CLIENTS_KEPT = 10_000  # whose requests are counted; beyond it those that asked longest ago begin anew
BODY_TIME = 10.0  # seconds for all of a body, so that a dripping client holds no memory for long
LINGER = 3.0  # seconds for the rest of a body that is too large, so that the client reads why
MOST_VALUES = 1_000_000  # in one body; 256 videos with 50 earlier ones each need a tenth. Each takes 60 bytes of memory
MOST_FIELDS = 100  # of one object; each that is not known makes a fault to tell
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
CLOSE = {"Connection": "close"}


# --- who --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as far as can be known."""

    name: str  # an address (IPv6: its /64), or what the server says instead of one
    local: bool  # from this machine or this process, past no proxy


def client(request: Request, proxies: tuple[str, ...]) -> Client:
    """Who asks: the peer, or whom a trusted proxy names in X-Forwarded-For.

    Read from the right, because each proxy appends whom it heard; what stands left of the first
    untrusted address may be invented.
    """
    peer = request.client.host if request.client else ""
    forwarded = [part.strip() for line in request.headers.getlist("X-Forwarded-For") for part in line.split(",")]
    behind_proxy = bool(forwarded) or "Forwarded" in request.headers
    name = peer
    if "*" in proxies:  # whoever connects is trusted, but not whom they heard it from
        name = forwarded[-1] if forwarded else peer
    else:
        while forwarded and _within(name, proxies):
            name = forwarded.pop()
    address = _address(name)
    if address is None:
        # No address: not TCP (a Unix socket, a test), or a proxy's nonsense.
        return Client(name[:100] or "unknown", local=not behind_proxy)
    if isinstance(address, IPv6Address):  # one customer has a whole /64 to choose from
        return Client(str(ip_network((address, 64), strict=False)), address.is_loopback and not behind_proxy)
    return Client(str(address), address.is_loopback and not behind_proxy)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _within(name: str, networks: tuple[str, ...]) -> bool:
    address = _address(name)
    return address is not None and any(address in ip_network(network, strict=False) for network in networks)


class Gate:
    """Lets requests in or raises a Problem."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = tuple(dict.fromkeys(_digest(key.encode()) for key in settings.keys))
        self._public = settings.api_public
        self._proxies = settings.proxies
        self._rate = settings.api_rate
        self._buckets = Buckets(clock)

    def admit(self, request: Request) -> dict[str, str]:
        """Headers for the answer. Raises Problem: 429, or 401 where a key is needed and none is right."""
        asking = client(request, self._proxies)
        key = self._key(request)
        # Wrong keys count for their address: guessing is rationed like everything else.
        rate = self._rate
        if rate is None:
            rate = 0 if asking.local and (key or not self._keys) else DEFAULT_RATE
        headers = {}
        if rate:
            level = self._buckets.take(f"key {key.hex()}" if key else f"address {asking.name}", rate)
            headers = level.headers()
            if level.wait:
                raise Problem(
                    TOO_MANY,
                    f"More than {rate:,} requests in a minute. Try again in {level.wait} s.",
                    headers={**headers, "Retry-After": str(level.wait)},
                )
        if key is None and (self._keys or not (self._public or asking.local)):
            raise Problem(NO_KEY, self._what_to_send(request), headers={**headers, "WWW-Authenticate": "Bearer"})
        return headers

    def _key(self, request: Request) -> bytes | None:
        """The digest of the key that was sent, if it is one of ours; of several, each must be."""
        given = [*request.headers.getlist("X-API-Key")]
        for line in request.headers.getlist("Authorization"):
            scheme, _, key = line.strip().partition(" ")
            given.append(key.strip() if scheme.lower() == "bearer" else "")  # another scheme is no key of ours
        right = []
        for digest in (_digest(key.encode("latin-1")) for key in given):  # as Starlette has decoded it
            for ours in self._keys:  # all of them, always: the time taken tells nothing
                if hmac.compare_digest(digest, ours):
                    right.append(ours)
        return right[0] if right and len(right) == len(given) else None

    def _what_to_send(self, request: Request) -> str:
        if not self._keys:
            return (
                "Without keys this API answers only the machine that it runs on. Its operator can set "
                "MILES_API_KEYS, or open it to everyone with MILES_API_PUBLIC=1."
            )
        if "Authorization" in request.headers or "X-API-Key" in request.headers:
            return "This key is not known here. Send a valid one as `Authorization: Bearer …` or `X-API-Key: …`."
        return "Send a key as `Authorization: Bearer …` or `X-API-Key: …`."


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


# --- how often --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """What is left after a request."""

    rate: int  # requests a minute
    remaining: int  # requests that may follow at once
    reset: int  # seconds until all of them may
    wait: int  # seconds to wait; 0: this one may pass

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.rate),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class Buckets:
    """A token bucket for each name: a minute's requests at once, refilled steadily."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = CLIENTS_KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> tokens, at

    def take(self, name: str, rate: int) -> Level:
        """Take one of `rate` tokens a minute."""
        each = 60.0 / rate  # seconds to grow one
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.pop(name, (float(rate), now))
            tokens = min(tokens + (now - at) / each, float(rate))
            passes = tokens >= 1 - 1e-9
            self._buckets[name] = (tokens - 1 if passes else tokens, now)
            while len(self._buckets) > self._kept:
                self._buckets.popitem(last=False)
        left = max(tokens - 1, 0.0) if passes else tokens
        wait = 0 if passes else max(math.ceil((1 - tokens) * each), 1)
        return Level(rate, int(left + 1e-9), math.ceil((rate - left) * each - 1e-9), wait)


# --- with what --------------------------------------------------------------------------------------


def must_be_json(request: Request) -> None:
    """Raises Problem for what is not plain JSON, before any of it is read."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(NOT_JSON, "Send the body as Content-Type: application/json.")
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Problem(NOT_JSON, "Send the body uncompressed: a small one could unpack to any size.")


async def read_body(request: Request, limit: int, claim: Callable[[int], None]) -> bytes:
    """All of a body of at most `limit` bytes; `claim(n)` is told of n more bytes held, and may raise.

    Raises Problem for one that is too large (announced or not) or too slow, and ClientDisconnect.
    """
    announced = request.headers.get("Content-Length", "")
    too_large = announced.isdigit() and len(announced) < 20 and int(announced) > limit
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME):
            # Whoever asks first whether to send it all is told so before sending it.
            while not (too_large and request.headers.get("Expect", "").lower() == "100-continue"):
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                if len(body) + len(part) > limit:
                    too_large = True
                if too_large:
                    body.clear()
                    await _discard_rest(request, message)
                    break
                claim(len(part))
                body += part
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        if not too_large:
            raise Problem(SLOW_BODY, f"The body did not arrive within {BODY_TIME:g} s.", headers=CLOSE) from None
    if too_large:
        raise Problem(
            TOO_LARGE,
            f"The body is larger than {limit / 2**20:.0f} MiB. Send fewer videos, or smaller images.",
            headers=CLOSE,
        )
    return bytes(body)


async def _discard_rest(request: Request, message: Any) -> None:
    """Take in what else is sent: a connection closed in the middle loses the answer on its way."""
    try:
        async with asyncio.timeout(LINGER):
            while message.get("more_body", False):
                message = await request.receive()
    except TimeoutError:
        pass


def parse(body: bytes) -> Any:
    """A JSON text, strictly: UTF-8, no NaN, no key twice, no half characters. Raises Problem."""

    def refuse(what: str) -> Any:
        raise ValueError(what)

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > MOST_FIELDS:
            refuse(f"an object in it has more than {MOST_FIELDS} fields")
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            refuse(f"the key {twice[:60]!r} stands in one object twice")
        return made

    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
        if not text.strip():
            refuse("it is empty")
        if body.count(b",") >= MOST_VALUES:
            refuse(f"it holds more than {MOST_VALUES:,} values")
        value = json.loads(
            text,
            parse_constant=lambda name: refuse(f"{name} is not a number in JSON; leave the field out or send null"),
            object_pairs_hook=object_of,
        )
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        why = f"{error.msg} at character {error.pos}"
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8"
    except UnicodeEncodeError:
        why = "it holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        # the interpreter's own words on a number of thousands of digits speak of Python
        why = "a number in it has too many digits" if "digits" in str(error) else str(error)
    raise Problem(MALFORMED, f"The body can't be read: {why}.")
