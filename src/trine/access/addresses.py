"""Addresses that a workspace may send to: looked up once, judged, and connected to as they were judged."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from trine.errors import InvalidInput, Refused, Unavailable

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """Where to send: the URL with the address in the place of the name, and the name for the Host header and for TLS."""

    url: str
    host: str
    name: str


def check_url(url: str) -> str:
    """The URL, when it is one that can be sent to. Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f'"{url}" is no address: {error}.') from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidInput(f'"{url}" is no address to send to: write https://HOST/PATH.')
    if parts.username is not None or parts.fragment:
        raise InvalidInput("The address cannot hold a name, a password or a fragment: what is sent is signed instead.")
    if any(character.isspace() or ord(character) < 33 for character in url):
        raise InvalidInput("The address has a blank or control character in it.")
    return url


def pin(url: str, *, allow_private: bool = False) -> Target:
    """Look the name up now and fix the connection to what was found.

    Raises Refused when any of its addresses is not public (unless `allow_private`): a name that is looked up twice may answer
    differently the second time. Unavailable when there is no such name.
    """
    parts = urlsplit(check_url(url))
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f'The name "{name}" could not be looked up: {error}.') from error
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    if not allow_private:
        for one in addresses:
            if not is_public(one):
                raise Refused(f'"{name}" is {one}, which is not a public address, so nothing is sent there.')
    first = addresses[0]
    shown = f"[{first}]" if first.version == 6 else str(first)
    place = parts._replace(netloc=f"{shown}:{port}", path=parts.path or "/").geturl()
    return Target(place, parts.netloc, name)


def is_public(address: Address) -> bool:
    """Whether an address is reached over the public internet; those that only wrap another are judged by that one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
