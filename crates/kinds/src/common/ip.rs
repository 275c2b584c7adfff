//! Checks of addresses and ranges.

use ironclad_api::{ErrorList, FieldError, Path};
use std::net::IpAddr;

/// What stock says of a text that is no address.
pub(crate) const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// What stock says of a text that is no range.
pub(crate) const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Checks an address; gives it where it is one.
pub(crate) fn address(given: &str, at: &Path, errors: &mut ErrorList) -> Option<IpAddr> {
    match given.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.push(FieldError::invalid_str(at, given, "must not be an IPv4-mapped IPv6 address"));
            Some(IpAddr::V6(v6))
        }
        Ok(ip) => Some(ip),
        Err(_) => {
            let why = if has_leading_zeros(given) { "must not have leading 0s" } else { NO_IP };
            errors.push(FieldError::invalid_str(at, given, why));
            None
        }
    }
}

/// Whether a text is an IPv4 address but for zeros before its numbers, which some take for octal ones.
fn has_leading_zeros(given: &str) -> bool {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits && part.trim_start_matches('0').parse::<u8>().map_or(part.trim_start_matches('0').is_empty(), |_| true)
    };
    given.split('.').count() == 4 && given.split('.').all(number)
}

/// Checks a range.
pub(crate) fn cidr(given: &str, at: &Path, errors: &mut ErrorList) {
    match given.parse::<ipnet::IpNet>() {
        Err(_) => errors.push(FieldError::invalid_str(at, given, NO_CIDR)),
        Ok(net) if net.addr() != net.trunc().addr() => {
            errors.push(FieldError::invalid_str(at, given, "must not have bits set beyond the prefix length"));
        }
        Ok(_) => {}
    }
}

/// Checks the address of an interface: an address with the length of its network, as it is usually written.
pub(crate) fn interface_address(given: &str, at: &Path, errors: &mut ErrorList) {
    match given.parse::<ipnet::IpNet>() {
        Err(_) => {
            let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.push(FieldError::invalid_str(at, given, why));
        }
        Ok(net) if net.to_string() != given => {
            errors.push(FieldError::invalid_str(at, given, format!("must be in canonical form (\"{net}\")")));
        }
        Ok(_) => {}
    }
}

/// What is said of an address that is written in an odd way.
pub(crate) fn warning(given: &str, at: &Path) -> Option<String> {
    match given.parse::<IpAddr>().ok()? {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let plain = v6.to_ipv4_mapped()?;
            Some(format!("{at}: non-standard IP address {given:?} is invalid: use \"{plain}\""))
        }
        IpAddr::V6(v6) if v6.to_string() != given => {
            Some(format!("{at}: IPv6 address {given:?} should be in RFC 5952 canonical format (\"{v6}\")"))
        }
        _ => None,
    }
}

/// What is said of a range that is written in an odd way.
pub(crate) fn cidr_warnings(given: &str, at: &Path) -> Vec<String> {
    let Ok(net) = given.parse::<ipnet::IpNet>() else { return Vec::new() };
    let (plain, single) = (net.trunc(), net.max_prefix_len());
    if net.addr() != plain.addr() {
        return vec![format!(
            "{at}: CIDR value {given:?} is ambiguous in this context (should be \"{plain}\" or \"{}/{single}\"?)",
            net.addr()
        )];
    }
    match net.addr() {
        IpAddr::V6(_) if net.to_string() != given => {
            vec![format!("{at}: IPv6 CIDR value {given:?} should be in RFC 5952 canonical format (\"{net}\")")]
        }
        _ => Vec::new(),
    }
}

/// Checks an address that traffic is sent to: not unspecified, loopback or link-local.
pub(crate) fn endpoint(given: &str, at: &Path, errors: &mut ErrorList) {
    let Some(ip) = address(given, at, errors) else { return };
    let mut wrong = |why: String| errors.push(FieldError::invalid_str(at, given, why));
    if ip.is_unspecified() {
        wrong(format!("may not be unspecified ({given})"));
    }
    if ip.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)".into());
    }
    let (local, group) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if local {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)".into());
    }
    if group {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into());
    }
}

/// Whether two addresses are of different families.
pub(crate) fn dual(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.is_ipv4() != b.is_ipv4(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_forms_are_refused_for_what_they_are() {
        let table = [
            ("1.2.3.4", ""),
            ("001.002.003.004", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("1.2.3.300", NO_IP),
            ("10.0.0.0/8", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/33", NO_CIDR),
        ];
        for (given, want) in table {
            let (mut errors, at) = (ErrorList::new(), Path::new("ip"));
            match given.contains('/') {
                true => cidr(given, &at, &mut errors),
                false => _ = address(given, &at, &mut errors),
            }
            assert_eq!(errors.first().map_or("", |e| e.detail.as_str()), want, "{given}");
        }
    }
}
