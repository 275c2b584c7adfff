//! The last steps of a process before its program: terminal, limits, ids, capabilities, system call filter, exec.

use super::mounts::{at, message};
use crate::seccomp::{Profile, compile};
use crate::spec::{Capabilities, Process};
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The users that a process is to be among.
pub(crate) struct Users {
    pub(crate) fd: OwnedFd,
    /// Its mounts are to belong to those users too, so that their root may mount.
    pub(crate) own_mounts: bool,
}

/// Becomes the program of `process`; the file system and the other namespaces are entered already. Returns only an
/// error.
pub(crate) fn become_program(process: &Process, seccomp: Option<&Profile>, users: Option<Users>) -> String {
    match prepare(process, seccomp, users) {
        Err(e) => e,
        Ok((path, args, env, late)) => {
            for filter in late {
                if let Err(e) = sys::install_filter(&filter) {
                    return format!("seccomp: {}", message(&e));
                }
            }
            let error = sys::exec(&path, &args, &env);
            format!("exec: {:?}: {}", process.args.first().map_or("", String::as_str), message(&error))
        }
    }
}

type Program = (CString, Vec<CString>, Vec<CString>, Vec<seccompiler::BpfProgram>);

fn prepare(process: &Process, seccomp: Option<&Profile>, users: Option<Users>) -> Result<Program, String> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for limit in &process.rlimits {
        if let Some(kind) = rlimit_number(&limit.kind) {
            sys::set_rlimit(kind, limit.soft, limit.hard).map_err(at(format!("set {}", limit.kind)))?;
        }
    }
    if let Some(score) = process.oom_score_adj {
        std::fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(at("set oom_score_adj"))?;
    }
    if let Some(users) = users {
        sys::setns(users.fd.as_fd(), libc::CLONE_NEWUSER).map_err(at("enter the pod's users"))?;
        if users.own_mounts {
            sys::unshare(libc::CLONE_NEWNS).map_err(at("own the mounts"))?;
        }
    }
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(at("set no_new_privs"))?;
    }
    let filters = seccomp.map(compile).transpose()?.unwrap_or_default();
    let env = environment(process);
    let early = std::env::set_current_dir(&process.cwd);
    sys::reset_signals();
    // Without no_new_privs only a privileged process may install a filter, so it comes before the drop.
    let late = if process.no_new_privileges { filters } else { install(filters)? };
    drop_privileges(process)?;
    if early.is_err() {
        std::env::set_current_dir(&process.cwd)
            .map_err(at(format!("chdir to cwd ({:?}) set in config.json failed", process.cwd)))?;
    }
    let path = find_program(process.args.first().map_or("", String::as_str), &env)?;
    sys::close_on_exec_from(3).map_err(at("close descriptors"))?;
    let strings =
        |list: &[String]| list.iter().map(|s| sys::cstring(s)).collect::<io::Result<Vec<_>>>().map_err(at("arguments"));
    Ok((sys::cstring(&path).map_err(at("program"))?, strings(&process.args)?, strings(&env)?, late))
}

fn install(filters: Vec<seccompiler::BpfProgram>) -> Result<Vec<seccompiler::BpfProgram>, String> {
    for filter in filters {
        sys::install_filter(&filter).map_err(at("seccomp"))?;
    }
    Ok(Vec::new())
}

/// The environment with `HOME` from the user data base.
fn environment(process: &Process) -> Vec<String> {
    let mut env = process.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = process.user.uid.to_string();
        let home = text.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&uid.as_str()));
        let home = home.and_then(|f| f.get(5).map(|h| (*h).to_owned())).filter(|h| !h.is_empty());
        env.push(format!("HOME={}", home.unwrap_or_else(|| if uid == "0" { "/root".into() } else { "/".into() })));
    }
    env
}

fn drop_privileges(process: &Process) -> Result<(), String> {
    let sets = &process.capabilities;
    let bounding = mask(&sets.bounding);
    for number in 0..=last_capability() {
        if bounding & (1 << number) == 0 {
            match sys::prctl(libc::PR_CAPBSET_DROP, u64::from(number)) {
                Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                    return Err(format!("unable to apply bounding set: {e}"));
                }
                _ => {}
            }
        }
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).map_err(at("keep capabilities"))?;
    let user = &process.user;
    sys::set_ids(user.uid, user.gid, &user.additional_gids).map_err(at("set user and groups"))?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0).map_err(at("keep capabilities"))?;
    apply_sets(sets)
}

fn apply_sets(sets: &Capabilities) -> Result<(), String> {
    let (effective, permitted, inheritable) = (mask(&sets.effective), mask(&sets.permitted), mask(&sets.inheritable));
    sys::set_capabilities(effective, permitted, inheritable).map_err(at("unable to apply caps"))?;
    let ambient = mask(&sets.ambient);
    for number in (0..=last_capability()).filter(|n| ambient & (1 << n) != 0) {
        sys::raise_ambient(number).map_err(at("unable to apply ambient caps"))?;
    }
    Ok(())
}

fn mask(names: &[String]) -> u64 {
    names.iter().filter_map(|n| crate::oci::capabilities::number(n)).fold(0, |m, n| m | 1 << n)
}

fn last_capability() -> u32 {
    40
}

fn rlimit_number(name: &str) -> Option<u32> {
    Some(match name {
        "RLIMIT_CPU" => 0,
        "RLIMIT_FSIZE" => 1,
        "RLIMIT_DATA" => 2,
        "RLIMIT_STACK" => 3,
        "RLIMIT_CORE" => 4,
        "RLIMIT_RSS" => 5,
        "RLIMIT_NPROC" => 6,
        "RLIMIT_NOFILE" => 7,
        "RLIMIT_MEMLOCK" => 8,
        "RLIMIT_AS" => 9,
        _ => return None,
    })
}

/// Finds the program as a shell would, with the words of the runtimes that people know.
fn find_program(name: &str, env: &[String]) -> Result<String, String> {
    let usable = |path: &str| -> io::Result<()> {
        let meta = std::fs::metadata(path)?;
        let executable = meta.is_file() && (meta.permissions().mode() & 0o111 != 0);
        let allowed = executable && (meta.uid() != u32::MAX);
        if allowed { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EACCES)) }
    };
    if name.contains('/') {
        return match usable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(format!("exec: {name:?}: stat {name}: no such file or directory"))
            }
            Err(e) => Err(format!("exec: {name:?}: {}", message(&e))),
        };
    }
    let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    let mut denied = false;
    for dir in path.split(':') {
        let candidate = format!("{}/{name}", if dir.is_empty() { "." } else { dir });
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(e) => denied |= e.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    Err(if denied && !name.is_empty() {
        format!("exec: {name:?}: permission denied")
    } else {
        format!("exec: {name:?}: executable file not found in $PATH")
    })
}

/// Gives the process a terminal of the container's own `devpts` that belongs to its user; returns the master.
pub(crate) fn take_terminal(owner: u32) -> Result<OwnedFd, String> {
    let (master, slave) = sys::open_terminal("/dev/pts/ptmx").map_err(at("open a terminal"))?;
    rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(owner)), None).map_err(at("own the terminal"))?;
    sys::control_terminal(slave.as_fd()).map_err(at("set the controlling terminal"))?;
    for number in 0..3 {
        sys::dup_to(slave.as_fd(), number).map_err(at("set up the terminal"))?;
    }
    Ok(master)
}
