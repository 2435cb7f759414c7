"""Which addresses lie out there, and which inside: of this machine, of its network, or of nobody."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from taskq.errors import ConfigError

# The special-purpose registries of IANA, as of 2025. `is_global` of the standard library says True of some of them.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def is_public(address: Address) -> bool:
    """Whether an address may belong to a host of the public internet.

    An IPv4 address that is written as an IPv6 one, mapped or by NAT64, is judged as itself. Those that older ways of
    transition hide one in, 6to4, Teredo and compatible ones, are not public at all.

    >>> from ipaddress import ip_address
    >>> [is_public(ip_address(text)) for text in ("93.184.216.34", "10.0.0.1", "::ffff:127.0.0.1", "fe80::1")]
    [True, False, False, False]
    """
    address = plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def plain(address: Address) -> Address:
    """The IPv4 address that a mapped or translated one stands for, else the address, without a zone.

    >>> plain(IPv6Address("64:ff9b::7f00:1"))
    IPv4Address('127.0.0.1')
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    address = IPv6Address(int(address))
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


class Networks:
    """Networks that are allowed although they are not public.

    Arguments:
        given: each a text such as "10.1.0.0/16", or one address, or what `ipaddress` makes of such.

    Raises:
        ConfigError: one cannot be read; the message shows it.

    >>> from ipaddress import ip_address
    >>> Networks(["10.1.0.0/16"]).allow(ip_address("10.1.2.3")), Networks([]).allow(ip_address("10.1.2.3"))
    (True, False)
    >>> Networks(["10.1.0.1/16"])
    Traceback (most recent call last):
        ...
    taskq.errors.ConfigError: '10.1.0.1/16' is no network: 10.1.0.1/16 has host bits set
    """

    def __init__(self, given: Iterable[str | Network | Address]) -> None:
        self._networks = tuple(_network(each) for each in given)

    def allow(self, address: Address) -> bool:
        """Whether a request may go to this address."""
        address = plain(address)
        return is_public(address) or any(address in network for network in self._networks)


def _network(given: object) -> Network:
    if not isinstance(given, str | Network | Address):  # a number would be one, 10 the address 0.0.0.10
        raise ConfigError(f"{given!r} is no network: give a text, such as '10.1.0.0/16'")
    try:
        return ip_network(given)
    except ValueError as error:
        raise ConfigError(f"{given!r} is no network: {error}") from None
