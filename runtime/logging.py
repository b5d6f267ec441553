"""Logs of every process: structlog and the standard library through one chain, masked last, one event a line."""

import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runtime.masking import mask_text, mask_value

# Ours, not the caller's: they never hold data, and masking by name must not touch them.
_OWN_FIELDS = frozenset({"timestamp", "level", "logger", "process"})
# They log a line per request with its URL, whose query may hold a phone number.
_CHATTY = ("httpx", "httpcore", "uvicorn.access")


def configure(level: str, format: str, process: str) -> None:  # noqa: A002 - the setting's own name
    """Send all logs to standard error; `format` is ``console`` or ``json``, `process` a field of every event.

    Time is ISO 8601 in UTC. Context variables bound by structlog stand in every event of their task. An
    uncaught exception is logged too, because the interpreter's own traceback would not be masked. JSON is
    one line an event; a console event with a traceback has more. Repeating the call replaces the former.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors(process)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask,
                _renderer(format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _shared_processors(process: str) -> list[Processor]:
    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        add_process,
    ]


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value if key in _OWN_FIELDS else mask_value(key, value) for key, value in event.items()}


def _renderer(format_: str) -> Processor:
    if format_ == "json":
        return structlog.processors.JSONRenderer(serializer=_to_json)
    return _OneLineConsole(sys.stderr.isatty())


def _to_json(event: EventDict, **_options: Any) -> str:
    return json.dumps(event, ensure_ascii=False)


class _OneLineConsole:
    """structlog's console with line breaks inside an event's text escaped, so that no event fakes another."""

    def __init__(self, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        event["event"] = str(event.get("event", "")).replace("\r", "\\r").replace("\n", "\\n")
        return str(self._render(logger, method, event))


class _Handler(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """The standard one prints the record's arguments unmasked."""
        error = sys.exc_info()[0]
        kind = error.__name__ if error else "unknown"
        sys.stderr.write(mask_text(f"log record of {record.name} at {record.lineno} lost: {kind}\n"))


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("uncaught").critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
