//! A layer's tar to a directory that overlayfs can use: whiteouts, opaque directories, hard links, devices, modes, owners,
//! times and extended attributes.
//!
//! Invariant: whatever a layer says, nothing outside of its directory is touched: parents are opened with
//! `RESOLVE_IN_ROOT`, and the last part of a path is never followed.

use crate::images::LayerSize;
use flate2::read::MultiGzDecoder;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    linkat, lsetxattr, makedev, mkdirat, mknodat, openat, openat2, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Entries of one layer.
const MAX_ENTRIES: u64 = 2_000_000;

/// Unpacks a layer, and checks that the plain tar has the digest it should have.
pub(super) fn layer(
    packed: impl Read + 'static,
    diff_id: &str,
    target: &Path,
    lower: &[PathBuf],
) -> io::Result<LayerSize> {
    fs::create_dir_all(target)?;
    let root = openat(CWD, target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut plain = Hashing { inner: plain(packed)?, hash: Sha256::new() };
    let mut unpacker = Unpacker { root, lower, size: LayerSize::default(), parent: None };
    copy_attributes(&unpacker, Path::new(""))?;
    {
        let mut tar = tar::Archive::new(&mut plain);
        for entry in tar.entries()? {
            unpacker.entry(&mut entry?)?;
        }
    }
    io::copy(&mut plain, &mut io::sink())?;
    let found = format!("sha256:{}", hex::encode(plain.hash.finalize()));
    if found != diff_id {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("wrong diff id calculated on extraction {found:?}"),
        ));
    }
    Ok(unpacker.size)
}

