"""How an injected fault loses an answer: the connection is reset."""

import socket
import struct

from aiohttp import web


def cut(request: web.Request) -> web.Response:
    """Reset the connection, as a gateway does that dies: the client sees no answer at all."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)
