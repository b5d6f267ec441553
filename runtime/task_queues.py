"""The task queues: client, worker and server must spell them alike."""

from typing import Final

import msgspec

# What TOLEM_WORKER_QUEUES calls them: the properties of `TaskQueues`.
QUEUE_WORDS: Final = ("workflows", "kaspi", "watch", "webhooks", "deliveries")


class TaskQueues(msgspec.Struct, frozen=True):
    """Separate queues, so that slow receivers or an ill bank never starve refunds.

    The queue of workflows is the prefix itself: a workflow finds its sisters by
    ``TaskQueues(workflow.info().task_queue)`` without reading settings.
    """

    prefix: str = "tolem"

    @property
    def workflows(self) -> str:
        """Workflows and the ledger's activities."""
        return self.prefix

    @property
    def kaspi(self) -> str:
        return f"{self.prefix}-kaspi"

    @property
    def watch(self) -> str:
        """The pollers: each holds its slot for half an hour, so they share it with no short call."""
        return f"{self.prefix}-watch"

    @property
    def webhooks(self) -> str:
        """First attempts, made by the story of the event."""
        return f"{self.prefix}-webhooks"

    @property
    def deliveries(self) -> str:
        """What failed once: the workflows `delivery-…` and `redelivery-…` with their activities."""
        return f"{self.prefix}-deliveries"

    def called(self, word: str) -> str:
        """The queue that one of `QUEUE_WORDS` means."""
        name: str = getattr(self, word)
        return name


QUEUES: Final = TaskQueues()
