"""The world as a client of Robot expects it: its host name leads to the emulator. Loaded by Python before the client.

Nothing of the client is touched. Where the interpreter is newer than 3.11, what `hetzner` 0.8 still asks of the
standard library is there again.
"""

import http.client
import os
import socket
import ssl

_HOST = "robot-ws.your-server.de"
_resolve = socket.getaddrinfo


def _resolved(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name == _HOST and str(port) in ("443", "https"):
        return _resolve("127.0.0.1", int(os.environ["ROBOT_TLS_PORT"]), *args, **kwargs)
    return _resolve(host, port, *args, **kwargs)


socket.getaddrinfo = _resolved

if not hasattr(ssl, "wrap_socket"):

    def _wrap(sock, keyfile=None, certfile=None, cert_reqs=ssl.CERT_NONE, ca_certs=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = cert_reqs
        if ca_certs:
            context.load_verify_locations(ca_certs)
        return context.wrap_socket(sock)

    ssl.wrap_socket = _wrap
    http.client.HTTPSConnection.key_file = http.client.HTTPSConnection.cert_file = None
