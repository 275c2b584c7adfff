//! Amounts as plain integers, fast to add and compare: CPU in thousandths, everything else in units.

use ironclad_api::pod_resources::ResourceList;
use std::collections::BTreeMap;

/// What a pod that names no request counts as when nodes are scored.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral: i64,
    pub(crate) pods: i64,
    pub(crate) others: BTreeMap<String, i64>,
}

impl Resources {
    pub(crate) fn from_list(list: &ResourceList) -> Self {
        let mut out = Self::default();
        for (name, amount) in list {
            match name.as_str() {
                "cpu" => out.milli_cpu = amount.milli_value(),
                "memory" => out.memory = amount.value(),
                "ephemeral-storage" => out.ephemeral = amount.value(),
                "pods" => out.pods = amount.value(),
                _ => drop(out.others.insert(name.clone(), amount.value())),
            }
        }
        out
    }

    /// The same with the defaults for scoring where nothing is requested.
    pub(crate) fn or_default(&self) -> (i64, i64) {
        let or = |v: i64, default: i64| if v == 0 { default } else { v };
        (or(self.milli_cpu, DEFAULT_MILLI_CPU), or(self.memory, DEFAULT_MEMORY))
    }

    pub(crate) fn add(&mut self, other: &Self, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral += sign * other.ephemeral;
        self.pods += sign * other.pods;
        for (name, amount) in &other.others {
            *self.others.entry(name.clone()).or_default() += sign * amount;
        }
    }

    /// Names of the resources that `want` needs more of than is free between `self` and `used`.
    pub(crate) fn lacking(&self, used: &Self, want: &Self) -> Vec<String> {
        let mut names = Vec::new();
        let mut check = |name: &str, want: i64, have: i64| {
            if want > 0 && want > have {
                names.push(name.to_owned());
            }
        };
        check("cpu", want.milli_cpu, self.milli_cpu - used.milli_cpu);
        check("memory", want.memory, self.memory - used.memory);
        check("ephemeral-storage", want.ephemeral, self.ephemeral - used.ephemeral);
        for (name, amount) in &want.others {
            let have = self.others.get(name).unwrap_or(&0) - used.others.get(name).unwrap_or(&0);
            check(name, *amount, have);
        }
        names
    }
}
