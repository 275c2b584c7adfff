//! Messages between the runtime and a shim: one JSON text in each packet of a `SOCK_SEQPACKET` socket, with
//! descriptors beside it where a message needs them.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Longest message in bytes.
pub(crate) const MAX: usize = 64 * 1024;

/// What a shim is asked. One request on each connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Is it there? Answered with the pids.
    Hello,
    /// Events from now on; the connection stays open.
    Watch,
    /// Starts the container whose bundle is in this directory.
    Start {
        /// Its id.
        id: String,
        /// Directory with `config.json`.
        bundle: String,
    },
    /// Runs the OCI process in this file in the container; with no terminal its three descriptors come along.
    Exec {
        /// The container.
        id: String,
        /// File with the process.
        process: String,
    },
    /// Connects descriptors to the container's streams: as many as there are `true`s, in order.
    Attach {
        /// The container.
        id: String,
        /// Standard input comes from the first descriptor.
        stdin: bool,
        /// Standard output goes to the next.
        stdout: bool,
        /// Standard error goes to the next.
        stderr: bool,
    },
    /// Changes the size of the container's terminal.
    Resize {
        /// The container.
        id: String,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Sends a signal to the container's first process.
    Kill {
        /// The container.
        id: String,
        /// Its number.
        signal: i32,
    },
    /// Opens the log file anew.
    ReopenLog {
        /// The container.
        id: String,
    },
    /// Forgets a container that has ended.
    Forget {
        /// The container.
        id: String,
    },
    /// Ends the shim, with all that is left in it.
    Shutdown,
}

/// What a shim answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Why it failed; empty when it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    /// The process that was started, or the shim's own.
    #[serde(default)]
    pub(crate) pid: i32,
    /// The first process of a shared process namespace.
    #[serde(default)]
    pub(crate) pause: i32,
    /// The exit code of an exec, in its second answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<i32>,
}

/// What a shim tells its watchers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// The container that ended.
    pub(crate) exited: String,
}

/// Sends a message with descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message with its descriptors; `None` when the other side is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut text = vec![0; MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = {
        let mut parts = [IoSliceMut::new(&mut text)];
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    text.truncate(got.bytes);
    Ok(Some((text, fds)))
}
