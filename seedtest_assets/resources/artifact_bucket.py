"""Reports in a bucket of S3, Amazon's or another server's.

The client is boto3's own, not that of dagster_aws' S3Resource: that one leaves no way to choose the mode of its
retries, its time-outs, or how buckets are addressed, and its links to buckets of younger regions are redirected to a
host that they are not signed for.
"""

import base64
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta
from functools import cached_property
from typing import Any

from seedtest_assets.failures import PermanentFailure, TransientFailure, is_transient
from seedtest_assets.resources.artifact_place import Kept, NoSuchArtifact
from seedtest_assets.settings import Settings

TRIES = 5
"""Requests before an operation fails, the first included."""
CONNECT_SECONDS, READ_SECONDS = 5, 30
PAGE_KEYS = 1000
"""Keys in one answer of a list: S3 gives no more."""
MOST_DELETED = 1000
"""Keys in one request of a deletion: S3 takes no more."""
PASSES_BY_ITSELF = frozenset(
    {
        *("InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"),
        *("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"),  # damaged on its way
    }
)
"""Codes that are worth a retry whatever their HTTP status."""
STALE_CREDENTIALS = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
"""Codes of credentials that come with another status than 401 and 403."""

MEND_CREDENTIALS = (
    "Check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or this machine's role): they "
    "must allow s3:ListBucket on the bucket, s3:GetObject, s3:PutObject and s3:DeleteObject on its objects, and the "
    "use of the KMS key, if there is one."
)
MEND_SETTINGS = "Create the bucket, or mend S3_BUCKET, AWS_REGION or AWS_ENDPOINT_URL_S3."
MEND_ENCRYPTION = "Mend S3_SSE or S3_KMS_KEY_ID."

for chatty in ("boto3", "botocore", "urllib3"):  # below this level they tell addresses, which hold keys
    logging.getLogger(chatty).setLevel(logging.WARNING)


