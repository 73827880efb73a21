"""Reflection, for methods too: the library's own does not find the file of `package.Service/Method`, as ghz asks it."""

from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection

SERVICE_NAME: str = reflection.SERVICE_NAME


class _Symbols:
    """The pool of all messages and services; a method is in the file of its service."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            if method not in self._pool.FindServiceByName(service).methods_by_name:
                raise
            return self._pool.FindFileContainingSymbol(service)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def enable(services: tuple[str, ...], server: grpc.aio.Server) -> None:
    """services: full names of those that are shown, this one besides."""
    symbols: Any = _Symbols()
    reflection.enable_server_reflection((*services, SERVICE_NAME), server, symbols)
