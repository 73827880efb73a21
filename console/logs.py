"""Logging of commands that run for long: to stderr, one line a record, as text or as JSON."""

import json
import logging
import sys
import time


class _Json(logging.Formatter):
    def __init__(self, process: int | None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            **self._process,
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Text(logging.Formatter):
    def __init__(self, process: int | None) -> None:
        super().__init__(("" if process is None else f"[{process}] ") + "%(asctime)s %(levelname)-7s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time(record)


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


def to_stderr(log_format: str, level: int = logging.INFO, process: int | None = None) -> None:
    """Installs the handler; `log_format` is `text` or `json`; process: its number among several, put into each line.
    May be called more than once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if log_format == "json" else _Text(process))
    logging.basicConfig(level=level, handlers=[handler], force=True)
