"""The stage: a real Temporal server whose workflows' clocks can be moved, our workers, and the outside rooms' doubles.

Only the rooms behind the activities are played; workflows, their client, converter and strict sandbox are ours.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
import sys
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment
from temporalio.worker import Worker

from activities.adopting import AdoptPayment
from activities.bank_calls import PaymentRef
from activities.delivering import DeliverWebhook, TestEndpoint
from activities.issuing import IssueOutcome
from activities.watching import WatchConnection, WatchEnded
from domain.bank import BankFact, Verdict
from domain.event import Attempted
from domain.invoice import Booked, Change, DeliveryRef, Kind, OpenInvoice, State
from runtime.temporal import data_converter
from runtime.temporal_names import SEARCH_ATTRIBUTES, TaskQueues
from runtime.workflow_sandbox import workflow_runner
from tests.replay.keyring import RING
from tests.workflows.scene import Scene
from worker import WORKFLOWS
from workflows.client import Engine

QUEUES = TaskQueues("stage")
