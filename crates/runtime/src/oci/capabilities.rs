//! Capabilities by name, and which of them a container gets.

use crate::spec::Capabilities;
use ironclad_cri::SecurityContext;

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The kernel's number of a capability, with or without `CAP_`.
pub(crate) fn number(name: &str) -> Option<u32> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|n| *n == name).map(|i| i as u32)
}

/// The capabilities of a container, no more than this process may give (`bounding`).
pub(crate) fn of(security: &SecurityContext, bounding: u64) -> Result<Capabilities, String> {
    let all = (1_u64 << NAMES.len()) - 1;
    let mut mask = if security.privileged { all } else { fold(&DEFAULT.map(str::to_owned))? };
    let has_all = |list: &[String]| list.iter().any(|n| strip(n) == "ALL");
    if has_all(&security.drop_capabilities) {
        mask = 0;
    }
    if has_all(&security.add_capabilities) {
        mask = all;
    }
    mask &= !fold(&security.drop_capabilities)?;
    mask |= fold(&security.add_capabilities)?;
    mask &= bounding;
    let names: Vec<String> =
        NAMES.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0).map(|(_, n)| format!("CAP_{n}")).collect();
    Ok(Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        inheritable: vec![],
        ambient: vec![],
    })
}

fn strip(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

fn fold(names: &[String]) -> Result<u64, String> {
    let one = |name: &String| match strip(name).as_str() {
        "ALL" => Ok(0),
        known => number(known).map(|n| 1 << n).ok_or_else(|| format!("unknown capability \"CAP_{known}\"")),
    };
    names.iter().try_fold(0_u64, |mask, name| Ok(mask | one(name)?))
}

/// What this process can give on.
pub(crate) fn own_bounding() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str], privileged: bool) -> Vec<String> {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        let security = SecurityContext {
            add_capabilities: own(add),
            drop_capabilities: own(drop),
            privileged,
            ..SecurityContext::default()
        };
        of(&security, !(1 << 24)).unwrap().effective
    }

    #[test]
    fn additions_win_over_drops_and_the_own_bound_over_both() {
        assert_eq!(set(&[], &[], false).len(), 14);
        assert_eq!(set(&["NET_ADMIN"], &["ALL"], false), ["CAP_NET_ADMIN"]);
        assert!(!set(&[], &["KILL"], false).contains(&"CAP_KILL".to_owned()));
        assert_eq!(set(&["ALL"], &[], false).len(), 40);
        assert!(!set(&["SYS_RESOURCE"], &[], false).contains(&"CAP_SYS_RESOURCE".to_owned()));
        assert_eq!(set(&[], &[], true).len(), 40);
    }

    #[test]
    fn unknown_names_are_refused() {
        let security = SecurityContext { add_capabilities: vec!["FLY".into()], ..SecurityContext::default() };
        assert!(of(&security, u64::MAX).unwrap_err().contains("CAP_FLY"));
    }
}
