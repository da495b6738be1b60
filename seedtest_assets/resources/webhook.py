"""The webhook that is told of new churn alerts. Off unless CHURN_WEBHOOK_URL is set.

Its address and token are secrets, and whoever answers may say anything: messages name the host and the status.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import dagster as dg
import httpx
from pydantic import HttpUrl, TypeAdapter

from seedtest_assets.failures import PermanentFailure, TransientFailure, is_transient
from seedtest_assets.settings import settings

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before the second, the third and the last try."""
TIMEOUT = httpx.Timeout(10, connect=5)

for chatty in ("httpx", "httpcore"):  # below this level they tell addresses, and headers that cannot be sent
    logging.getLogger(chatty).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Alert:
    """What the webhook is told of an alert, as analytics.churn_alert has it: the student's key and nothing personal."""

    user_id: UUID
    week_start: date
    crossed_at: datetime
    horizon_days: int
    risk: float
    risk_lower: float
    risk_upper: float
    threshold: float


@dataclass(frozen=True)
class Message:
    """The body of a request, as JSON.

    Attributes:
        event: what it is about.
        tenant: whose students these are; None where there is one school.
        alerts: the alerts.
    """

    event: Literal["churn_alert"]
    tenant: str | None
    alerts: Sequence[Alert]


MESSAGE = TypeAdapter(Message)


class ChurnWebhook(dg.ConfigurableResource[None]):
    """Another system's address for churn alerts."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an address."""
        return settings().churn_webhook_url is not None

    def send(self, alerts: Sequence[Alert]) -> None:
        """POST alerts in one request, four times at most. The same alerts have the same Idempotency-Key.

        Raises:
            TransientFailure: the last try met no answer, 408, 425, 429 or 5xx.
            PermanentFailure: it was refused by any other status (a redirect, which is not followed, is one), or no
                address is configured.
        """
        url = settings().churn_webhook_url
        if url is None:
            raise PermanentFailure("No webhook is configured. Set CHURN_WEBHOOK_URL.")
        body = MESSAGE.dump_json(Message("churn_alert", settings().seedtest_tenant, alerts))
        headers = {"Content-Type": "application/json", "Idempotency-Key": hashlib.sha256(body).hexdigest()}
        token = settings().churn_webhook_token
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        with httpx.Client(headers=headers, timeout=TIMEOUT) as client:
            for pause in PAUSES:
                try:
                    return _post(client, url, body)
                except TransientFailure:
                    time.sleep(pause)
            return _post(client, url, body)


def _post(client: httpx.Client, url: HttpUrl, body: bytes) -> None:
    try:
        with client.stream("POST", str(url), content=body) as response:  # what the answer says is not read
            status = response.status_code
    except httpx.TransportError as error:
        # `from None`: the library's own message may quote a header.
        raise TransientFailure(f"{url.host} does not answer ({type(error).__name__})") from None
    if is_transient(status):
        raise TransientFailure(f"{url.host} answered {status}")
    if not httpx.codes.is_success(status):
        raise PermanentFailure(f"{url.host} refused the alerts: {status}")
