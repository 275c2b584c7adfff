//! Debian packages, unpacked without their maintainer scripts into a staging directory that images pick from.

use crate::{Error, Result, io};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacked package closures, one directory for each set of packages.
pub(crate) struct Staging {
    debs: PathBuf,
    work: PathBuf,
    roots: RefCell<BTreeMap<String, PathBuf>>,
}

impl Staging {
    pub(crate) fn new(debs: &Path, work: &Path) -> Self {
        Self { debs: debs.into(), work: work.into(), roots: RefCell::default() }
    }

    /// A directory with these packages and all that they depend on.
    pub(crate) fn root(&self, packages: &[&str]) -> Result<PathBuf> {
        let key = packages.join("+");
        if let Some(root) = self.roots.borrow().get(&key) {
            return Ok(root.clone());
        }
        let root = self.work.join(format!("root-{key}"));
        fs::create_dir_all(&root).map_err(io("create a staging directory"))?;
        for deb in self.download(&closure(packages)?)? {
            run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
        }
        self.roots.borrow_mut().insert(key, root.clone());
        Ok(root)
    }

    fn download(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(&self.debs).map_err(io("create the package cache"))?;
        let mut missing: Vec<&String> = names.iter().filter(|n| self.find(n).is_none()).collect();
        if !missing.is_empty() {
            let fetch = |names: &[&String]| {
                let mut apt = Command::new("apt-get");
                apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(names).current_dir(&self.debs);
                run(&mut apt)
            };
            if fetch(&missing).is_err() {
                run(Command::new("apt-get").args(["-qq", "-o", "DPkg::Lock::Timeout=300", "update"]))?;
                fetch(&missing)?;
            }
            missing.retain(|n| self.find(n).is_none());
        }
        match missing.first() {
            Some(name) => Err(Error::Command { command: format!("apt-get download {name}"), output: "no file".into() }),
            None => Ok(names.iter().filter_map(|n| self.find(n)).collect()),
        }
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let prefix = format!("{name}_");
        let entries = fs::read_dir(&self.debs).ok()?.flatten();
        entries.map(|e| e.path()).find(|p| {
            let file = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            file.starts_with(&prefix) && file.ends_with(".deb")
        })
    }
}

/// Names of the packages and of all that they need, without recommendations and without what only sets systems up.
fn closure(packages: &[&str]) -> Result<Vec<String>> {
    const NOT_NEEDED: [&str; 12] = [
        "debconf",
        "perl-base",
        "dpkg",
        "tar",
        "adduser",
        "passwd",
        "lsb-base",
        "sysvinit-utils",
        "init-system-helpers",
        "mount",
        "util-linux",
        "media-types",
    ];
    let mut apt = Command::new("apt-cache");
    apt.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"]);
    apt.args(["--no-replaces", "--no-enhances"]).args(packages);
    let text = run(&mut apt)?;
    let mut names: Vec<String> = text
        .lines()
        .filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && !l.contains(':'))
        .filter(|l| !NOT_NEEDED.contains(l))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The shared libraries that a program in `root` loads, as absolute paths inside.
pub(crate) fn libraries(root: &Path, program: &str) -> Result<Vec<String>> {
    let loader = match std::env::consts::ARCH {
        "aarch64" => "/lib/ld-linux-aarch64.so.1",
        _ => "/lib64/ld-linux-x86-64.so.2",
    };
    let text = run(Command::new("chroot").arg(root).args([loader, "--list", program]))?;
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|l| l.rsplit_once(" (0x").map(|(left, _)| left))
        .filter_map(|l| l.rsplit([' ', '\t']).next())
        .filter(|p| p.starts_with('/'))
        .map(str::to_owned)
        .collect();
    found.push(loader.to_owned());
    Ok(found)
}

/// Runs a command and returns what it wrote.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let out = command.output().map_err(io(format!("run {line}")))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(Error::Command { command: line, output: String::from_utf8_lossy(&out.stderr).into_owned() })
}
