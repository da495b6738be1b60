"""What a folder and a bucket have in common as places for reports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from seedtest_assets.failures import PermanentFailure


class NoSuchArtifact(PermanentFailure, LookupError):
    """Nothing is kept under this key."""


@dataclass(frozen=True)
class Kept:
    """What is kept under a key: its length and when it was last put, UTC."""

    key: str
    bytes: int
    modified: datetime


class Place(Protocol):
    """A place where reports are kept. Keys are checked before they come here (`artifact_store.checked`)."""

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """Keep `body`, all of it or nothing, in place of what was there; returns its URL."""

    def url(self, key: str) -> str:
        """Where `key` is kept, or would be: no address that opens anything."""

    def link(self, key: str, expires: timedelta) -> str:
        """An address at which a browser finds what is kept."""

    def get(self, key: str) -> bytes:
        """What is kept. Raises NoSuchArtifact when nothing is."""

    def kept(self, prefix: str) -> Iterator[Kept]:
        """Everything whose key begins so, in no order."""

    def delete(self, keys: Sequence[str]) -> None:
        """Keep nothing under these keys any more."""

    def check(self) -> str:
        """A sentence that says where reports are kept, when they can be. Changes nothing."""
