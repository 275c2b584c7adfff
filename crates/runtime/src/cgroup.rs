//! cgroups: v1 hierarchies and the v2 tree, with absolute paths below one directory of the cluster.
//!
//! Invariant: nothing outside of `/ironclad-<cluster>` is written to, and what was made is removed.

use ironclad_cri::LinuxResources;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// v1 controllers that containers are put into, as far as they are mounted.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb"];

/// Which hierarchies there are, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// v1 controllers by name.
    v1: BTreeMap<String, PathBuf>,
    /// The v2 tree.
    v2: Option<PathBuf>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo`.
    pub(crate) fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            // Only whole hierarchies: a bind mount of a part of one has another root.
            let (Some(&"/"), Some(point), Some(kind)) = (left.get(3), left.get(4), right.first()) else { continue };
            match *kind {
                "cgroup2" if layout.v2.is_none() => layout.v2 = Some(point.into()),
                "cgroup" => {
                    for name in right.get(2).copied().unwrap_or_default().split(',') {
                        if CONTROLLERS.contains(&name) {
                            layout.v1.entry(name.into()).or_insert_with(|| point.into());
                        }
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// Whether limits live in the v2 tree.
    pub(crate) fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }

    /// The directories of a group in all hierarchies.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.v1.values().chain(&self.v2).map(|root| root.join(path.trim_start_matches('/'))).collect();
        all.sort();
        all.dedup();
        all
    }

    /// This process's directory in each v1 hierarchy, by the hierarchy's name.
    pub(crate) fn own_paths(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let mut found = Vec::new();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            let Some(root) = names.split(',').find_map(|n| self.v1.get(n)) else { continue };
            found.push((names.to_owned(), root.join(path.trim_start_matches('/'))));
        }
        Ok(found)
    }

    /// Makes a group, with what its parents need first.
    pub(crate) fn create(&self, path: &str) -> io::Result<()> {
        for root in self.v1.values().chain(&self.v2) {
            let mut dir = root.clone();
            for part in path.split('/').filter(|p| !p.is_empty()) {
                let parent = dir.clone();
                dir.push(part);
                match fs::create_dir(&dir) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(named(e, &dir)),
                    _ => {}
                }
                if self.v1.get("cpuset") == Some(root) {
                    inherit(&parent, &dir, "cpuset.cpus")?;
                    inherit(&parent, &dir, "cpuset.mems")?;
                }
                if self.is_unified() && self.v2.as_ref() == Some(root) {
                    delegate(&parent);
                }
            }
        }
        Ok(())
    }

    /// The directories that a process joins to be in a group.
    pub(crate) fn join_dirs(&self, path: &str) -> Vec<String> {
        self.dirs(path).into_iter().map(|d| d.to_string_lossy().into_owned()).collect()
    }

    /// Ids of all processes in a group and below it. The root is no group: nobody may take its processes for theirs.
    pub(crate) fn processes(&self, path: &str) -> Vec<i32> {
        if path.trim_matches('/').is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        if let Some(dir) = self.dir("memory", path).or_else(|| self.dirs(path).into_iter().next()) {
            walk(&dir, &mut |dir| {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0));
            });
        }
        found
    }

    /// Removes an empty group with what is below it. Fine for a missing one.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        for dir in self.dirs(path) {
            remove_tree(&dir)?;
        }
        Ok(())
    }

    /// Removes the parents of a group that nobody needs any more, up to and including `top`.
    pub(crate) fn remove_parents(&self, path: &str, top: &str) {
        for root in self.dirs("") {
            let top = root.join(top.trim_start_matches('/'));
            let mut dir = root.join(path.trim_start_matches('/'));
            while dir.pop() && dir.starts_with(&top) && dir != top {
                // One that others still use stays: rmdir refuses it.
                if fs::remove_dir(&dir).is_err() {
                    break;
                }
            }
        }
    }

    fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let root = self.v1.get(controller).or(if self.is_unified() { self.v2.as_ref() } else { None })?;
        Some(root.join(path.trim_start_matches('/')))
    }

    fn write(&self, controller: &str, path: &str, file: &str, value: &str) -> io::Result<()> {
        let Some(dir) = self.dir(controller, path) else { return Ok(()) };
        let file = dir.join(file);
        fs::write(&file, value).map_err(|e| named(e, &file))
    }

    /// Sets limits.
    pub(crate) fn limit(&self, path: &str, want: &LinuxResources) -> io::Result<()> {
        for (controller, file, value) in settings(want, self.is_unified()) {
            match self.write(controller, path, file, &value) {
                // Swap accounting is optional; memory limits hold without it.
                Err(e) if file == "memory.memsw.limit_in_bytes" && e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if file.starts_with("memory.memsw") => self.raise_both(path, &value).map_err(|_| e)?,
                Err(e) if file == "memory.limit_in_bytes" && e.kind() == io::ErrorKind::InvalidInput => {
                    self.raise_both(path, &value)?;
                }
                other => other?,
            }
        }
        for (size, bytes) in &want.hugepages {
            let file = if self.is_unified() {
                format!("hugetlb.{size}.max")
            } else {
                format!("hugetlb.{size}.limit_in_bytes")
            };
            match self.write("hugetlb", path, &file, &bytes.to_string()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// memory may not exceed memory+swap: whichever goes up goes first.
    fn raise_both(&self, path: &str, value: &str) -> io::Result<()> {
        self.write("memory", path, "memory.memsw.limit_in_bytes", value)?;
        self.write("memory", path, "memory.limit_in_bytes", value)
    }

    /// Only these devices may be used.
    pub(crate) fn allow_devices(&self, path: &str, rules: &[crate::spec::DeviceRule]) -> io::Result<()> {
        if !self.v1.contains_key("devices") {
            let everything = rules.iter().all(|r| r.allow && r.kind.is_none());
            return match &self.v2 {
                Some(root) if !everything => crate::devices::restrict(&root.join(path.trim_start_matches('/')), rules),
                _ => Ok(()),
            };
        }
        for rule in rules {
            let number = |n: Option<i64>| n.map_or("*".to_owned(), |n| n.to_string());
            let line = match &rule.kind {
                None => "a".to_owned(),
                Some(kind) => format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access),
            };
            self.write("devices", path, if rule.allow { "devices.allow" } else { "devices.deny" }, &line)?;
        }
        Ok(())
    }

    /// How many processes of the group the kernel killed for memory.
    pub(crate) fn oom_kills(&self, path: &str) -> u64 {
        let file = if self.is_unified() { "memory.events" } else { "memory.oom_control" };
        self.read("memory", path, file).map_or(0, |text| field(&text, "oom_kill"))
    }

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller, path)?.join(file)).ok()
    }

    /// What a group uses.
    pub(crate) fn usage(&self, path: &str) -> Usage {
        let number = |controller: &str, file: &str| -> u64 {
            self.read(controller, path, file).and_then(|t| t.trim().parse().ok()).unwrap_or(0)
        };
        let memory_stat = self.read("memory", path, "memory.stat").unwrap_or_default();
        let (cpu, memory, inactive, rss, pids) = if self.is_unified() {
            let cpu = self.read("cpu", path, "cpu.stat").map_or(0, |t| field(&t, "usage_usec")) * 1000;
            let memory = number("memory", "memory.current");
            (
                cpu,
                memory,
                field(&memory_stat, "inactive_file"),
                field(&memory_stat, "anon"),
                number("pids", "pids.current"),
            )
        } else {
            let cpu = number("cpuacct", "cpuacct.usage");
            let memory = number("memory", "memory.usage_in_bytes");
            let inactive = field(&memory_stat, "total_inactive_file");
            (cpu, memory, inactive, field(&memory_stat, "total_rss"), number("pids", "pids.current"))
        };
        Usage { cpu_nanos: cpu, memory, working_set: memory.saturating_sub(inactive), rss, pids }
    }
}

/// What a group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    pub(crate) memory: u64,
    pub(crate) working_set: u64,
    pub(crate) rss: u64,
    pub(crate) pids: u64,
}

/// Which files get which values.
fn settings(want: &LinuxResources, unified: bool) -> Vec<(&'static str, &'static str, String)> {
    let mut set = Vec::new();
    let period = want.cpu_period.filter(|p| *p > 0);
    if unified {
        if want.cpu_quota.is_some() || period.is_some() {
            let quota = want.cpu_quota.filter(|q| *q > 0).map_or("max".to_owned(), |q| q.to_string());
            set.push(("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
        }
        if let Some(shares) = want.cpu_shares.filter(|s| *s > 0) {
            let shares = shares.clamp(2, 262_144);
            set.push(("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()));
        }
        if let Some(limit) = want.memory_limit.filter(|l| *l != 0) {
            set.push(("memory", "memory.max", if limit < 0 { "max".into() } else { limit.to_string() }));
            set.push(("memory", "memory.swap.max", if limit < 0 { "max".into() } else { "0".to_owned() }));
        }
        if let Some(min) = want.memory_min {
            set.push(("memory", "memory.min", min.to_string()));
        }
    } else {
        if let Some(period) = period {
            set.push(("cpu", "cpu.cfs_period_us", period.to_string()));
        }
        if let Some(quota) = want.cpu_quota.filter(|q| *q != 0) {
            set.push(("cpu", "cpu.cfs_quota_us", quota.max(-1).to_string()));
        }
        if let Some(shares) = want.cpu_shares.filter(|s| *s > 0) {
            set.push(("cpu", "cpu.shares", shares.clamp(2, 262_144).to_string()));
        }
        if let Some(limit) = want.memory_limit.filter(|l| *l != 0) {
            set.push(("memory", "memory.limit_in_bytes", limit.max(-1).to_string()));
            set.push(("memory", "memory.memsw.limit_in_bytes", limit.max(-1).to_string()));
        }
    }
    if let Some(limit) = want.pids_limit.filter(|l| *l != 0) {
        set.push(("pids", "pids.max", if limit < 0 { "max".into() } else { limit.to_string() }));
    }
    if !want.cpuset_cpus.is_empty() {
        set.push(("cpuset", "cpuset.cpus", want.cpuset_cpus.clone()));
    }
    if !want.cpuset_mems.is_empty() {
        set.push(("cpuset", "cpuset.mems", want.cpuset_mems.clone()));
    }
    set
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or(0)
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Gives a group what its parent has of something without which no process may join it. Who made the group may not have
/// come to this yet, or have died before.
fn inherit(parent: &Path, dir: &Path, file: &str) -> io::Result<()> {
    if !fs::read_to_string(dir.join(file)).map_err(|e| named(e, &dir.join(file)))?.trim().is_empty() {
        return Ok(());
    }
    let value = fs::read_to_string(parent.join(file))?;
    fs::write(dir.join(file), value.trim()).map_err(|e| named(e, &dir.join(file)))
}

/// Lets the children of a v2 group have controllers.
fn delegate(dir: &Path) {
    let available = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for name in available.split_whitespace() {
        // One controller that cannot be given on must not keep the others away.
        drop(fs::write(dir.join("cgroup.subtree_control"), format!("+{name}")));
    }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(dir);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(e, dir)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu
31 25 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
33 25 0:28 /pod /tmp/x rw,nosuid - cgroup cgroup rw,pids";

    #[test]
    fn layouts_are_told_apart() {
        let hybrid = Layout::parse(HYBRID);
        assert!(!hybrid.is_unified());
        assert_eq!(
            hybrid.join_dirs("/a/b"),
            ["/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/unified/a/b"]
        );
        let pure = Layout::parse("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert!(pure.is_unified());
    }

    #[test]
    fn limits_become_files_of_both_versions() {
        let want = LinuxResources {
            cpu_quota: Some(20_000),
            cpu_period: Some(100_000),
            cpu_shares: Some(1024),
            memory_limit: Some(64 << 20),
            pids_limit: Some(-1),
            ..LinuxResources::default()
        };
        assert!(settings(&want, true).contains(&("cpu", "cpu.max", "20000 100000".into())));
        assert!(settings(&want, true).contains(&("cpu", "cpu.weight", "39".into())));
        assert!(settings(&want, true).contains(&("pids", "pids.max", "max".into())));
        assert!(settings(&want, false).contains(&("memory", "memory.limit_in_bytes", "67108864".into())));
        assert!(settings(&LinuxResources::default(), false).is_empty());
    }

    #[test]
    fn groups_that_are_made_at_once_below_a_new_one_can_be_joined() {
        let layout = Layout::detect();
        let top = format!("/ironclad-made-{}", std::process::id());
        let made = |round: usize, n: usize| {
            let path = format!("{top}/{round}/burstable/{n}");
            layout.create(&path).map(|()| layout.read("cpuset", &path, "cpuset.cpus"))
        };
        let made = &made;
        let rounds = 0..200;
        let of_round = |round| {
            std::thread::scope(|s| {
                let threads: Vec<_> = (0..4).map(|n| s.spawn(move || made(round, n))).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
            })
        };
        let seen: Vec<io::Result<Option<String>>> = rounds.flat_map(of_round).collect();
        layout.remove(&top).unwrap();
        for cpus in seen {
            let cpus = cpus.unwrap();
            assert!(layout.is_unified() || cpus.is_none_or(|c| !c.trim().is_empty()), "nobody could join");
        }
    }

    #[test]
    fn the_limit_of_memory_goes_up_and_down() {
        let layout = Layout::detect();
        let path = format!("/ironclad-memory-{}", std::process::id());
        layout.create(&path).unwrap();
        let file = if layout.is_unified() { "memory.max" } else { "memory.limit_in_bytes" };
        let seen = [64_i64, 128, 32, -1, 64].map(|mebibytes| {
            let limit = if mebibytes < 0 { -1 } else { mebibytes << 20 };
            let want = LinuxResources { memory_limit: Some(limit), ..LinuxResources::default() };
            layout.limit(&path, &want).map(|()| (limit, layout.read("memory", &path, file).unwrap_or_default()))
        });
        layout.remove(&path).unwrap();
        for seen in seen {
            let (limit, text) = seen.unwrap();
            assert!(limit < 0 || text.trim() == limit.to_string(), "{limit}: {text}");
        }
    }
}
