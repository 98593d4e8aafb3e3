"""One frozen Settings built from the environment: the only reader of os.environ in Miles.

The usual names keep their usual meaning (`DATABASE_URL`, `OPENAI_API_KEY`, `SSL_CERT_FILE`);
what is ours begins with `MILES_`.
"""

import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from miles.errors import MilesError

logger = logging.getLogger(__name__)

LEAST_DETAIL_DAYS = 14  # a forecast may be told up to 10 days after its look, with one 3.5 days after it
PROJECT = Path(__file__).resolve().parent.parent  # the checkout: Home.py, pages/, model/


@dataclass(frozen=True, slots=True)
class PerSource:
    """A number for every source, and others for some: written "2.5,tiktok=10"."""

    usual: float
    special: Mapping[str, float] = field(default_factory=dict)

    def of(self, source: str) -> float:
        return self.special.get(source, self.usual)


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is: s3://bucket/prefix?endpoint_url=https://…&region=…"""

    bucket: str
    prefix: str  # without slashes at its ends; "" for none
    endpoint_url: str | None  # None: Amazon's own
    region: str | None  # None: what AWS_REGION or ~/.aws says


def _bucket(url: str) -> BucketAddress:
    """Raises ValueError, whose message does not repeat the address: somebody may have written keys into it."""
    example = "write it like s3://bucket/prefix?endpoint_url=https://host&region=auto"
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "keys don't belong into the address; put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme != "s3" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", parts.netloc) or parts.fragment:
        raise ValueError(f"it names no bucket; {example}")
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := asked.keys() - {"endpoint_url", "region"}:
        raise ValueError(f"it knows endpoint_url and region, not {', '.join(sorted(unknown))}; {example}")
    endpoint = asked.get("endpoint_url")
    if endpoint is not None:
        place = urlsplit(endpoint)
        if place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc:
            raise ValueError(f"its endpoint_url is not a web address; {example}")
    prefix = parts.path.strip("/")
    if "//" in prefix or not re.fullmatch(r"[\w!.*'()/-]*", prefix, re.ASCII):
        raise ValueError(f"its prefix may hold letters, digits, . _ - and single slashes; {example}")
    return BucketAddress(parts.netloc, prefix, endpoint, asked.get("region") or None)


