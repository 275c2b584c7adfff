//! Which system calls a container may make: the OCI form of a profile, the runtime's own profile, and filters for
//! the kernel made without libseccomp.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// `linux.seccomp` of an OCI bundle; also the file format of Localhost profiles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Profile {
    pub(crate) default_action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) architectures: Vec<String>,
    pub(crate) syscalls: Vec<Rule>,
}

/// What happens on some system calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<Arg>,
}

/// A condition on an argument.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Arg {
    pub(crate) index: u8,
    pub(crate) value: u64,
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

/// System calls that RuntimeDefault refuses, and the capability that opens each of them again.
const REFUSED: &[(&str, &[&str])] = &[
    ("", &["add_key", "keyctl", "request_key", "userfaultfd", "nfsservctl", "vm86", "vm86old", "uselib", "ustat"]),
    ("", &["create_module", "get_kernel_syms", "query_module", "_sysctl", "sysfs", "kexec_file_load", "kexec_load"]),
    ("", &["io_uring_setup", "io_uring_enter", "io_uring_register", "swapon", "swapoff", "pivot_root"]),
    ("CAP_SYS_ADMIN", &["bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie"]),
    ("CAP_SYS_ADMIN", &["mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl"]),
    ("CAP_SYS_ADMIN", &["quotactl_fd", "setdomainname", "sethostname", "setns", "umount", "umount2", "unshare"]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_MODULE", &["delete_module", "init_module", "finit_module"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp"]),
    ("CAP_SYS_RAWIO", &["iopl", "ioperm"]),
    ("CAP_SYS_TIME", &["settimeofday", "stime", "clock_settime", "clock_settime64"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "move_pages", "set_mempolicy_home_node"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
];

/// The runtime's own profile for a process with these capabilities.
pub(crate) fn runtime_default(capabilities: &[String]) -> Profile {
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    let names = REFUSED.iter().filter(|(cap, _)| cap.is_empty() || !has(cap));
    let refused: Vec<String> =
        names.flat_map(|(_, names)| names.iter().map(|n| (*n).to_owned())).filter(|n| number(n).is_some()).collect();
    let rule =
        |names: Vec<String>, errno, args| Rule { names, action: "SCMP_ACT_ERRNO".into(), errno_ret: Some(errno), args };
    let mut syscalls = vec![rule(refused, libc::EPERM as u32, vec![])];
    if !has("CAP_SYS_ADMIN") {
        // The flags of clone3 are behind a pointer: its callers fall back to clone when it does not exist.
        syscalls.push(rule(vec!["clone3".into()], libc::ENOSYS as u32, vec![]));
        for flag in [0x0002_0000_u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            let arg = Arg { index: 0, value: flag, value_two: flag, op: "SCMP_CMP_MASKED_EQ".into() };
            syscalls.push(rule(vec!["clone".into()], libc::EPERM as u32, vec![arg]));
        }
    }
    // AF_VSOCK reaches out of the machine's own network rules.
    let vsock = Arg { index: 0, value: 40, value_two: 0, op: "SCMP_CMP_EQ".into() };
    syscalls.push(rule(vec!["socket".into()], libc::EPERM as u32, vec![vsock]));
    Profile { default_action: "SCMP_ACT_ALLOW".into(), default_errno_ret: None, architectures: vec![], syscalls }
}

/// Filters that together do what a profile says, in the order in which they are to be installed.
///
/// The kernel takes the strictest answer of all filters. A profile with several actions becomes one filter for each of
/// them; calls that another rule of the profile lets through do not meet the default.
pub(crate) fn compile(profile: &Profile) -> Result<Vec<BpfProgram>, String> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut groups: Vec<(SeccompAction, BTreeMap<i64, Vec<SeccompRule>>)> = Vec::new();
    for rule in &profile.syscalls {
        let act = action(&rule.action, rule.errno_ret)?;
        if act == default {
            continue;
        }
        let index = groups.iter().position(|(a, _)| *a == act).unwrap_or_else(|| {
            groups.push((act.clone(), BTreeMap::new()));
            groups.len() - 1
        });
        for number in rule.names.iter().filter_map(|n| number(n)) {
            add(groups[index].1.entry(number), rule)?;
        }
    }
    let permissive = matches!(default, SeccompAction::Allow | SeccompAction::Log);
    if permissive {
        return groups.into_iter().map(|(act, rules)| program(rules, default.clone(), act)).collect();
    }
    // Everything that any rule names passes the first filter; stricter rules come as filters of their own.
    let mut passing = BTreeMap::new();
    for rule in profile.syscalls.iter().filter(|r| action(&r.action, r.errno_ret) != Ok(default.clone())) {
        for number in rule.names.iter().filter_map(|n| number(n)) {
            add(passing.entry(number), rule)?;
        }
    }
    let mut programs = vec![program(passing, default, SeccompAction::Allow)?];
    for (act, rules) in groups.into_iter().filter(|(a, _)| *a != SeccompAction::Allow) {
        programs.push(program(rules, SeccompAction::Allow, act)?);
    }
    Ok(programs)
}

