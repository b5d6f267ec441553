"""Every way we call an activity, by name, each with its reason."""

from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities import failures


class CallOptions(TypedDict, total=False):
    """How an activity is called; the queue and the summary are the caller's."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType


class LocalCallOptions(TypedDict, total=False):
    """How a local activity is called."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy
    local_retry_threshold: timedelta


# Waiting inside a workflow task costs three events each eight seconds; longer pauses are timers, so that a history
# survives a database that is away for days.
LOCAL_PAUSE = timedelta(seconds=10)

# A call takes at most three connect timeouts and one read timeout of the client (40 s by default); a shorter
# limit here would make an unknown outcome of a slow answer. It leaves room for TOLEM_KASPI_READ_TIMEOUT_SECONDS.
BANK_CALL = timedelta(seconds=150)

# The money protocol of a create. Local: it saves 8 of 29 history events, and the claim makes a second run after a
# crash safe. The time covers the bank (30 s), its quick repeats for harmless kinds, and the ledger.
ISSUE = LocalCallOptions(
    start_to_close_timeout=BANK_CALL * 4,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(minutes=2),
        non_retryable_error_types=[failures.WINDOW_MISSED],
    ),
    local_retry_threshold=LOCAL_PAUSE,
)

# A fact that is known must be written: for ever, because the database comes back and the money is real.
LEDGER_WRITE = LocalCallOptions(
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=2)),
    local_retry_threshold=LOCAL_PAUSE,
)

# Reads may be repeated until the bank answers: an unread status is never taken for an answer. Whoever reads holds the
# story's lock, so after a quarter of an hour it is let go, and the story reads again later.
KASPI_READ = CallOptions(
    start_to_close_timeout=BANK_CALL,
    schedule_to_close_timeout=timedelta(minutes=15),
    # Somebody waits for the story's lock meanwhile: a dead worker must not hold it for as long as a call can last.
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(minutes=2),
        non_retryable_error_types=[failures.BANK_NOT_FOUND, failures.BANK_REFUSED],
    ),
)

# One read, for a story that waits between its looks by itself.
KASPI_READ_ONCE = CallOptions(
    start_to_close_timeout=BANK_CALL,
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(maximum_attempts=1),
)

# A short read for somebody who waits for the answer.
KASPI_READ_NOW = CallOptions(
    start_to_close_timeout=timedelta(seconds=10),
    schedule_to_close_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        non_retryable_error_types=[failures.BANK_NOT_FOUND, failures.BANK_REFUSED],
    ),
)

# Two reads for an operator's eyes, once: that the bank does not answer is an answer too.
KASPI_LOOK = CallOptions(
    start_to_close_timeout=BANK_CALL,
    schedule_to_close_timeout=BANK_CALL,
    retry_policy=RetryPolicy(maximum_attempts=1),
)

# A bank write is tried once: whatever is not an answer is "unknown" and is settled by reading.
KASPI_WRITE_ONCE = CallOptions(
    start_to_close_timeout=BANK_CALL,
    schedule_to_close_timeout=BANK_CALL + timedelta(seconds=30),
    # The story's lock is held meanwhile, as with a read: what a dead worker asked for is read in seconds, not minutes.
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(maximum_attempts=1),
)

# The one call of payment/return. It is never run again: what it did is in the books, or must be read at the bank. The
# heartbeat tells of a dead worker long before the call's own time is over.
REFUND_ONCE = CallOptions(
    start_to_close_timeout=BANK_CALL + timedelta(seconds=60),
    schedule_to_close_timeout=BANK_CALL + timedelta(seconds=120),
    heartbeat_timeout=timedelta(seconds=12),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=RetryPolicy(maximum_attempts=1),
)

# Recording a refund: tried until the database answers; a refusal of the books is final.
REFUND_OPEN = LocalCallOptions(
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(minutes=2),
        non_retryable_error_types=[failures.WINDOW_MISSED, failures.REFUND_REFUSED],
    ),
    local_retry_threshold=LOCAL_PAUSE,
)

# Recording a subscription, as a refund.
SUBSCRIPTION_OPEN = LocalCallOptions(
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(minutes=2),
        non_retryable_error_types=[failures.WINDOW_MISSED, failures.SUBSCRIPTION_REFUSED],
    ),
    local_retry_threshold=LOCAL_PAUSE,
)

# A subscription talks to a bill's story, and looks at the books afterwards: until somebody answers.
ASK_BILL = CallOptions(
    start_to_close_timeout=timedelta(minutes=1),
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=2)),
)

# A test clock with everything on it. It may take minutes; a run that died has left everybody somewhere on the way.
ADVANCE_CLOCK = CallOptions(
    start_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=15)),
)

# The poller of a connection: heartbeats each tick, so a dead worker is noticed in 10 s; it never gives up.
KASPI_POLL = CallOptions(
    start_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=timedelta(seconds=10),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=15)),
)

# One post to a merchant. The activity reports failures as results; a retry here means that our process died, which the
# heartbeat tells soon. The time covers the longest attempt (TOLEM_WEBHOOK_TIMEOUT_SECONDS, at most 50 s), its place in
# a line, and the booking that waits for a database (activities.attempting).
WEBHOOK_POST = CallOptions(
    start_to_close_timeout=timedelta(seconds=90),
    heartbeat_timeout=timedelta(seconds=12),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=5
    ),
)

# The long tail of a webhook, for weeks: each failure names the moment of the next attempt, and nothing but success or
# the schedule's end stops it. A failure without such a moment is our own (the database is away).
WEBHOOK_RETRY = CallOptions(
    start_to_close_timeout=timedelta(seconds=90),
    heartbeat_timeout=timedelta(seconds=12),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
)

# A stretch of a redelivery: it ends by itself after five minutes and the wait or the attempt it is in, and goes on from
# the books. A failure is our own (the database or Temporal is away).
WEBHOOK_REDELIVER = CallOptions(
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(seconds=12),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
)

# A stretch of a reconciliation: it ends by itself after a minute or one slow batch, and goes on from the books, so a
# dead worker costs one batch. A bank that is away comes back as a result; a retry means our process or the database.
RECONCILE_WALK = CallOptions(
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
)

# A few statements, repeated until the database answers.
LEDGER_STEP = CallOptions(
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)),
)

# One round of the watchdog over one kind. The next round comes in a minute, so a broken one is soon given up.
GUARD = CallOptions(
    start_to_close_timeout=timedelta(minutes=3),
    schedule_to_close_timeout=timedelta(minutes=4),
    heartbeat_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
)
