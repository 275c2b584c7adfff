//! Which records of a log are sent, and how they look.

use super::super::Query;
use bytes::{Bytes, BytesMut};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc;

/// Bytes that are sent at once.
const CHUNK: usize = 32 * 1024;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    timestamps: bool,
    pub(super) tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<usize>,
    stream: Option<&'static [u8]>,
}

impl Options {
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        let get = |key: &str| query.get(key).and_then(|v| v.first()).map_or("", String::as_str);
        // As the API reads flags: all but these mean yes, whatever the case of their letters.
        let flag = |key: &str| query.contains_key(key) && get(key) != "0" && !get(key).eq_ignore_ascii_case("false");
        let number = |key: &str| -> Result<Option<i64>, String> {
            match get(key) {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| format!("{key}: Invalid value: {text:?}")),
            }
        };
        let ago = |s: i64| Timestamp::now().checked_sub(k8s_openapi::jiff::Span::new().try_seconds(s).ok()?).ok();
        let since = match (number("sinceSeconds")?, get("sinceTime")) {
            (Some(seconds), _) => ago(seconds),
            (None, "") => None,
            (None, time) => Some(time.parse().map_err(|_| format!("sinceTime: Invalid value: {time:?}"))?),
        };
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            // Fewer than none is all, as stock has it.
            tail: number("tailLines")?.and_then(|n| usize::try_from(n).ok()),
            since,
            limit: number("limitBytes")?.map(|n| n.max(0) as usize),
            stream: match get("stream") {
                "Stdout" => Some(b"stdout"),
                "Stderr" => Some(b"stderr"),
                _ => None,
            },
        })
    }

    /// What a client sees of a record: `<time> <stream> <F|P> <text>`, with its newline.
    fn shown<'a>(&self, record: &'a [u8]) -> Option<(&'a [u8], &'a [u8], bool)> {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let mut parts = record.splitn(4, |b| *b == b' ');
        let (time, stream, whole) = (parts.next()?, parts.next()?, parts.next()?);
        let text = parts.next().unwrap_or_default();
        if self.stream.is_some_and(|s| s != stream) {
            return None;
        }
        let before = |since: Timestamp| {
            let time = std::str::from_utf8(time).ok().and_then(|t| t.parse::<Timestamp>().ok());
            time.is_some_and(|t| t < since)
        };
        if self.since.is_some_and(before) {
            return None;
        }
        Some((if self.timestamps { time } else { b"" }, text, whole != b"P"))
    }
}

/// Sends what is wanted, in pieces.
pub(super) struct Sender {
    bytes: mpsc::Sender<Bytes>,
    pub(super) options: Options,
    left: usize,
    pending: BytesMut,
}

impl Sender {
    pub(super) fn new(bytes: mpsc::Sender<Bytes>, options: Options) -> Self {
        let left = options.limit.unwrap_or(usize::MAX);
        Self { bytes, options, left, pending: BytesMut::new() }
    }

    /// Takes a record; whether more is wanted.
    pub(super) async fn record(&mut self, record: &[u8]) -> bool {
        if let Some((time, text, whole)) = self.options.shown(record) {
            let end: &[u8] = if whole { b"\n" } else { b"" };
            let gap: &[u8] = if time.is_empty() { b"" } else { b" " };
            for part in [time, gap, text, end] {
                let taken = part.len().min(self.left);
                self.left -= taken;
                self.pending.extend_from_slice(&part[..taken]);
            }
        }
        if self.left == 0 || self.pending.len() >= CHUNK {
            return self.flush().await;
        }
        true
    }

    /// Sends what was taken; whether more is wanted.
    pub(super) async fn flush(&mut self) -> bool {
        let piece = self.pending.split().freeze();
        let sent = piece.is_empty() || self.bytes.send(piece).await.is_ok();
        sent && self.left > 0
    }

    /// Waits until nobody listens.
    pub(super) async fn closed(&self) {
        self.bytes.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(options: Options, records: &[&str]) -> String {
        let (bytes, mut receiver) = mpsc::channel(16);
        let mut sender = Sender::new(bytes, options);
        for record in records {
            if !sender.record(record.as_bytes()).await {
                break;
            }
        }
        sender.flush().await;
        drop(sender);
        let mut out = Vec::new();
        while let Some(piece) = receiver.recv().await {
            out.extend_from_slice(&piece);
        }
        String::from_utf8(out).unwrap()
    }

    const A: &str = "2026-01-01T00:00:00.5Z stdout F hello world\n";
    const B: &str = "2026-01-01T00:00:02Z stderr P part\n";

    #[tokio::test]
    async fn records_are_shown_as_asked() {
        assert_eq!(shown(Options::default(), &[A, B]).await, "hello world\npart");
        let stamped = Options { timestamps: true, ..Options::default() };
        assert_eq!(shown(stamped, &[A]).await, "2026-01-01T00:00:00.5Z hello world\n");
        let later = Options { since: Some("2026-01-01T00:00:01Z".parse().unwrap()), ..Options::default() };
        assert_eq!(shown(later, &[A, B]).await, "part");
        let errors = Options { stream: Some(b"stderr"), ..Options::default() };
        assert_eq!(shown(errors, &[A, B]).await, "part");
        let short = Options { limit: Some(5), ..Options::default() };
        assert_eq!(shown(short, &[A, B]).await, "hello");
    }
}
