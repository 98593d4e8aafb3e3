"""One frozen Settings built from the environment: the only reader of os.environ in Miles.

The usual names keep their usual meaning (`DATABASE_URL`, `OPENAI_API_KEY`, `SSL_CERT_FILE`);
what is ours begins with `MILES_`.
"""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from miles.errors import MilesError

PROJECT = Path(__file__).resolve().parent.parent  # the checkout: Home.py, pages/, model/


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
    proxy: str | None = Field(None, alias="MILES_PROXY")
    """Proxy address for yt-dlp and for images, e.g. http://127.0.0.1:8899."""
    ssl_cert_file: Path | None = Field(None, alias="SSL_CERT_FILE")
    """Certificate authorities to trust instead of the bundled ones (PEM)."""
    image_networks: str = Field("", alias="MILES_IMAGE_NETWORKS")
    """Networks, separated by commas, that pictures may be fetched from though they are not the public internet."""
    request_delay: float = Field(5.0, alias="MILES_REQUEST_DELAY", ge=0)
    """Seconds between two full extractions; a guest who asks faster is refused before long."""
    refresh_topics: str = Field("", alias="MILES_REFRESH_TOPICS")
    """Topics, separated by commas, that the six-hourly refresh collects beside the watchlist."""
    openai_api_key: SecretStr | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(None, alias="OPENAI_BASE_URL")
    openai_model: str = Field("gpt-4o-mini", alias="OPENAI_MODEL")
    user: str = Field("local", alias="MILES_USER")
    """Whose drafts and queries the dashboard shows where nobody is logged in."""

    @field_validator("home", "model_folder")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

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


@lru_cache(maxsize=1)
def load() -> Settings:
    """The settings of this process, read once. Raises MilesError naming each variable that makes no sense."""
    try:
        return Settings()  # type: ignore[call-arg]  # every field has a default or an environment name
    except ValidationError as error:
        wrong = "; ".join(f"{problem['loc'][0]} ({problem['msg']})" for problem in error.errors())
        raise MilesError(f"These environment variables make no sense: {wrong}. Correct or unset them.") from error
