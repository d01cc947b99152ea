"""Calls a gRPC method over HTTP/2: as much of the protocol as it takes to ask Ray for its version.

By hand, since the library grpcio only says "unavailable" where this tells TLS, another protocol and silence apart.
"""

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

NOTHING = bytes(5)
"""A message without content: a flag (not compressed) and a length of 0."""

LONGEST_REPLY = 65536
"""Limit on a reply, in bytes; those that are expected have 20."""

TEXT = 2
"""The wire type of a field of bytes, in protocol buffers."""


class Foreign(Exception):
    """The other end does not speak gRPC; says what it did instead."""


class Reply(NamedTuple):
    """A reply: status of gRPC, its text, and the message."""

    status: int
    text: str
    message: bytes


class Rpc:
    """A connection over which methods are called, one at a time.

    Args:
        stream: connected.
        authority: host and port, as the other side knows itself.
        deadline: by the monotonic clock, for all that is done here.
    """

    def __init__(self, stream: socket.socket, authority: str, deadline: float) -> None:
        self._stream = stream
        self._authority = authority
        self._deadline = deadline
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http.initiate_connection()
        self._was_greeted = False

    def call(self, method: str, headers: Mapping[str, str]) -> Reply:
        """Call a method without arguments.

        Raises:
            Foreign: the other side does not speak gRPC.
            OSError: the connection broke, or nothing came in time.
        """
        number = self._http.get_next_available_stream_id()
        first = {":method": "POST", ":scheme": "http", ":path": method, ":authority": self._authority}
        always = {"te": "trailers", "content-type": "application/grpc"}
        try:
            self._http.send_headers(number, [*first.items(), *always.items(), *headers.items()])
            self._http.send_data(number, NOTHING, end_stream=True)
            self._send()
            return self._receive(number)
        except (ProtocolError, UnicodeDecodeError) as error:
            raise Foreign("it does not speak HTTP/2") from error

    def _send(self) -> None:
        self._stream.settimeout(self._left())
        self._stream.sendall(self._http.data_to_send())

    def _receive(self, number: int) -> Reply:
        headers: dict[str, str] = {}
        content = b""
        while True:
            self._stream.settimeout(self._left())
            data = self._stream.recv(LONGEST_REPLY)
            if not data:
                raise Foreign("it closed the connection")
            if not self._was_greeted:
                _check_greeting(data)
                self._was_greeted = True
            for event in self._http.receive_data(data):
                content += _note(event, number, headers)
                if isinstance(event, events.StreamEnded) and event.stream_id == number:
                    return _reply(headers, content)
            if len(content) > LONGEST_REPLY:
                raise Foreign("its reply is too long")
            self._send()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        return left


def field(message: bytes, wanted: int) -> bytes | None:
    """Return a field of bytes out of a message of protocol buffers; None if it is not there.

    Raises:
        Foreign: it is no such message.
    """
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        value, at = _number(message, at) if key & 7 in (0, TEXT) else (4 if key & 7 == 5 else 8, at)
        if key & 7 == 0:
            continue
        if key >> 3 == wanted and key & 7 == TEXT:
            return message[at : at + value]
        at += value
    return None


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise Foreign("truncated reply")


def _check_greeting(data: bytes) -> None:
    """Refuse anything but HTTP/2, which begins with a frame of settings; else we would wait for the rest of a frame."""
    if data.startswith(b"\x15\x03"):  # an alert
        raise Foreign("it speaks TLS")
    if data[3:4] not in (b"", b"\x04"):
        raise Foreign("it does not speak HTTP/2")


def _note(event: events.Event, number: int, headers: dict[str, str]) -> bytes:
    match event:
        case events.ResponseReceived() | events.TrailersReceived():
            headers.update((str(key), str(value)) for key, value in event.headers or ())
        case events.DataReceived(data=bytes(data)):
            return data
        case events.StreamReset(stream_id=stream) if stream == number:
            raise Foreign("it refused the call")
        case events.ConnectionTerminated():
            raise Foreign("it ended the connection")
    return b""


def _reply(headers: Mapping[str, str], content: bytes) -> Reply:
    status = headers.get("grpc-status", "")
    if not status.isdigit():
        raise Foreign("it speaks HTTP/2, but not gRPC")
    return Reply(int(status), headers.get("grpc-message", ""), content[len(NOTHING) :])
