//! SPDY/3.1: frames, header blocks, and sessions of either side.

mod dictionary;
mod frame;
mod headers;
mod session;

pub use frame::{Frame, Status, decode, encode};
pub use headers::{Compressor, Decompressor, Headers};
pub use session::{Incoming, Role, Session, Stream};
