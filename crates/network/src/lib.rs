//! Pod network and Services: routed veth, addresses, nftables by netlink.
