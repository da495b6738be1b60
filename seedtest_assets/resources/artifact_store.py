"""Where reports are kept: a folder of this machine, or a bucket of S3, behind one interface.

A key holds a student's key, and a link opens a report: neither is told in a message, which names the place, the
operation and the code of what went wrong.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import dagster as dg

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.artifact_bucket import Bucket
from seedtest_assets.resources.artifact_folder import Folder
from seedtest_assets.resources.artifact_place import Kept, Place
from seedtest_assets.settings import settings

LONGEST_LINK = timedelta(days=7)
"""S3 signs no link for longer."""
MOST_BYTES, MOST_NAME_BYTES = 1024, 255
"""Of a key in S3, and of one name in a file system."""
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\\]")
"""Control characters, what XML (in which S3 speaks of keys) cannot hold, and what some take for a slash."""
NO_PLACE = (
    "There is no place for reports. Set S3_BUCKET or REPORT_FOLDER, or start the commands through ./run, which keeps "
    "them beside the other data of this machine."
)


@dataclass(frozen=True)
class Stored:
    """What was put.

    Attributes:
        key: as it was given.
        url: file:///… or s3://bucket/key; it says where, and opens nothing in S3.
        sha256: of the content, hexadecimal.
        bytes: length of the content.
    """

    key: str
    url: str
    sha256: str
    bytes: int


class ArtifactStore(dg.ConfigurableResource[None]):
    """The place that the settings name: the bucket S3_BUCKET, else the folder REPORT_FOLDER. Opened on first use.

    Every method raises a PermanentFailure when there is no such place, when it refuses, or when a key is none (see
    `checked`), and a TransientFailure when S3 is away or busy, tried five times at most.
    """

    @cached_property
    def place(self) -> Place:
        """The bucket or the folder."""
        chosen = settings()
        if chosen.s3_bucket is not None:
            return Bucket(chosen.s3_bucket, chosen)
        if chosen.report_folder is not None:
            return Folder(chosen.report_folder / (chosen.seedtest_tenant or ""))
        raise PermanentFailure(NO_PLACE)

    def put(self, key: str, body: bytes, content_type: str) -> Stored:
        """Keep `body` under `key`, all of it or nothing, in place of what was there.

        Args:
            key: for example reports/<user_id>/<week_start>/report.pdf.
            body: the content. S3 compares it with its SHA-256 before it keeps it.
            content_type: with which S3 serves it; of a file the name's ending tells it.
        """
        url = self.place.put(checked(key), body, content_type)
        return Stored(key, url, hashlib.sha256(body).hexdigest(), len(body))

    def url(self, key: str) -> str:
        """Where the place that the settings name keeps `key`, or would."""
        return self.place.url(checked(key))

    def link(self, key: str, expires: timedelta | None = None) -> str:
        """An address at which a browser finds what is kept: one that is signed for S3, or the file's own.

        Args:
            key: what is linked; whether it exists is seen when the link is followed.
            expires: how long S3 honours it, one second to seven days; by default REPORT_LINK_SECONDS. A link that
                was signed with a role's temporary credentials ends with them.
        """
        expires = expires if expires is not None else timedelta(seconds=settings().report_link_seconds)
        if not timedelta(seconds=1) <= expires <= LONGEST_LINK:
            raise PermanentFailure(f"A link works for one second to seven days, not for {expires}.")
        return self.place.link(checked(key), expires)

    def get(self, key: str) -> bytes:
        """What is kept under `key`; from S3, compared with the SHA-256 that was kept with it.

        Raises:
            NoSuchArtifact: nothing is; a PermanentFailure and a LookupError.
        """
        return self.place.get(checked(key))

    def kept(self, prefix: str = "") -> Iterator[Kept]:
        """Everything whose key begins with `prefix`, in no order; read while it is iterated over."""
        checked(f"{prefix}x")  # a key can begin so
        return self.place.kept(prefix)

    def delete(self, keys: Iterable[str]) -> int:
        """Keep nothing under these keys any more, whether there was something or not; returns how many keys they are.

        What cannot be deleted does not keep the rest from it in S3; the failure then says how many are left.
        """
        distinct = [checked(key) for key in dict.fromkeys(keys)]
        self.place.delete(distinct)
        return len(distinct)

    def check(self) -> str:
        """Where reports are kept, when they can be: a sentence for `seedtest doctor`. Nothing is changed."""
        return self.place.check()


def checked(key: str) -> str:
    """The key, if it is one: a relative path that each place can keep, and that leads nowhere else.

    At most 1,024 bytes in UTF-8, none of its names over 255, empty, or with a dot in front; no control characters
    and no backslashes.

    Raises:
        PermanentFailure: it is none.
    """
    names = key.split("/")
    try:
        too_long = len(key.encode()) > MOST_BYTES or any(len(name.encode()) > MOST_NAME_BYTES for name in names)
    except UnicodeEncodeError:  # half a surrogate pair; `from None`: the error holds the key
        raise PermanentFailure("A report's key must be Unicode text.") from None
    if too_long or UNSAFE.search(key) or any(not name or name.startswith(".") for name in names):
        raise PermanentFailure(
            "A report's key must be a relative path of at most 1,024 bytes, without control characters, backslashes, "
            "and names that are empty, longer than 255 bytes, or begin with a dot."
        )
    return key
