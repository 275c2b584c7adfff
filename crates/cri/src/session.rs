//! Streams of a process in a container.

use crate::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// Bytes that come.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes that go.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
/// A connection.
pub type BoxStream = Box<dyn Duplex>;

/// Which streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with a terminal.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// A command to run with its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Which streams are wanted.
    pub streams: StreamOptions,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The streams of a running process. Dropping it closes them.
pub struct Session {
    /// Standard input; dropping it closes the process's input.
    pub stdin: Option<BoxWrite>,
    /// Standard output, or the terminal.
    pub stdout: Option<BoxRead>,
    /// Standard error.
    pub stderr: Option<BoxRead>,
    /// Takes new sizes of the terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code of an exec; an attach ends with 0 when its streams do.
    pub exit: oneshot::Receiver<Result<i32>>,
}

/// What a command wrote and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, at most 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit_code: i32,
}
