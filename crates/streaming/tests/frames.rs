//! The codec gives back what it was given, and no bytes make it fail in another way than by its error.

use bytes::{Bytes, BytesMut};
use ironclad_streaming::spdy::{Compressor, Decompressor, Frame, Headers, decode, encode};
use proptest::prelude::*;

fn id() -> impl Strategy<Value = u32> {
    0..0x8000_0000_u32
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (id(), any::<bool>(), bytes()).prop_map(|(id, fin, data)| Frame::Data { id, fin, data }),
        (id(), id(), 0..8_u8, any::<bool>(), any::<bool>(), bytes()).prop_map(
            |(id, associated, priority, fin, unidirectional, block)| {
                Frame::SynStream { id, associated, priority, fin, unidirectional, block }
            }
        ),
        (id(), any::<bool>(), bytes()).prop_map(|(id, fin, block)| Frame::SynReply { id, fin, block }),
        (id(), any::<bool>(), bytes()).prop_map(|(id, fin, block)| Frame::Headers { id, fin, block }),
        (id(), any::<u32>()).prop_map(|(id, status)| Frame::RstStream { id, status }),
        (id(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        (id(), id()).prop_map(|(id, delta)| Frame::WindowUpdate { id, delta }),
        any::<u32>().prop_map(Frame::Ping),
        prop::collection::vec(any::<(u32, u32)>(), 0..5).prop_map(Frame::Settings),
    ]
}

proptest! {
    #[test]
    fn frames_survive_any_split(frames in prop::collection::vec(frame(), 1..6), step in 1..40_usize) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|f| encode(f, &mut wire));
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        for piece in wire.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decode(&mut buffer).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn garbage_is_an_error_or_waits(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(garbage.as_slice());
        while let Ok(Some(_)) = decode(&mut buffer) {}
        drop(Decompressor::default().headers(&garbage));
    }

    #[test]
    fn header_blocks_share_one_stream(blocks in prop::collection::vec(prop::collection::vec(("[a-z]{1,9}", ".{0,80}"), 0..8), 1..6)) {
        let (mut zip, mut unzip) = (Compressor::default(), Decompressor::default());
        for headers in blocks {
            let headers: Headers = headers;
            prop_assert_eq!(unzip.headers(&zip.block(&headers).unwrap()).unwrap(), headers);
        }
    }
}

#[test]
fn a_block_that_unpacks_to_too_much_is_refused() {
    let mut zip = Compressor::default();
    let block = zip.block(&vec![("x".to_owned(), "a".repeat(1 << 20))]).unwrap();
    assert!(block.len() < 64 * 1024);
    let error = Decompressor::default().headers(&block).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}
