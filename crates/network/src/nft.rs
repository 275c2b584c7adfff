//! Our own nf_tables encoder over raw netlink: tables, chains, rules, sets, maps and their elements in one transaction.
//!
//! Invariants: a [`Batch`] is applied whole or not at all; a refused batch names the object that the kernel refused;
//! the owner flag is never set, so that a restarted process takes the table over.

mod batch;
pub mod conntrack;
mod expression;

pub use batch::{Batch, Hook, SetSpec, Socket};
pub(crate) use expression::{DATA, KEY};
pub use expression::{Expression, Rule, Verdict, concat};

/// The families an address can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The netfilter protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            Self::V4 => libc::NFPROTO_IPV4 as u8,
            Self::V6 => libc::NFPROTO_IPV6 as u8,
        }
    }

    /// Bytes of an address.
    pub fn length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// What belongs to this family.
    pub fn either<T>(self, four: T, six: T) -> T {
        match self {
            Self::V4 => four,
            Self::V6 => six,
        }
    }

    /// A name of one object per family.
    pub fn name(self, base: &str) -> String {
        match self {
            Self::V4 => base.to_owned(),
            Self::V6 => format!("{base}6"),
        }
    }

    /// Number of the type for those who list the table.
    pub fn type_number(self) -> u32 {
        match self {
            Self::V4 => types::IPV4,
            Self::V6 => types::IPV6,
        }
    }
}

/// Bytes of an address.
pub fn address_bytes(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Numbers of nft's data types; the kernel keeps them for those who list the table.
pub mod types {
    /// An IPv4 address.
    pub const IPV4: u32 = 7;
    /// An IPv6 address.
    pub const IPV6: u32 = 8;
    /// A transport protocol.
    pub const PROTOCOL: u32 = 12;
    /// A port.
    pub const SERVICE: u32 = 13;
    /// A number of ours, in the machine's order.
    pub const MARK: u32 = 19;

    /// The type of several values after each other.
    pub fn concat(types: &[u32]) -> u32 {
        types.iter().fold(0, |all, one| all << 6 | one)
    }
}
