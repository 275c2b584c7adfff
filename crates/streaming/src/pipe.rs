//! The ends of a stream, and sizes of terminals.

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::mpsc;

/// One direction of a stream. Dropping it closes that direction.
pub type Pipe = DuplexStream;

/// Bytes that wait in one direction of a stream before its writer has to wait.
const DEPTH: usize = 64 * 1024;

/// One direction: the session's end and the user's end.
pub(crate) fn pipe() -> (Pipe, Pipe) {
    tokio::io::duplex(DEPTH)
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    #[serde(alias = "width")]
    pub width: u16,
    /// Rows.
    #[serde(alias = "height")]
    pub height: u16,
}

/// Longest text of sizes that is kept while it is incomplete.
const MAX_SIZE_TEXT: usize = 4096;

/// Reads sizes, one JSON object after the other, until the stream ends or is no longer understood.
pub(crate) fn sizes(mut from: Pipe) -> mpsc::Receiver<TerminalSize> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut text = Vec::new();
        while text.len() < MAX_SIZE_TEXT {
            match from.read_buf(&mut text).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let (found, used) = parse_sizes(&text);
            text.drain(..used);
            for size in found {
                if sender.send(size).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// The complete sizes at the start of `text`, and how many bytes they take.
fn parse_sizes(text: &[u8]) -> (Vec<TerminalSize>, usize) {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<TerminalSize>();
    let (mut found, mut used) = (Vec::new(), 0);
    while let Some(Ok(size)) = stream.next() {
        found.push(size);
        used = stream.byte_offset();
    }
    (found, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_arrive_in_pieces() {
        let (found, used) = parse_sizes(b"{\"Width\":80,\"Height\":24}\n{\"width\":1,\"height\":2}{\"Wid");
        let sizes = [TerminalSize { width: 80, height: 24 }, TerminalSize { width: 1, height: 2 }];
        assert_eq!((found.as_slice(), used), (sizes.as_slice(), 47));
    }
}
