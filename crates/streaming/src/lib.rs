//! Streams over upgraded connections: SPDY/3.1 and the WebSocket channel protocols.
//!
//! Invariants: the frame parser is pure and bounded; a stream is a pair of pipes, so that a slow reader slows its peer
//! down instead of filling memory; what runs in a container or listens on a port is not known here.

mod bodiless;
mod command;
mod error;
mod forward;
mod negotiate;
mod pipe;
mod relay;
pub mod spdy;
#[doc(hidden)]
pub mod untrusted;
mod websocket;

pub use bodiless::bodiless;
pub use command::{RemoteCommand, Wanted, exit_status, failure_status, remote_command};
pub use error::Error;
pub use forward::{Forward, PortForward, port_forward, tunnelled};
pub use negotiate::Transport;
pub use pipe::{Pipe, TerminalSize};
pub use relay::{Relay, refuse, relay};
