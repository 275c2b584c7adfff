//! Which devices the processes of a v2 cgroup may use: a small eBPF program for each group, as v2 has no files for it.

use crate::spec::DeviceRule;
use crate::sys::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// One instruction of eBPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_VALUE: u8 = 0xb7;
const AND_VALUE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNLESS: u8 = 0x55;
const EXIT: u8 = 0x95;

const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SPARE: u8 = 6;

fn insn(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, value }
}

/// The program for rules of which the last that fits decides; without one that fits the answer is no.
fn program(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, TYPE, 1, 0, 0),
        insn(LOAD_WORD, MAJOR, 1, 4, 0),
        insn(LOAD_WORD, MINOR, 1, 8, 0),
        insn(MOVE_REGISTER, ACCESS, TYPE, 0, 0),
        insn(AND_VALUE, TYPE, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, ACCESS, 0, 0, 16),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        match rule.kind.as_deref() {
            Some("b") => tests.push((TYPE, 1)),
            Some("c") => tests.push((TYPE, 2)),
            _ => {}
        }
        tests.extend(rule.major.map(|n| (MAJOR, n as i32)));
        tests.extend(rule.minor.map(|n| (MINOR, n as i32)));
        let access = rule.access.chars().fold(0, |mask, c| {
            mask | match c {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => 0,
            }
        });
        // What is left of this rule before each test: the tests, that of access too, and two for the answer.
        let mut left = tests.len() as i16 + 3;
        code.push(insn(MOVE_REGISTER, SPARE, ACCESS, 0, 0));
        code.push(insn(AND_VALUE, SPARE, 0, 0, !access));
        for (register, value) in [(SPARE, 0)].into_iter().chain(tests) {
            left -= 1;
            code.push(insn(JUMP_UNLESS, register, 0, left, value));
        }
        code.extend([insn(MOVE_VALUE, 0, 0, 0, i32::from(rule.allow)), insn(EXIT, 0, 0, 0, 0)]);
    }
    code.extend([insn(MOVE_VALUE, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    code
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    kind: u32,
    count: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches the rules to a group. They go with it.
pub(crate) fn restrict(group: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let code = program(rules);
    let attr = LoadAttr {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        count: code.len() as u32,
        program: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    // SAFETY: program and licence live through the call; the descriptor is new and ours.
    let loaded = unsafe {
        let fd = check(libc::syscall(libc::SYS_bpf, 5, &attr, size_of::<LoadAttr>()))?;
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    let group = File::open(group)?;
    let attr = AttachAttr {
        target: group.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: 6,  // BPF_CGROUP_DEVICE
        flags: 2, // beside those of other groups on the way
    };
    // SAFETY: both descriptors are open during the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, 8, &attr, size_of::<AttachAttr>()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn rule(allow: bool, kind: Option<&str>, number: Option<(i64, i64)>, access: &str) -> DeviceRule {
        let (major, minor) = number.unzip();
        DeviceRule { allow, kind: kind.map(str::to_owned), major, minor, access: access.into() }
    }

    #[test]
    fn the_kernel_keeps_a_group_to_its_devices() {
        let v2 = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .find(|d| Path::new(d).join("cgroup.procs").exists());
        let group = Path::new(v2.unwrap()).join(format!("ironclad-test-devices-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let rules = [
            rule(false, None, None, "rwm"),
            rule(true, Some("c"), Some((1, 3)), "rwm"),
            rule(true, Some("c"), Some((1, 5)), "w"),
        ];
        let restricted = restrict(&group, &rules);
        let script = format!(
            "echo $$ > {}/cgroup.procs; for f in null zero full; do \
             (: < /dev/$f) 2>/dev/null && echo $f r; (: > /dev/$f) 2>/dev/null && echo $f w; done",
            group.display()
        );
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_dir(&group).unwrap();
        restricted.unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "null r\nnull w\nzero w\n");
    }
}
