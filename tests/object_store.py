"""An S3-compatible store on this machine, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "of-a-test", "AWS_SECRET_ACCESS_KEY": "of-a-test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def object_store(bucket: str) -> Iterator[str]:
    """Give the address of a store with an empty bucket; it ends with the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        with urlopen(Request(f"{address}/moto-api/reset", method="POST")):  # what an earlier one in this process held
            pass
        client_of(address).create_bucket(Bucket=bucket)
        yield address
    finally:
        server.stop()


def client_of(address: str):
    keys = {"aws_access_key_id": "of-a-test", "aws_secret_access_key": "of-a-test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=address, **keys)
