"""Refuses connections to link-local addresses: a cloud gives its machines' keys there (169.254.169.254), and a recipe from
another person could have them read into an artifact. Checks each connection, so also redirects and names with such an address.
"""

import errno
import ipaddress
import socket
from typing import Any

REFUSED = "is a link-local address: a cloud gives its keys there, so nothing is read there"
CLOUD = {ipaddress.ip_address("fd00:ec2::254")}  # the same at Amazon, by IPv6


def open_socket(address: tuple) -> socket.socket:
    """For `aiohttp.TCPConnector(socket_factory=…)`; `address` is an entry of `socket.getaddrinfo`."""
    family, kind, protocol, _, place = address
    if is_link_local(place[0]):
        raise PermissionError(errno.EACCES, f"{place[0]} {REFUSED}")
    return socket.socket(family, kind, protocol)


def is_link_local(host: str) -> bool:
    """False for a name: its address is checked when it is known."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or found
    return inner.is_link_local or inner in CLOUD


async def open_session(**options: Any) -> Any:
    """For fsspec's `get_client`."""
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=open_socket), **options)
