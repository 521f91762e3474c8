"""Run a web service of this project in a thread, on the loopback interface."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from fastapi import FastAPI

from tee_sim.errors import UsageError

START_SECONDS = 10


@contextmanager
def running(
    app: FastAPI, *, port: int = 0, certificate: str | None = None, key: str | None = None
) -> Iterator[str]:
    """Serve an application until the block ends.

    Args:
        app: the application.
        port: of 127.0.0.1; 0 for any that is free.
        certificate: file with the server's PEM chain; if given, the service speaks TLS.
        key: file with its private key.

    Yields:
        The service's address, such as ``http://127.0.0.1:40123``.

    Raises:
        UsageError: the port cannot be had, or the service does not start.
    """
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"port {port} of 127.0.0.1 cannot be had: {error}") from None
        # At its end, TLS waits half a minute for each client that keeps its connection.
        headers = [("Connection", "close")] if certificate else None
        config = uvicorn.Config(
            app, log_level="error", ssl_certfile=certificate, ssl_keyfile=key, headers=headers
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(f"the service cannot speak TLS with {certificate}: {error}") from None
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            for _ in range(START_SECONDS * 100):
                thread.join(0.01)
                if server.started or not thread.is_alive():
                    break
            if not server.started:
                raise UsageError("the service did not start; its log says why")
            scheme = "https" if certificate else "http"
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
