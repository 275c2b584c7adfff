//! Gets and lists, from the cache and consistent.

use super::Result;
use super::client::{JSON, Server};
use super::objects::{self, MAPS, PODS};
use super::report::{Report, percentile};
use super::writes::{Act, drive};
use bytes::Bytes;
use http::Method;
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// How often a list is read.
const LISTS: usize = 15;

pub(crate) async fn gets(server: &Server, time: Duration, report: &mut Report) -> Result<()> {
    objects::fill(server, MAPS, 1000, |n| objects::map(&format!("m{n}"))).await?;
    let act: Act = |c, n| (Method::GET, format!("{MAPS}/m{}", (c * 31 + n) % 1000), JSON, Bytes::new());
    let mut driven = drive(server, CLIENTS, time, act).await?;
    report.rate("gets of 1 KB, 64 clients", driven.rate, "/s", Some(3793.0), &driven.note());
    Ok(())
}

pub(crate) async fn lists(server: &Server, pods: usize, report: &mut Report) -> Result<()> {
    objects::account(&mut server.connect().await?).await?;
    objects::fill(server, PODS, pods, |n| {
        objects::pod(&format!("web-{n}"), &format!("node-{}", n % 500)).to_string().into()
    })
    .await?;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let node = format!("{PODS}?resourceVersion=0&fieldSelector=spec.nodeName%3Dnode-7");
    let cases = [
        ("consistent, JSON", PODS.to_owned(), JSON, Some(861.0)),
        ("from cache, JSON", format!("{PODS}?resourceVersion=0"), JSON, Some(286.0)),
        ("from cache, protobuf", format!("{PODS}?resourceVersion=0"), PROTOBUF, Some(286.0)),
        ("from cache, as a table", format!("{PODS}?resourceVersion=0"), table, None),
        ("first page of 500", format!("{PODS}?limit=500"), JSON, None),
        ("those of one node", node, JSON, None),
    ];
    for (how, path, accept, stock) in cases {
        let mut connection = server.connect().await?;
        let (mut times, mut size) = (Vec::new(), 0);
        let mut refused = None;
        for _ in 0..LISTS {
            let begin = Instant::now();
            match connection.size(&path, accept).await {
                Ok(bytes) => size = bytes,
                Err(error) => refused = Some(error),
            }
            times.push(begin.elapsed());
        }
        let what = format!("list of {pods} pods, {how}");
        match refused {
            Some(error) => println!("{what}: {error}"),
            None => {
                let note = format!("{:.1} MB", size as f64 / 1e6);
                report.cost(&what, percentile(&mut times, 50), "ms", stock, &note);
            }
        }
    }
    Ok(())
}
