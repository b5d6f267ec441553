"""Which IP addresses we never call on a merchant's word."""

from dataclasses import replace
from ipaddress import ip_network

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, Reach

# ssrfguard's table (IANA's special-purpose registries) answers "where does the packet end up": it decodes NAT64,
# 6to4, Teredo and mapped addresses and permits anycast services. A webhook receiver is none of these, and one of
# the anycast ones (192.0.0.9) is the local router, so every special-purpose row refuses here. IPv6 is turned
# round: refused unless it is global unicast, which also covers forms no registry lists (::ffff:0:127.0.0.1).
_OWN_ROWS = (
    Block(ip_network("::/0"), "not global unicast", "RFC4291", Reach.DENIED),
    Block(ip_network("2000::/3"), "global unicast", "RFC4291", Reach.PERMITTED),
    # Looks public and is routed to the host's own control plane.
    Block(ip_network("168.63.129.16/32"), "Cloud metadata (Azure WireServer)", "none", Reach.DENIED),
)

REFUSED_ADDRESSES = AddressTable((*(replace(block, reach=Reach.DENIED) for block in DEFAULT_DENIED.blocks), *_OWN_ROWS))
NO_ADDRESS_REFUSED = AddressTable(())
