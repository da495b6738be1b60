"""The failure taxonomy: what is worth another try and what is not.

A `TransientFailure` is retried by the step's `STEP_RETRIES`; a `PermanentFailure` ends the run at once,
because trying again cannot mend bad input, a broken contract or a missing calibration. What is neither, nobody has
foreseen: the step's policy retries it too. Run-level retries of failed steps are switched off in dagster.yaml, so
that retries never multiply.
"""

import dagster as dg

STEP_RETRIES = dg.RetryPolicy(max_retries=3, delay=3, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Three more tries after about 3, 9 and 21 seconds."""

RETRIED_STATUS = frozenset({408, 425, 429})


class TransientFailure(Exception):
    """The other side is away, busy or lost our job: the same request may succeed later."""


class PermanentFailure(dg.Failure):
    """Trying again cannot help. The description says what to do."""

    def __init__(self, description: str, metadata: dict[str, dg.MetadataValue] | None = None) -> None:
        super().__init__(description=description, metadata=metadata, allow_retries=False)


def is_transient(status: int) -> bool:
    """Whether an HTTP status is worth a retry: 408, 425, 429 and every 5xx but 501."""
    return status in RETRIED_STATUS or (status >= 500 and status != 501)
