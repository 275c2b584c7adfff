//! Frames of upgraded connections.

use bytes::BytesMut;
use ironclad_streaming::spdy::{Decompressor, Frame, decode, encode};

/// What is decoded is written back and decoded to the same.
pub(crate) fn spdy(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    let mut unpack = Decompressor::default();
    while let Ok(Some(frame)) = decode(&mut buffer) {
        let mut wire = BytesMut::new();
        encode(&frame, &mut wire);
        assert_eq!(decode(&mut wire).expect("it was encoded"), Some(frame.clone()));
        if let Frame::SynStream { block, .. } | Frame::SynReply { block, .. } | Frame::Headers { block, .. } = frame {
            drop(unpack.headers(&block));
        }
    }
    drop(Decompressor::default().headers(data));
    ironclad_streaming::untrusted::spdy(data);
}

/// Connections with channels and tunnels.
pub(crate) fn websocket(data: &[u8]) {
    ironclad_streaming::untrusted::websocket(data);
}
