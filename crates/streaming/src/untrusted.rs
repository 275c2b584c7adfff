//! Connections whose peer sends any bytes and goes away; for fuzzers and their tests.

use crate::spdy::{Role, Session};
use crate::websocket::{Channels, Format, Plan, tunnel};
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const WINDOW: usize = 64 * 1024;

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(work);
}

/// Sends the bytes and reads whatever comes back until the other side is done.
async fn send(mut peer: DuplexStream, data: Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(&mut peer);
    let sending = async {
        // The other side may end before it has read everything.
        drop(write.write_all(&data).await);
        drop(write.shutdown().await);
    };
    let mut sink = tokio::io::sink();
    let reading = tokio::io::copy(&mut read, &mut sink);
    drop(tokio::join!(sending, reading));
}

/// A session of each side; streams that are opened are read to their end.
pub fn spdy(data: &[u8]) {
    for role in [Role::Server, Role::Client] {
        run(async {
            let (ours, peer) = tokio::io::duplex(WINDOW);
            tokio::spawn(send(peer, data.to_vec()));
            let (session, mut incoming) = Session::new(ours, role);
            let reading = async {
                while let Some(mut stream) = incoming.recv().await {
                    let mut buffer = [0; 1024];
                    tokio::spawn(async move { while matches!(stream.read.read(&mut buffer).await, Ok(1..)) {} });
                }
            };
            tokio::join!(session.closed(), reading);
        });
    }
}

/// A connection with channels in each form, and a tunnel.
pub fn websocket(data: &[u8]) {
    for (base64, close) in [(false, false), (false, true), (true, false)] {
        run(async {
            let (ours, peer) = tokio::io::duplex(WINDOW);
            tokio::spawn(send(peer, data.to_vec()));
            let plan = Plan { read: vec![0, 4], write: vec![1, 2, 3] };
            let (channels, ends) = Channels::new(ours, Format { base64, close, greet: close }, &plan).await;
            for (_, mut pipe) in ends.read {
                let mut buffer = [0; 1024];
                tokio::spawn(async move { while matches!(pipe.read(&mut buffer).await, Ok(1..)) {} });
            }
            channels.closed().await;
        });
    }
    run(async {
        let (ours, peer) = tokio::io::duplex(WINDOW);
        tokio::spawn(send(peer, data.to_vec()));
        let mut pipe = tunnel(ours).await;
        let mut buffer = [0; 1024];
        while matches!(pipe.read(&mut buffer).await, Ok(1..)) {}
    });
}
