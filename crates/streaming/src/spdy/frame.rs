//! Frames as bytes. Pure: no connection, no compression.

use crate::Error;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest data frame that is taken.
pub(crate) const MAX_DATA: usize = 4 * 1024 * 1024;
/// Longest control frame that is taken.
pub(crate) const MAX_CONTROL: usize = 64 * 1024;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;
const CONTROL: u32 = 0x8003_0000;
const ID: u32 = 0x7fff_ffff;

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum Status {
    ProtocolError = 1,
    InvalidStream = 2,
    RefusedStream = 3,
    Cancel = 5,
    InternalError = 6,
}

/// A frame; header blocks are still compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum Frame {
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    SynStream {
        id: u32,
        associated: u32,
        priority: u8,
        fin: bool,
        unidirectional: bool,
        block: Bytes,
    },
    SynReply {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    RstStream {
        id: u32,
        status: u32,
    },
    Settings(Vec<(u32, u32)>),
    Ping(u32),
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    /// A control frame of another type; it is passed over.
    Other(u16),
}

fn bad(what: &str) -> Error {
    Error::Protocol(format!("frame: {what}"))
}

/// Takes the first frame from `buffer`, or `None` while it is incomplete.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
    let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
    let (first, second) = ((&head[..4]).get_u32(), (&head[4..]).get_u32());
    let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
    let control = first & !ID != 0;
    if control && first & 0xffff_0000 != CONTROL {
        return Err(bad("not SPDY version 3"));
    }
    if length > if control { MAX_CONTROL } else { MAX_DATA } {
        return Err(bad("too long"));
    }
    if buffer.len() < 8 + length {
        buffer.reserve(8 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(8);
    let payload = buffer.split_to(length).freeze();
    if !control {
        return Ok(Some(Frame::Data { id: first, fin: flags & FIN != 0, data: payload }));
    }
    decode_control(first as u16, flags, payload).map(Some)
}

fn decode_control(kind: u16, flags: u8, mut rest: Bytes) -> Result<Frame, Error> {
    let fin = flags & FIN != 0;
    let needed = match kind {
        1 => 10,
        2 | 4 | 6 | 8 => 4,
        3 | 7 | 9 => 8,
        _ => 0,
    };
    if rest.len() < needed {
        return Err(bad("too short"));
    }
    Ok(match kind {
        1 => {
            let (id, associated) = (rest.get_u32() & ID, rest.get_u32() & ID);
            let priority = rest.get_u16() >> 13;
            let unidirectional = flags & UNIDIRECTIONAL != 0;
            Frame::SynStream { id, associated, priority: priority as u8, fin, unidirectional, block: rest }
        }
        2 => Frame::SynReply { id: rest.get_u32() & ID, fin, block: rest },
        3 => Frame::RstStream { id: rest.get_u32() & ID, status: rest.get_u32() },
        4 => {
            let count = rest.get_u32() as usize;
            if rest.len() != count.saturating_mul(8) {
                return Err(bad("wrong number of settings"));
            }
            Frame::Settings((0..count).map(|_| (rest.get_u32(), rest.get_u32())).collect())
        }
        6 => Frame::Ping(rest.get_u32()),
        7 => Frame::GoAway { last: rest.get_u32() & ID, status: rest.get_u32() },
        8 => Frame::Headers { id: rest.get_u32() & ID, fin, block: rest },
        9 => Frame::WindowUpdate { id: rest.get_u32() & ID, delta: rest.get_u32() & ID },
        other => Frame::Other(other),
    })
}

/// Appends the bytes of a frame. Its payload must be shorter than 16 MiB.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    let flag = |fin: bool| if fin { FIN } else { 0 };
    let (kind, flags) = match frame {
        Frame::Data { id, fin, data } => {
            out.put_u32(*id & ID);
            out.put_u32((u32::from(flag(*fin)) << 24) | data.len() as u32);
            out.put_slice(data);
            return;
        }
        Frame::SynStream { fin, unidirectional, .. } => {
            (1, flag(*fin) | if *unidirectional { UNIDIRECTIONAL } else { 0 })
        }
        Frame::SynReply { fin, .. } => (2, flag(*fin)),
        Frame::RstStream { .. } => (3, 0),
        Frame::Settings(_) => (4, 0),
        Frame::Ping(_) => (6, 0),
        Frame::GoAway { .. } => (7, 0),
        Frame::Headers { fin, .. } => (8, flag(*fin)),
        Frame::WindowUpdate { .. } => (9, 0),
        Frame::Other(kind) => (*kind, 0),
    };
    out.put_u32(CONTROL | u32::from(kind));
    let at = out.len();
    out.put_u32(0);
    encode_payload(frame, out);
    let length = (out.len() - at - 4) as u32 | (u32::from(flags) << 24);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn encode_payload(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::SynStream { id, associated, priority, block, .. } => {
            out.put_u32(*id);
            out.put_u32(*associated);
            out.put_u16(u16::from(priority & 7) << 13);
            out.put_slice(block);
        }
        Frame::SynReply { id, block, .. } | Frame::Headers { id, block, .. } => {
            out.put_u32(*id);
            out.put_slice(block);
        }
        Frame::RstStream { id: a, status: b }
        | Frame::GoAway { last: a, status: b }
        | Frame::WindowUpdate { id: a, delta: b } => {
            out.put_u32(*a);
            out.put_u32(*b);
        }
        Frame::Settings(settings) => {
            out.put_u32(settings.len() as u32);
            settings.iter().for_each(|(a, b)| {
                out.put_u32(*a);
                out.put_u32(*b);
            });
        }
        Frame::Ping(id) => out.put_u32(*id),
        Frame::Data { .. } | Frame::Other(_) => {}
    }
}
