"""The system's settings in a run: everything that waits is short, and what must hold does not depend on it."""

# Seconds that an answer of the bank is waited for. Delays go beyond it, but stay within the time in which a refund's
# outcome is read back: the fact sheet's protocol can't tell a return that is executed after that from none.
BANK_TIMEOUT = 3.0
LONGEST_DELAY = 4.5
LONGEST_LAG = 2.0
REFUND_WINDOW = 12.0
# A QR lives 180 s and is confirmed within 65 s at the real bank: here 18 s and 6.5 s.
TIME_SCALE = 0.1
BANK_LATENCY_MS = 60

SYSTEM = {
    "TOLEM_RATE_LIMIT_PER_MINUTE": "0",
    "TOLEM_ISSUE_WINDOW_SECONDS": "4",
    "TOLEM_ANSWER_WITHIN_SECONDS": "6",
    "TOLEM_KASPI_READ_TIMEOUT_SECONDS": f"{BANK_TIMEOUT:g}",
    "TOLEM_LATE_WATCH_SECONDS": "300",
    "TOLEM_WEBHOOK_TIMEOUT_SECONDS": "2",
    # Long enough that a receiver which is merely clumsy never makes a delivery dead.
    "TOLEM_WEBHOOK_SCHEDULE_SECONDS": "1,1,2,2,3,3,5,5,5,5,5,5",
    # As docker-compose.yml runs it: the strict sandbox has its own tests.
    "TOLEM_WORKER_SANDBOX": "false",
    "TOLEM_LOG_FORMAT": "json",
    "TOLEM_REFUND_WINDOW_SECONDS": f"{REFUND_WINDOW:g}",
    "TOLEM_WATCHDOG_SECONDS": "5",
    "TOLEM_WATCHDOG_GRACE_SECONDS": "10",
}
# kill -9 of a process loses nothing that was written; only a power cut would.
POSTGRES = {"fsync": "off", "full_page_writes": "off"}
BANK = {"time_scale": TIME_SCALE, "latency_ms": BANK_LATENCY_MS}