def _per_source(value: object, default: float) -> object:
    """PerSource from its text; what it leaves out keeps its default."""
    if not isinstance(value, str):
        return value
    usual, special = default, {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        source, named, number = part.rpartition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not 0 <= amount < math.inf or (named and not source.strip()):
            raise ValueError(f"{part!r} is neither a number nor source=number, like tiktok=10")
        if named:
            special[source.strip().lower()] = amount
        else:
            usual = amount
    return PerSource(usual, special)


class Settings(BaseSettings):
    """What this installation is told by its environment; every field has a working default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(PROJECT / ".miles", alias="MILES_HOME")
    """Where Miles keeps everything: the embedded database, thumbnails, logs."""
    database_url: SecretStr | None = Field(None, alias="DATABASE_URL")
    """A PostgreSQL >= 15 to use instead of the embedded one."""
    model_folder: Path = Field(PROJECT / "model", alias="MILES_MODEL")
    port: int = Field(8501, alias="MILES_PORT", ge=1, le=65535)
    """Where the dashboard listens."""
    start_worker: bool = Field(True, alias="MILES_START_WORKER")
    """Whether a dashboard that finds no living worker starts one."""
    predict_url: str | None = Field(None, alias="MILES_PREDICT_URL")
    """Where a Miles API answers, such as https://me-miles.hf.space: the dashboard's drafts are scored there."""
    predict_key: SecretStr | None = Field(None, alias="MILES_PREDICT_KEY")
    """One of its keys."""
    proxy: str | None = Field(None, alias="MILES_PROXY")
    """Proxy address for yt-dlp and for images, e.g. http://127.0.0.1:8899."""
    ssl_cert_file: Path | None = Field(None, alias="SSL_CERT_FILE")
    """Certificate authorities to trust instead of the bundled ones (PEM)."""
    image_networks: str = Field("", alias="MILES_IMAGE_NETWORKS")
    """Networks, separated by commas, that pictures may be fetched from though they are not the public internet."""
    request_delay: Annotated[PerSource, NoDecode] = Field(PerSource(2.5), alias="MILES_REQUEST_DELAY")
    """Least seconds between two requests to one source; a video takes two, and a guest who reads more than one
    video in 5 s is refused before long. "2.5,tiktok=10" sets another one for one source."""
    hourly_budget: Annotated[PerSource, NoDecode] = Field(PerSource(500), alias="MILES_HOURLY_BUDGET")
    """Most requests to one source within an hour: about 250 videos, of the 300 that a guest gets.
    "500,tiktok=100" sets another one for one source."""
    revisits: Annotated[tuple[timedelta, ...], NoDecode] = Field(
        (timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7)), alias="MILES_REVISITS"
    )
    """Ages at which a video is looked at again, e.g. "6h,1d,3d,7d"."""
    follow_channels: int = Field(3, alias="MILES_FOLLOW_CHANNELS", ge=0, le=20)
    """New channels of each collection of a topic or hashtag whose Shorts are listed too; 0 is none."""
    cookies: Path | None = Field(None, alias="MILES_COOKIES")
    """A file of cookies (Netscape format) that yt-dlp sends. Unset: none; an account that collects gets banned too."""
    storage_url: str | None = Field(None, alias="MILES_STORAGE_URL")
    """A bucket for the pictures instead of a folder in MILES_HOME: s3://bucket/prefix?endpoint_url=https://…&region=…"""
    storage_cache_mb: int = Field(500, alias="MILES_STORAGE_CACHE_MB", ge=1)
    """How many MB of the bucket's pictures are kept at hand in MILES_HOME/cache."""
    detail_days: int = Field(90, alias="MILES_DETAIL_DAYS", ge=0)
    """Days for which all snapshots are kept; of older days one for each video and chart, and what its numbers rest
    on. 0 keeps all."""
    openai_api_key: SecretStr | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(None, alias="OPENAI_BASE_URL")
    openai_model: str = Field("gpt-4o-mini", alias="OPENAI_MODEL")
    answer_timeout: float = Field(180.0, alias="MILES_ANSWER_TIMEOUT", ge=1, le=3600)
    """Seconds for a whole answer of the language model, with everything that is tried again."""
    price_input: float | None = Field(None, alias="MILES_PRICE_INPUT", ge=0, le=100_000, allow_inf_nan=False)
    """What a million tokens sent to the language model cost, in USD. Unset: not known; 0 for one that runs here."""
    price_output: float | None = Field(None, alias="MILES_PRICE_OUTPUT", ge=0, le=100_000, allow_inf_nan=False)
    """The same for a million tokens that it writes."""
    daily_spend: float | None = Field(None, alias="MILES_DAILY_SPEND", gt=0, le=1_000_000, allow_inf_nan=False)
    """Most USD that the language model may cost within a day (UTC), all users together. Unset: no limit in money."""
    daily_tokens: int = Field(500_000, alias="MILES_DAILY_TOKENS", ge=0)
    """Most tokens that the language model may read and write within a day (UTC), all users together: some 50 requests
    for five concepts. 0 is no limit."""
    user: str = Field("local", alias="MILES_USER")
    """Whose drafts and queries the dashboard shows where nobody is logged in."""

    api_keys: SecretStr | None = Field(None, alias="MILES_API_KEYS")
    """Keys of the API, separated by commas. Without any it answers this machine alone; see docs/api.md."""
    api_public: bool = Field(False, alias="MILES_API_PUBLIC")
    """Whether the API answers everyone who reaches it, without a key."""
    api_rate: int | None = Field(None, alias="MILES_API_RATE", ge=0)
    """Requests a minute for each key, or each address without one; 0 is no limit. Unset: 600, and none for this
    machine."""
    api_timeout: float = Field(30.0, alias="MILES_API_TIMEOUT", gt=0, le=600)
    """Seconds that the API may take to answer."""
    api_body_mb: int = Field(16, alias="MILES_API_BODY_MB", ge=1, le=256)
    """The largest body that the API takes, in MiB. The largest picture, in base64, needs 14."""
    api_queue: int = Field(2048, alias="MILES_API_QUEUE", ge=1)
    """Videos that may wait to be scored; further ones are refused until it is shorter."""
    api_proxies: str = Field("", alias="MILES_API_PROXIES")
    """Addresses or networks, separated by commas, whose X-Forwarded-For is believed; `*` for whoever connects."""
    api_host: str | None = Field(None, alias="MILES_API_HOST")
    """Where `python -m miles api` listens: 127.0.0.1, or 0.0.0.0 where PORT is set."""
    api_port: int | None = Field(None, alias="MILES_API_PORT", ge=1, le=65535)
    """The port of `python -m miles api`: PORT where that is set, else 8600."""
    platform_port: str | None = Field(None, alias="PORT")
    """What hosting platforms call the port to listen on. Other programs use the name too: only the API looks at it."""

    @field_validator("request_delay", mode="before")
    @classmethod
    def _delays(cls, value: object) -> object:
        return _per_source(value, 2.5)

    @field_validator("hourly_budget", mode="before")
    @classmethod
    def _budgets(cls, value: object) -> object:
        read = _per_source(value, 500)
        if isinstance(read, PerSource) and min(read.usual, *read.special.values(), math.inf) < 1:
            raise ValueError("a budget is at least 1 request an hour")
        return read

    @field_validator("revisits", mode="before")
    @classmethod
    def _ages(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        ages = []
        for part in filter(None, (part.strip().lower() for part in value.split(","))):
            if part[-1] not in "hd" or not part[:-1].isdigit() or not 0 < int(part[:-1]) <= 1000:
                raise ValueError(f"{part!r} is not an age; write hours or days, like 6h or 3d")
            ages.append(timedelta(**{"hours" if part[-1] == "h" else "days": int(part[:-1])}))
        return tuple(sorted(set(ages)))

    @field_validator("storage_url")
    @classmethod
    def _a_bucket(cls, url: str | None) -> str | None:
        if url is not None:
            _bucket(url)
        return url

    @property
    def bucket(self) -> BucketAddress | None:
        """The bucket for pictures; None: they lie in a folder."""
        return None if self.storage_url is None else _bucket(self.storage_url)

    @field_validator("detail_days")
    @classmethod
    def _long_enough(cls, days: int) -> int:
        if 0 < days < LEAST_DETAIL_DAYS:
            raise ValueError(f"forecasts wait that long for their outcome: at least {LEAST_DETAIL_DAYS}, or 0 for all")
        return days

    @model_validator(mode="after")
    def _whole_prices(self) -> Self:
        if (self.price_input is None) != (self.price_output is None):
            raise ValueError("MILES_PRICE_INPUT and MILES_PRICE_OUTPUT: one without the other gives no price; set both")
        if self.daily_spend is not None and self.price_input is None:
            raise ValueError(
                "MILES_DAILY_SPEND: without MILES_PRICE_INPUT and MILES_PRICE_OUTPUT nothing is known to be spent; "
                "set them, or limit MILES_DAILY_TOKENS instead"
            )
        return self

    @field_validator("home", "model_folder")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("api_keys")
    @classmethod
    def _at_least_one(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None and not _listed(keys.get_secret_value()):
            raise ValueError("it holds no key; unset it to have none")  # "," must not open the API
        return keys

    @field_validator("api_proxies")
    @classmethod
    def _networks(cls, proxies: str) -> str:
        for proxy in _listed(proxies):
            if proxy != "*":
                ip_network(proxy, strict=False)
        return proxies

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the API; none: see `api_public`."""
        return _listed(self.api_keys.get_secret_value()) if self.api_keys else ()

    @property
    def proxies(self) -> tuple[str, ...]:
        """Networks whose X-Forwarded-For is believed; may hold "*"."""
        return _listed(self.api_proxies)

    @field_validator("predict_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.match("https?://[^/]", url):
            raise ValueError("it should begin with http:// or https:// and name a host")
        return url

    @field_validator("image_networks")
    @classmethod
    def _only_networks(cls, networks: str) -> str:
        for network in _listed(networks):
            ip_network(network)
        return networks

    @property
    def private_images(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks that pictures may be fetched from though they are not public."""
        return tuple(map(ip_network, _listed(self.image_networks)))

    @property
    def thumbnails(self) -> Path:
        """Folder of the stored thumbnails."""
        return self.home / "thumbnails"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def strangers(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is named like ours and that nothing reads. Pure."""
    known = [str(field.alias) for field in Settings.model_fields.values()]
    sentences = []
    for name, value in sorted(environment.items()):
        if value and name.upper().startswith("MILES_") and name.upper() not in known:
            alike = get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            meant = f"Did you mean {alike[0]}?" if alike else "Unset it; README.md lists those that are read."
            sentences.append(f"{name} is set, but this version of Miles does not read it. {meant}")
    return sentences


@lru_cache(maxsize=1)
def load() -> Settings:
    """The settings of this process, read once. Raises MilesError naming each variable that makes no sense."""
    for sentence in strangers(os.environ):
        logger.warning(sentence)
    try:
        return Settings()  # type: ignore[call-arg]  # every field has a default or an environment name
    except ValidationError as error:
        wrong = "; ".join(
            f"{problem['loc'][0]} ({problem['msg']})"
            if problem["loc"]
            else problem["msg"].removeprefix("Value error, ")
            for problem in error.errors()
        )
        raise MilesError(f"These environment variables make no sense: {wrong}. Correct or unset them.") from error
