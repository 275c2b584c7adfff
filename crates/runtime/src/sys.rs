//! System calls that the standard library and rustix lack or wrap too thickly, each as a safe function.
//!
//! Invariant: every function here is sound to call from safe code in a single-threaded process.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Turns -1 into the error that happened.
pub(crate) fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A string for the kernel.
pub(crate) fn cstring(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} holds a NUL byte")))
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// What [`fork_into`] returns on each side.
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the old one: the new process's id.
    Parent(i32),
}

/// Forks with new namespaces (`CLONE_NEW*`).
pub(crate) fn fork_into(namespaces: i32) -> io::Result<Forked> {
    let args = CloneArgs { flags: namespaces as u64, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    // SAFETY: without CLONE_VM this is a fork; the process is single-threaded, so the child may go on using memory.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) })?;
    Ok(if pid == 0 { Forked::Child } else { Forked::Parent(pid as i32) })
}

/// Ends the process without running anything of the old one.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Enters a namespace.
pub(crate) fn setns(fd: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: takes a descriptor and a number.
    check(i64::from(unsafe { libc::setns(fd.as_raw_fd(), kind) })).map(drop)
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(kinds: i32) -> io::Result<()> {
    // SAFETY: takes a number.
    check(i64::from(unsafe { libc::unshare(kinds) })).map(drop)
}

/// Becomes the leader of a new session.
pub(crate) fn setsid() -> io::Result<()> {
    // SAFETY: no arguments.
    check(i64::from(unsafe { libc::setsid() })).map(drop)
}

/// `prctl` with numbers only.
pub(crate) fn prctl(option: i32, argument: u64) -> io::Result<()> {
    // SAFETY: only called with options whose arguments are numbers.
    check(i64::from(unsafe { libc::prctl(option, argument, 0, 0, 0) })).map(drop)
}

/// Names the process for `ps`.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the string lives through the call. A name is decoration: failure does not matter.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Sends a signal to a process, or with a negative id to a group.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(i64::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// One ended child and its raw status, if there is one.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status is a valid place to write to.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// The exit code that a shell would show: 128 + n for a signal n.
pub(crate) fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// A descriptor that becomes readable for any of the signals, which are blocked.
pub(crate) fn signalfd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used; the descriptor is new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        check(i64::from(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())))?;
        let fd = check(i64::from(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Default dispositions and an empty mask, as a new program expects them.
pub(crate) fn reset_signals() {
    // SAFETY: the set is initialised before use; SIG_DFL is always a valid disposition. Signals that cannot be
    // changed answer with an error, which is fine.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Marks all descriptors from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes numbers; descriptors stay open in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Makes `fd` the descriptor `number`.
pub(crate) fn dup_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: clears the close-on-exec flag of an open descriptor.
        return check(i64::from(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })).map(drop);
    }
    // SAFETY: `number` is one of 0, 1 and 2, which nothing in this process owns through a type.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// Replaces the program. Returns only when that fails.
pub(crate) fn exec(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and live through the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Installs a seccomp filter, without touching `no_new_privs`.
pub(crate) fn install_filter(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const seccompiler::sock_filter,
    }
    let fprog = Fprog { len: program.len() as u16, filter: program.as_ptr() };
    // SAFETY: the program and its description live through the call; the kernel copies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &fprog) }).map(drop)
}

/// Sets user, group and supplemental groups of the process.
pub(crate) fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the groups live through the call; the others take numbers.
    unsafe {
        check(i64::from(libc::setgroups(groups.len(), groups.as_ptr())))?;
        check(i64::from(libc::setresgid(gid, gid, gid)))?;
        check(i64::from(libc::setresuid(uid, uid, uid))).map(drop)
    }
}

/// Sets effective, permitted and inheritable capabilities.
pub(crate) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let low = |v: u64| (v & 0xffff_ffff) as u32;
    let high = |v: u64| (v >> 32) as u32;
    let data: [u32; 6] =
        [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)];
    // SAFETY: version 3 takes a header of two words and data of six.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Lets an inheritable and permitted capability pass through exec.
pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let done = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, u64::from(capability), 0, 0) };
    check(i64::from(done)).map(drop)
}

/// Sets a resource limit by its number.
pub(crate) fn set_rlimit(kind: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit lives through the call.
    check(i64::from(unsafe { libc::setrlimit(kind, &limit) })).map(drop)
}

/// The hard limit of a resource.
pub(crate) fn hard_limit(kind: u32) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a valid place to write to. It cannot fail for a known kind.
    unsafe { libc::getrlimit(kind, &mut limit) };
    limit.rlim_max
}

/// Makes the terminal at `fd` the session's controlling terminal.
pub(crate) fn control_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a descriptor and a number.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// Changes a terminal's size.
pub(crate) fn set_window(fd: BorrowedFd<'_>, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size lives through the call.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) })).map(drop)
}

/// A master of the `devpts` at `ptmx`, and its slave.
pub(crate) fn open_terminal(ptmx: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = cstring(ptmx)?;
    // SAFETY: the path lives through the call; both descriptors are new and ours.
    unsafe {
        let master = check(i64::from(libc::open(path.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC)))?;
        let master = OwnedFd::from_raw_fd(master as RawFd);
        let zero: libc::c_int = 0;
        check(i64::from(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &zero)))?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let slave = check(i64::from(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags)))?;
        Ok((master, OwnedFd::from_raw_fd(slave as RawFd)))
    }
}

/// Brings the loopback device of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the request is zeroed and holds a name that ends with a NUL byte; the socket is new and ours.
    unsafe {
        let fd = check(i64::from(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)))?;
        let socket = OwnedFd::from_raw_fd(fd as RawFd);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(i64::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))).map(drop)
    }
}

/// The kernel's clock in nanoseconds since the epoch.
pub(crate) fn now_nanos() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as i64
}

/// Descriptors that poll is asked about.
pub(crate) fn poll(fds: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: the slice is valid for its length.
    match check(i64::from(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) })) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// Gives memory that malloc keeps back to the kernel.
pub(crate) fn give_memory_back() {
    // SAFETY: takes a number.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