/// The tar itself, whichever way it is compressed.
fn plain(mut packed: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut magic = [0_u8; 4];
    let mut have = 0;
    while have < 4 {
        match packed.read(&mut magic[have..])? {
            0 => break,
            n => have += n,
        }
    }
    let whole = io::BufReader::with_capacity(1 << 16, io::Cursor::new(magic[..have].to_vec()).chain(packed));
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

struct Unpacker<'a> {
    root: OwnedFd,
    /// Layers below, uppermost first.
    lower: &'a [PathBuf],
    size: LayerSize,
    /// The directory of the entry before, which is most often that of the next one.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        self.size.inodes += 1;
        if self.size.inodes > MAX_ENTRIES {
            return Err(invalid("the layer has too many entries"));
        }
        let path = clean(&entry.path()?)?;
        let Some(name) = path.file_name().map(std::ffi::OsStr::to_owned) else {
            return set_attributes_of_root(&self.root, entry);
        };
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        self.open_parent(&dir)?;
        let Some((_, parent)) = &self.parent else { return Err(invalid("no parent")) };
        if name.as_bytes() == b".wh..wh..opq" {
            let own = format!("/proc/self/fd/{}/.", parent.as_raw_fd());
            return Ok(lsetxattr(own, "trusted.overlay.opaque", b"y", XattrFlags::empty())?);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            let hidden = std::ffi::OsStr::from_bytes(hidden);
            remove(parent, hidden)?;
            return Ok(mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?);
        }
        let header = entry.header().clone();
        let kind = header.entry_type();
        let exists = rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let both_dirs = kind.is_dir() && exists.is_some_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR);
        if exists.is_some() && !both_dirs {
            remove(parent, &name)?;
        }
        let device = || -> io::Result<u64> {
            Ok(makedev(header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let none = Mode::from_raw_mode(0o600);
        match kind {
            tar::EntryType::Directory if both_dirs => {}
            tar::EntryType::Directory => mkdirat(parent, &name, Mode::from_raw_mode(0o755))?,
            tar::EntryType::Symlink => symlinkat(&*target_of(entry)?, parent, &name)?,
            tar::EntryType::Link => {
                let target = clean(&target_of(entry)?)?;
                return self.hard_link(&target, &name);
            }
            tar::EntryType::Char => mknodat(parent, &name, FileType::CharacterDevice, none, device()?)?,
            tar::EntryType::Block => mknodat(parent, &name, FileType::BlockDevice, none, device()?)?,
            tar::EntryType::Fifo => mknodat(parent, &name, FileType::Fifo, none, 0)?,
            kind if kind.is_file() || kind == tar::EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = fs::File::from(openat(parent, &name, flags, none)?);
                self.size.bytes += io::copy(entry, &mut file)?;
            }
            _ => return Ok(()), // global headers and the like
        }
        set_attributes(parent, &name, entry, kind.is_symlink())
    }

    fn hard_link(&self, target: &Path, name: &std::ffi::OsStr) -> io::Result<()> {
        let Some((_, parent)) = &self.parent else { return Err(invalid("no parent")) };
        let from = target.file_name().ok_or_else(|| invalid("a hard link to the root"))?;
        let dir = self.open(target.parent().unwrap_or(Path::new("")))?;
        Ok(linkat(&dir, from, parent, name, AtFlags::empty())?)
    }

    fn open(&self, dir: &Path) -> Result<OwnedFd, Errno> {
        let path = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// Opens a directory, making it and what is above it where the layer does not say how they are.
    fn open_parent(&mut self, dir: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_some_and(|(have, _)| have == dir) {
            return Ok(());
        }
        let found = match self.open(dir) {
            Err(Errno::NOENT) => {
                let mut sofar = PathBuf::new();
                for part in dir.components() {
                    let above = self.open(&sofar)?;
                    sofar.push(part);
                    match mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                        Ok(()) => copy_attributes(self, &sofar)?,
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                self.open(dir)?
            }
            other => other?,
        };
        self.parent = Some((dir.to_owned(), found));
        Ok(())
    }
}

/// A directory that the layer only passes through looks as it does in the layers below.
fn copy_attributes(unpacker: &Unpacker<'_>, dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let below = unpacker.lower.iter().find_map(|l| fs::symlink_metadata(l.join(dir)).ok().filter(fs::Metadata::is_dir));
    let Some(meta) = below else { return Ok(()) };
    let fd = unpacker.open(dir)?;
    let own = format!("/proc/self/fd/{}/.", fd.as_raw_fd());
    chownat(CWD, &own, Some(Uid::from_raw(meta.uid())), Some(Gid::from_raw(meta.gid())), AtFlags::empty())?;
    Ok(chmodat(CWD, &own, Mode::from_raw_mode(meta.mode() & 0o7777), AtFlags::empty())?)
}

fn set_attributes_of_root<R: Read>(root: &OwnedFd, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    if entry.header().entry_type().is_dir() {
        let own = format!("/proc/self/fd/{}", root.as_raw_fd());
        let dir = openat(CWD, &own, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        return set_attributes(&dir, std::ffi::OsStr::new("."), entry, false);
    }
    Ok(())
}

fn set_attributes<R: Read>(
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    entry: &mut tar::Entry<'_, R>,
    link: bool,
) -> io::Result<()> {
    let header = entry.header().clone();
    let (uid, gid) = (header.uid()? as u32, header.gid()? as u32);
    chownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
    if !link {
        // After the owner: a change of owner takes the setuid bit away.
        chmodat(parent, name, Mode::from_raw_mode(header.mode()? & 0o7777), AtFlags::empty())?;
    }
    let path = format!("/proc/self/fd/{}/", parent.as_raw_fd());
    let mut path = std::ffi::OsString::from(path);
    path.push(name);
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(key) = extension.key().ok().and_then(|k| k.strip_prefix("SCHILY.xattr.")) {
            match lsetxattr(&path, key, extension.value_bytes(), XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    let time = Timespec { tv_sec: header.mtime()? as i64, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn remove(parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = openat(parent, name, flags, Mode::empty())?;
            let own = PathBuf::from(format!("/proc/self/fd/{}/.", dir.as_raw_fd()));
            for entry in fs::read_dir(&own)? {
                remove(&dir, &entry?.file_name())?;
            }
            Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Err(e) => Err(e.into()),
    }
}

fn target_of<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<PathBuf> {
    entry.link_name()?.map(std::borrow::Cow::into_owned).ok_or_else(|| invalid("a link without a target"))
}

/// A path below the root, without `.`; one that climbs is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(invalid(&format!("bad path {}", path.display()))),
        }
    }
    Ok(clean)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
