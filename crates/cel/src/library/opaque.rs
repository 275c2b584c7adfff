//! Values that only libraries make.

use super::authorizer::{Builder, Check, Decision};
use super::{format::Format, image::Image, network, semver::Version};
use ironclad_api::quantity::Quantity;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A value of a library.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// `kubernetes.Quantity`.
    Quantity(Quantity),
    /// `kubernetes.Semver`.
    Semver(Arc<Version>),
    /// `kubernetes.URL`.
    Url(Arc<super::url::Address>),
    /// `net.IP`.
    Ip(std::net::IpAddr),
    /// `net.CIDR`.
    Cidr(network::Cidr),
    /// `kubernetes.NamedFormat`.
    Format(Format),
    /// `kubernetes.Image`.
    Image(Arc<Image>),
    /// `kubernetes.authorization.Authorizer` and the checks that it builds.
    Builder(Arc<Builder>),
    /// A check that only lacks its verb.
    Check(Arc<Check>),
    /// `kubernetes.authorization.Decision`.
    Decision(Arc<Decision>),
}

impl Opaque {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Image(_) => "kubernetes.Image",
            Self::Builder(b) if b.group.is_some() => "kubernetes.authorization.GroupCheck",
            Self::Builder(_) => "kubernetes.authorization.Authorizer",
            Self::Check(c) if c.path.is_some() => "kubernetes.authorization.PathCheck",
            Self::Check(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// Bytes of an address, for the cost of comparing it.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::Ip(std::net::IpAddr::V4(_)) => Some(4),
            Self::Ip(std::net::IpAddr::V6(_)) => Some(16),
            Self::Cidr(c) => Some(if c.address.is_ipv4() { 4 } else { 16 }),
            _ => None,
        }
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.order(b) == Ordering::Equal,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Image(a), Self::Image(b)) => a == b,
            (Self::Builder(a), Self::Builder(b)) => a == b,
            (Self::Check(a), Self::Check(b)) => a == b,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(q) => write!(f, "{q}"),
            Self::Semver(v) => write!(f, "{v}"),
            Self::Url(u) => write!(f, "{u}"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(c) => write!(f, "{c}"),
            Self::Image(i) => write!(f, "{i}"),
            other => f.write_str(other.type_name()),
        }
    }
}
