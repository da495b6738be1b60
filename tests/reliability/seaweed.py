"""SeaweedFS, a real S3 server, on loopback ports of its own."""

import json
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from seedtest_assets.local.processes import RecordedProcess, tail

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
IDENTITY = {
    "name": "test",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}
BUCKET = "reports"
PARTS = ("master", "volume", "filer", "s3")


@dataclass
class Seaweed:
    """A server with its data in `folder` and one bucket; started again, it is the same server."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(2 * len(PARTS)))

    def __post_init__(self) -> None:
        (self.folder / "data").mkdir()
        (self.folder / "s3.json").write_text(json.dumps({"identities": [IDENTITY]}))
        self.process = RecordedProcess(self.folder / "process.json")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[PARTS.index('s3')]}"

    def start(self) -> None:
        """Start, and wait until it keeps what it is given."""
        ports = {
            f"-{part}.port{suffix}": self.ports[number + offset]
            for suffix, offset in (("", 0), (".grpc", len(PARTS)))
            for number, part in enumerate(PARTS)
        }
        options = {
            **{"-ip": "127.0.0.1", "-ip.bind": "127.0.0.1", "-dir": self.folder / "data", "-master.telemetry": "false"},
            **{"-filer": "true", "-filer.localSocket": self.folder / "filer.sock"},
            **{"-s3": "true", "-s3.localSocket": self.folder / "s3.sock", "-s3.config": self.folder / "s3.json"},
            **{"-s3.port.iceberg": 0, "-s3.port.lance": 0, "-s3.autoCreateBucket": "false"},
            **{"-master.electionTimeout": "1s", "-master.volumeSizeLimitMB": 64, "-volume.max": 50},
            **ports,
        }
        self.process.start(
            ["weed", "server", *(f"{name}={value}" for name, value in options.items())],
            port=self.ports[PARTS.index("s3")],
            log=self.folder / "log",
            cwd=self.folder,
            environment={"PATH": os.environ["PATH"], "HOME": str(self.folder), "WEED_S3_SSE_KEY": "a key of the tests"},
        )
        self._wait()

    def stop(self) -> None:
        """Kill it: a clean stop takes a quarter of a minute."""
        self.process.stop(grace=0)
        for part, port in zip(PARTS, self.ports[len(PARTS) :], strict=True):
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)

    def client(self) -> Any:
        return boto3.session.Session(ACCESS_KEY, SECRET_KEY).client(
            "s3", region_name="us-east-1", endpoint_url=self.url, config=Config(s3={"addressing_style": "path"})
        )

    def _wait(self) -> None:
        client = self.client()
        deadline = time.monotonic() + 90
        while True:
            assert self.process.alive(), f"SeaweedFS ended: {tail(self.folder / 'log')}"
            try:
                if not any(bucket["Name"] == BUCKET for bucket in client.list_buckets()["Buckets"]):
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
                return
            except (BotoCoreError, ClientError):
                assert time.monotonic() < deadline, f"SeaweedFS is not ready: {tail(self.folder / 'log')}"
                time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nobody uses."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
