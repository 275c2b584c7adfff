//! Addresses and ranges of addresses, in the strict forms that the API takes.

use super::Func;
use super::opaque::Opaque;
use super::strings::one;
use crate::error::Error;
use crate::value::Val;
use std::fmt;
use std::net::IpAddr;

/// A range: an address, its host bits kept, and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    fn net(self) -> Option<ipnet::IpNet> {
        ipnet::IpNet::new(self.address, self.prefix).ok()
    }

    fn masked(self) -> Self {
        Self { address: self.net().map_or(self.address, |n| n.network()), prefix: self.prefix }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.net().is_some_and(|n| n.contains(&address))
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, Error> {
    let fail = |why: &str| Error::new(format!("IP Address {text:?} parse error during conversion from string: {why}"));
    if text.contains('%') {
        return Err(Error::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    let ip: IpAddr = text.parse().map_err(|_| fail(&format!("ParseAddr({text:?}): unable to parse IP")))?;
    if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(Error::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok(ip)
}

fn parse_cidr(text: &str) -> Result<Cidr, Error> {
    let fail = || {
        Error::new(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
        ))
    };
    let (address, prefix) = text.split_once('/').ok_or_else(fail)?;
    let address = parse_ip(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    let prefix = prefix.parse::<u8>().ok().filter(|p| plain && *p <= most);
    let wrong = || {
        Error::new(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): bad bits after slash"
        ))
    };
    Ok(Cidr { address, prefix: prefix.ok_or_else(wrong)? })
}

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "ip" => ip,
        "isIP" => |a| Ok(Val::Bool(parse_ip(one(a)?).is_ok())),
        "ip.isCanonical" => |a| one(a).and_then(|t| Ok(Val::Bool(parse_ip(t)?.to_string() == t))),
        "family" => |a| of(a, |ip| Val::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |a| of(a, |ip| Val::Bool(ip.is_unspecified())),
        "isLoopback" => |a| of(a, |ip| Val::Bool(ip.is_loopback())),
        "isLinkLocalMulticast" => |a| of(a, |ip| Val::Bool(link_local_multicast(ip))),
        "isLinkLocalUnicast" => |a| of(a, |ip| Val::Bool(link_local(ip))),
        "isGlobalUnicast" => |a| of(a, |ip| Val::Bool(global(ip))),
        "cidr" => |a| Ok(Val::Opaque(Opaque::Cidr(parse_cidr(one(a)?)?))),
        "isCIDR" => |a| Ok(Val::Bool(parse_cidr(one(a)?).is_ok())),
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "masked" => |a| range(a).map(|c| Val::Opaque(Opaque::Cidr(c.masked()))),
        "prefixLength" => |a| range(a).map(|c| Val::Int(c.prefix.into())),
        _ => return None,
    })
}

fn ip<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Opaque(Opaque::Cidr(c)) => Ok(Val::Opaque(Opaque::Ip(c.address))),
        _ => Ok(Val::Opaque(Opaque::Ip(parse_ip(one(args)?)?))),
    }
}

fn of<'a>(args: &[Val<'a>], what: fn(IpAddr) -> Val<'a>) -> Result<Val<'a>, Error> {
    match args {
        [Val::Opaque(Opaque::Ip(ip))] => Ok(what(*ip)),
        _ => Err(Error::overload()),
    }
}

fn range(args: &[Val<'_>]) -> Result<Cidr, Error> {
    match args.first() {
        Some(Val::Opaque(Opaque::Cidr(c))) => Ok(*c),
        _ => Err(Error::overload()),
    }
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn global(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local(ip))
}

fn contains_ip<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let range = range(args)?;
    let ip = match &args[1] {
        Val::Opaque(Opaque::Ip(ip)) => *ip,
        Val::Text(text) => parse_ip(text)?,
        _ => return Err(Error::overload()),
    };
    Ok(Val::Bool(range.contains(ip)))
}

fn contains_cidr<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let range = range(args)?;
    let inner = match &args[1] {
        Val::Opaque(Opaque::Cidr(c)) => *c,
        Val::Text(text) => parse_cidr(text)?,
        _ => return Err(Error::overload()),
    };
    Ok(Val::Bool(range.contains(inner.address) && range.prefix <= inner.prefix))
}
