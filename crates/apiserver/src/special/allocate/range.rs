//! The ports that are given out, as a bitmap, and the form in which stock servers keep it in their store: a
//! RangeAllocation with the bytes of one big number, whose lowest bit is the range's first port.
//!
//! Invariant: every port of the map lies in the range.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

/// The ports of a range that are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    range: (u16, u16),
    ports: BTreeSet<u16>,
}

impl Given {
    pub(super) fn new(range: (u16, u16)) -> Self {
        Self { range, ports: BTreeSet::new() }
    }

    /// What a stored object says about the ports of `range`; what it says about others does not count here.
    pub(super) fn stored(range: (u16, u16), object: &Value) -> Self {
        let mut given = Self::new(range);
        let first = object["range"].as_str().and_then(|r| r.split('-').next()?.parse::<u16>().ok());
        let bytes = object["data"].as_str().and_then(|d| STANDARD.decode(d).ok()).unwrap_or_default();
        let Some(first) = first else { return given };
        for (place, byte) in bytes.iter().rev().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                if let Ok(port) = u16::try_from(usize::from(first) + place * 8 + bit) {
                    given.take(port);
                }
            }
        }
        given
    }

    /// The object to be stored.
    pub(super) fn object(&self) -> Value {
        let (first, last) = self.range;
        let mut bytes = vec![0_u8; (usize::from(last - first) + 8) / 8];
        for port in &self.ports {
            let bit = usize::from(port - first);
            let place = bytes.len() - 1 - bit / 8;
            bytes[place] |= 1 << (bit % 8);
        }
        let leading = bytes.iter().take_while(|b| **b == 0).count();
        let data = STANDARD.encode(&bytes[leading..]);
        json!({
            "kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": format!("{first}-{last}"), "data": data,
        })
    }

    /// How many ports are given out, and how many are left.
    pub(super) fn counts(&self) -> (usize, usize) {
        let (first, last) = self.range;
        let all = usize::from(last - first) + 1;
        (self.ports.len(), all - self.ports.len().min(all))
    }

    pub(super) fn range(&self) -> (u16, u16) {
        self.range
    }

    pub(super) fn covers(&self, port: u16) -> bool {
        (self.range.0..=self.range.1).contains(&port)
    }

    /// Notes a port; says whether it was free.
    pub(super) fn take(&mut self, port: u16) -> bool {
        self.covers(port) && self.ports.insert(port)
    }

    /// Notes ports, those outside of the range not.
    pub(super) fn note(&mut self, used: &BTreeSet<u16>) {
        let (first, last) = self.range;
        self.ports.extend(used.range(first..=last));
    }

    /// Notes any free port.
    pub(super) fn take_any(&mut self) -> Option<u16> {
        let (first, last) = (u32::from(self.range.0), u32::from(self.range.1));
        let count = last - first + 1;
        let start = fastrand::u32(..count);
        let found = (0..count).map(|i| (first + (start + i) % count) as u16).find(|p| !self.ports.contains(p))?;
        self.ports.insert(found);
        Some(found)
    }

    pub(super) fn free(&mut self, port: u16) {
        self.ports.remove(&port);
    }

    /// Those that nobody in `used` has.
    pub(super) fn idle(&self, used: &BTreeSet<u16>) -> BTreeSet<u16> {
        self.ports.difference(used).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_the_form_of_stock_servers() {
        let mut given = Given::new((30000, 32767));
        // What Go's big.Int writes: 1<<0 | 1<<43 | 1<<2767.
        for port in [30000, 30043, 32767] {
            assert!(given.take(port));
            assert!(!given.take(port));
        }
        assert!(!given.take(29999), "outside of the range");
        let object = given.object();
        assert_eq!(object["range"], "30000-32767");
        let bytes = STANDARD.decode(object["data"].as_str().unwrap()).unwrap();
        assert_eq!((bytes.len(), bytes[0], bytes[345], bytes[340]), (346, 0x80, 0x01, 0x08));
        assert_eq!(Given::stored((30000, 32767), &object), given);
        assert_eq!(Given::new((30000, 32767)).object()["data"], "");
    }

    #[test]
    fn a_range_that_changes_keeps_the_ports_that_it_still_has() {
        let mut given = Given::new((30000, 30010));
        given.take(30000);
        given.take(30010);
        let other = Given::stored((30005, 30020), &given.object());
        assert_eq!((other.range(), other.idle(&BTreeSet::new())), ((30005, 30020), BTreeSet::from([30010])));
    }

    #[test]
    fn any_port_is_found_until_the_range_is_full() {
        let mut given = Given::new((30000, 30003));
        let mut all: Vec<u16> = std::iter::from_fn(|| given.take_any()).collect();
        all.sort_unstable();
        assert_eq!(all, [30000, 30001, 30002, 30003]);
        given.free(30002);
        assert_eq!(given.take_any(), Some(30002));
    }
}