/// Adds a rule's conditions; no conditions at all means always.
fn add(entry: std::collections::btree_map::Entry<'_, i64, Vec<SeccompRule>>, rule: &Rule) -> Result<(), String> {
    use std::collections::btree_map::Entry;
    if rule.args.is_empty() {
        match entry {
            Entry::Occupied(mut have) => have.get_mut().clear(),
            Entry::Vacant(slot) => drop(slot.insert(vec![])),
        }
        return Ok(());
    }
    let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let conditions = SeccompRule::new(conditions).map_err(|e| e.to_string())?;
    match entry {
        Entry::Vacant(slot) => drop(slot.insert(vec![conditions])),
        Entry::Occupied(mut have) if !have.get().is_empty() => have.get_mut().push(conditions),
        Entry::Occupied(_) => {} // allowed without conditions already
    }
    Ok(())
}

fn condition(arg: &Arg) -> Result<SeccompCondition, String> {
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, arg.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, arg.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, arg.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, arg.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, arg.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, arg.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
        other => return Err(format!("seccomp: unknown comparison {other:?}")),
    };
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Qword, op, value).map_err(|e| e.to_string())
}

fn action(name: &str, errno: Option<u32>) -> Result<SeccompAction, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(libc::EPERM as u32)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(libc::EPERM as u32)),
        other => return Err(format!("seccomp: action {other:?} is not supported")),
    })
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    act: SeccompAction,
) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|e| format!("seccomp: {e}"))?;
    let filter = SeccompFilter::new(rules, otherwise, act, arch).map_err(|e| format!("seccomp: {e}"))?;
    filter.try_into().map_err(|e| format!("seccomp: {e}"))
}

/// The number of a system call on this machine; profiles name those of other machines too.
fn number(name: &str) -> Option<i64> {
    syscalls::Sysno::from_str(name).ok().map(|n| i64::from(n.id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_profile_compiles_and_opens_with_capabilities() {
        let closed = runtime_default(&[]);
        assert!(closed.syscalls[0].names.iter().any(|n| n == "mount"));
        assert!(!compile(&closed).unwrap().is_empty());
        let open = runtime_default(&["CAP_SYS_ADMIN".into()]);
        assert!(!open.syscalls[0].names.iter().any(|n| n == "mount"));
        assert!(open.syscalls[0].names.iter().any(|n| n == "kexec_load"));
    }

    #[test]
    fn allow_list_with_other_actions_becomes_several_filters() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read","write","nothing_of_that_name"],"action":"SCMP_ACT_ALLOW"},
            {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":95},
            {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#;
        let profile: Profile = serde_json::from_str(text).unwrap();
        assert_eq!(compile(&profile).unwrap().len(), 2);
    }

    #[test]
    fn unknown_actions_are_refused() {
        let profile = Profile { default_action: "SCMP_ACT_NOTIFY".into(), ..Profile::default() };
        assert!(compile(&profile).unwrap_err().contains("SCMP_ACT_NOTIFY"));
    }
}
