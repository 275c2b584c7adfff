//! Talking to shims from tokio: one connection for each request.

use crate::shim::wire::{self, Reply, Request};
use ironclad_cri::{Error, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// A connection to a shim.
pub(crate) struct Connection(AsyncFd<OwnedFd>);

impl Connection {
    /// Connects to the shim whose directory this is.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        // The directory's own path may be longer than a socket's name can be.
        let dir = File::open(dir)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/ctl", dir.as_raw_fd()))?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: the descriptor is owned and stays the same until it is dropped with this.
        Ok(Self(unsafe { AsyncFd::register(socket) }?))
    }

    /// Sends a request with descriptors.
    pub(crate) async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut guard = self.0.writable().await?;
            match guard.try_io(|fd| wire::send(fd.as_fd(), request, fds)) {
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// The next message; `None` when the shim is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|fd| wire::receive(fd.as_fd())) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// The next answer; one with an error becomes that error.
    pub(crate) async fn reply(&self) -> Result<(Reply, Vec<OwnedFd>)> {
        let gone = || Error::Internal("the pod's shim is gone".into());
        let got = self.receive().await.map_err(|e| Error::Internal(format!("read from the shim: {e}")))?;
        let (text, fds) = got.ok_or_else(gone)?;
        let reply: Reply =
            serde_json::from_slice(&text).map_err(|e| Error::Internal(format!("the shim's answer: {e}")))?;
        if reply.error.is_empty() { Ok((reply, fds)) } else { Err(Error::Internal(reply.error)) }
    }
}

/// One request and its answer.
pub(crate) async fn call(dir: &Path, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
    let unreachable = |e: io::Error| Error::Internal(format!("reach the pod's shim: {e}"));
    let connection = Connection::open(dir).map_err(unreachable)?;
    connection.send(request, fds).await.map_err(unreachable)?;
    Ok(connection.reply().await?.0)
}
