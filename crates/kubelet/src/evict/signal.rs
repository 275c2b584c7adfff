//! What can run short, how much of it must be left, and how much is.

use crate::stats::{self, Disk};
use ironclad_api::quantity::Quantity;
use std::fmt;
use std::path::Path;

/// What can run short; the names are those of `evictionHard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// `memory.available`
    Memory,
    /// `nodefs.available`
    Disk,
    /// `nodefs.inodesFree`
    Inodes,
    /// `pid.available`
    Pids,
}

/// How much must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// An amount: bytes, inodes or process ids.
    Amount(u64),
    /// Hundredths of all there is.
    Percent(u64),
}

/// Pods go when less is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// How much.
    pub limit: Limit,
}

/// What a node keeps free unless it is told otherwise.
pub fn defaults() -> Vec<Threshold> {
    vec![
        Threshold { signal: Signal::Memory, limit: Limit::Amount(100 << 20) },
        Threshold { signal: Signal::Disk, limit: Limit::Amount(100 << 20) },
        Threshold { signal: Signal::Inodes, limit: Limit::Percent(1) },
        Threshold { signal: Signal::Pids, limit: Limit::Percent(1) },
    ]
}

impl std::str::FromStr for Threshold {
    type Err = String;

    /// As `evictionHard` has it: `memory.available<100Mi`, `nodefs.inodesFree<5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text.split_once('<').ok_or_else(|| format!("{text:?} is not SIGNAL<QUANTITY"))?;
        let all = [Signal::Memory, Signal::Disk, Signal::Inodes, Signal::Pids];
        let signal = all.into_iter().find(|s| s.name() == name.trim());
        let signal = signal.ok_or_else(|| format!("unknown eviction signal {name:?}"))?;
        let bad = || format!("invalid eviction threshold {limit:?} of {name}");
        let limit = match limit.trim().strip_suffix('%') {
            Some(percent) => Limit::Percent(percent.parse().ok().filter(|p| *p <= 100).ok_or_else(bad)?),
            None => {
                let amount: Quantity = limit.trim().parse().map_err(|_| bad())?;
                Limit::Amount(u64::try_from(amount.value()).map_err(|_| bad())?)
            }
        };
        Ok(Self { signal, limit })
    }
}

/// What is left, and what there is in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(super) memory: (u64, u64),
    pub(super) disk: Disk,
    pub(super) pids: (u64, u64),
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn measure(root: &Path) -> Measured {
    let memory = stats::meminfo();
    let of = |name: &str| memory.get(name).copied().unwrap_or(0);
    let most = number("/proc/sys/kernel/pid_max").unwrap_or(0);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let tasks: u64 = load.split(['/', ' ']).nth(4).and_then(|n| n.parse().ok()).unwrap_or(0);
    Measured {
        memory: (of("MemAvailable"), of("MemTotal")),
        disk: stats::disk(root),
        pids: (most.saturating_sub(tasks), most),
    }
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::Disk => "nodefs.available",
            Self::Inodes => "nodefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }

    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk | Self::Inodes => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }

    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }

    pub(super) fn is_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Inodes)
    }

    fn of(self, m: &Measured) -> (u64, u64) {
        match self {
            Self::Memory => m.memory,
            Self::Disk => (m.disk.available, m.disk.capacity),
            Self::Inodes => (m.disk.inodes_free, m.disk.inodes),
            Self::Pids => m.pids,
        }
    }
}

impl Threshold {
    fn amount(&self, measured: &Measured) -> u64 {
        match self.limit {
            Limit::Amount(amount) => amount,
            Limit::Percent(percent) => self.signal.of(measured).1 / 100 * percent,
        }
    }

    /// Whether too little is left. What cannot be measured is not short.
    pub(super) fn is_met(&self, measured: &Measured) -> bool {
        let (left, all) = self.signal.of(measured);
        all > 0 && left < self.amount(measured)
    }

    pub(super) fn message(&self, measured: &Measured) -> String {
        let shown = |n: u64| match self.signal {
            Signal::Memory | Signal::Disk => kib(n),
            _ => n.to_string(),
        };
        format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
            self.signal.resource(),
            shown(self.amount(measured)),
            shown(self.signal.of(measured).0)
        )
    }
}

/// An amount of bytes in whole KiB, as messages show it.
pub(super) fn kib(bytes: u64) -> String {
    Quantity::bytes((bytes / 1024 * 1024) as i64).to_string()
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => f.write_str(&kib(*amount)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_stock_has_them() {
        let read = |text: &str| text.parse::<Threshold>();
        let memory = Threshold { signal: Signal::Memory, limit: Limit::Amount(100 << 20) };
        assert_eq!(read("memory.available<100Mi"), Ok(memory));
        let inodes = Threshold { signal: Signal::Inodes, limit: Limit::Percent(5) };
        assert_eq!(read("nodefs.inodesFree<5%"), Ok(inodes));
        for bad in ["memory.available", "swap<1", "memory.available<x", "memory.available<-1", "pid.available<101%"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn thresholds_are_met_when_less_is_left() {
        let limit = |limit| Threshold { signal: Signal::Memory, limit };
        let left = |n: u64| Measured { memory: (n, 1000 << 20), ..Measured::default() };
        assert!(limit(Limit::Amount(100 << 20)).is_met(&left(99 << 20)));
        assert!(!limit(Limit::Amount(100 << 20)).is_met(&left(100 << 20)));
        assert!(limit(Limit::Percent(10)).is_met(&left(99 << 20)));
        assert!(!limit(Limit::Amount(1)).is_met(&Measured::default()));
        let text = limit(Limit::Amount(100 << 20)).message(&left(50 << 20));
        assert_eq!(text, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ");
    }
}
