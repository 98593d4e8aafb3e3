"""A bucket for tests: on a real S3 server on loopback (moto's), with Miles pointed at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from miles import settings, storage

NAME = "pictures"


def keys(patch: pytest.MonkeyPatch) -> None:
    """Keys that any server on loopback takes, nothing of the developer's own, and no proxy between."""
    patch.setenv("AWS_ACCESS_KEY_ID", "the-key-of-the-tests")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-the-tests")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    patch.setenv("AWS_CONFIG_FILE", "/nowhere")
    patch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def server() -> Iterator[str]:
    """Its address. Empty at first: moto's servers of one process share what they hold."""
    running = ThreadedMotoServer("127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    s3_backends.reset()
    try:
        yield f"http://{host}:{port}"
    finally:
        running.stop()
        s3_backends.reset()


def make(address: str) -> Any:
    """Make the bucket; returns a client of its server."""
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    client.create_bucket(Bucket=NAME)
    return client


def use(patch: pytest.MonkeyPatch, address: str) -> None:
    """Point Miles at the bucket of a server, as a process that has asked nobody yet."""
    patch.setenv("MILES_STORAGE_URL", f"s3://{NAME}?endpoint_url={address}&region=us-east-1")
    settings.load.cache_clear()
    storage._nearby.cache_clear()
