"""The webhook receiver of the demo, under the name tests look for it."""

from dev.receiver import Answer, Received, WebhookReceiver

__all__ = ["Answer", "Received", "WebhookReceiver"]