class Bucket:
    """A bucket, or what is under S3_PREFIX in it, and there under a tenant's name.

    Connects on first use, with boto3's own chain of credentials.

    Args:
        name: the bucket's.
        chosen: the settings of region, address, prefix and encryption.
    """

    def __init__(self, name: str, chosen: Settings) -> None:
        self.name = name
        self.prefix = "".join(f"{part}/" for part in (chosen.s3_prefix.strip("/"), chosen.seedtest_tenant) if part)
        self._region = chosen.aws_region
        self._endpoint = chosen.aws_endpoint_url_s3
        self._encryption: dict[str, str] = {} if chosen.s3_sse == "none" else {"ServerSideEncryption": chosen.s3_sse}
        if chosen.s3_sse == "aws:kms" and chosen.s3_kms_key_id is not None:
            self._encryption["SSEKMSKeyId"] = chosen.s3_kms_key_id

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """See `Place`. The server compares the content with its SHA-256."""
        with self._told("write to"):
            self.client.put_object(
                Bucket=self.name,
                Key=self.prefix + key,
                Body=body,
                ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
                ContentType=content_type,
                ContentDisposition=f'inline; filename="{_plain(key)}"',
                CacheControl="private",
                **self._encryption,
            )
        return self.url(key)

    def url(self, key: str) -> str:
        """See `Place`."""
        return f"s3://{self.name}/{self.prefix}{key}"

    def link(self, key: str, expires: timedelta) -> str:
        """See `Place`. Signed here, without asking the server (signature version 4)."""
        with self._told("sign links to"):
            url: str = self.client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.name, "Key": self.prefix + key},
                ExpiresIn=int(expires.total_seconds()),
            )
        return url

    def get(self, key: str) -> bytes:
        """See `Place`. The content is compared with the checksum that the server keeps."""
        with self._told("read from"):
            answer = self.client.get_object(Bucket=self.name, Key=self.prefix + key, ChecksumMode="ENABLED")
            body: bytes = answer["Body"].read()
        return body

    def kept(self, prefix: str) -> Iterator[Kept]:
        """See `Place`. A page is asked for when it is needed."""
        with self._told("list"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix, PaginationConfig={"PageSize": PAGE_KEYS}
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Kept(key, found["Size"], found["LastModified"].astimezone(UTC))

    def delete(self, keys: Sequence[str]) -> None:
        """See `Place`. What S3 refuses to delete does not keep it from deleting the rest."""
        refused: Counter[str] = Counter()
        for first in range(0, len(keys), MOST_DELETED):
            objects = [{"Key": self.prefix + key} for key in keys[first : first + MOST_DELETED]]
            with self._told("delete from"):
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            refused.update(error.get("Code", "no code") for error in answer.get("Errors", ()))
        if refused:
            codes = ", ".join(f"{code}: {count}" for code, count in sorted(refused.items()))
            said = f"S3 did not delete {refused.total()} of {len(keys)} reports from bucket {self.name} ({codes})"
            if PASSES_BY_ITSELF.issuperset(refused):
                raise TransientFailure(said)
            raise PermanentFailure(f"{said}. {MEND_CREDENTIALS}")

    def check(self) -> str:
        """See `Place`. Lists one key."""
        with self._told("list"):
            self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=1)
        return f"reports are kept in the S3 bucket {self.name}{f' under {self.prefix}' if self.prefix else ''}"

    @cached_property
    def client(self) -> Any:
        """boto3's client, made on first use."""
        import boto3
        from botocore.config import Config

        # A server other than Amazon's need not have a host name for each bucket.
        addressing = "virtual" if self._endpoint is None else "path"
        return boto3.session.Session().client(
            "s3",
            region_name=self._region,
            endpoint_url=None if self._endpoint is None else str(self._endpoint),
            config=Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": TRIES},
                s3={"addressing_style": addressing},
            ),
        )

    @contextmanager
    def _told(self, operation: str) -> Iterator[None]:
        """Tell what S3 or the way to it did, without what it did it with. `from None`: boto's messages hold keys."""
        from botocore import exceptions

        away = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.MetadataRetrievalError)
        damaged = (exceptions.FlexibleChecksumError, exceptions.ChecksumError, exceptions.IncompleteReadError)
        nobody = (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.ProfileNotFound,
        )
        try:
            yield
        except exceptions.ClientError as error:
            raise self._answered(operation, error.response) from None
        except away as error:
            raise TransientFailure(
                f"S3 does not answer to {operation} bucket {self.name} ({type(error).__name__}). Is it up, and are "
                "AWS_REGION and AWS_ENDPOINT_URL_S3 right?"
            ) from None
        except damaged as error:
            raise TransientFailure(
                f"What came to {operation} bucket {self.name} was damaged ({type(error).__name__})"
            ) from None
        except exceptions.BotoCoreError as error:
            mend = MEND_CREDENTIALS if isinstance(error, nobody) else MEND_SETTINGS
            raise PermanentFailure(f"Cannot {operation} bucket {self.name} ({type(error).__name__}). {mend}") from None

    def _answered(self, operation: str, answer: dict[str, Any]) -> Exception:
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = answer.get("Error", {}).get("Code") or f"status {status}"
        if code == "NoSuchKey":
            return NoSuchArtifact(f"Bucket {self.name} has no such report.")
        if code in PASSES_BY_ITSELF or is_transient(status):
            return TransientFailure(f"S3 could not {operation} bucket {self.name} just now ({code})")
        if code.startswith("KMS."):
            mend = MEND_ENCRYPTION
        elif status in {401, 403} or code in STALE_CREDENTIALS:
            mend = MEND_CREDENTIALS
        else:
            mend = MEND_SETTINGS
        return PermanentFailure(f"S3 refuses to {operation} bucket {self.name} ({code}). {mend}")


def _plain(key: str) -> str:
    """The name under which a browser saves it: what a header may hold of the key's last name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", key.rpartition("/")[2])
