//! Addresses of the cluster's names, from the bytes of a question to the bytes of its answer: no message is taken
//! apart and nothing is allocated.
//!
//! Invariant: what is said here is what `answer` says; whatever is not quite common is left to it.

use crate::answer::TTL;
use crate::find::Found;
use crate::zone::{Record, Zone};
use std::net::IpAddr;

const HEADER: usize = 12;
const A: u16 = 1;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const OPT: u16 = 41;
/// The most bytes of an answer that are safe from fragmentation.
pub(crate) const PAYLOAD: u16 = 1232;
/// Labels of ours before the zone's name.
const LABELS: usize = 5;

/// An answer was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The name does not exist.
    pub(crate) no_such_name: bool,
}

struct Question {
    /// Where the zone's name begins in the question.
    origin: usize,
    /// Where the question ends.
    end: usize,
    kind: u16,
    /// Of the client's EDNS: the largest answer, and whether DNSSEC is wanted.
    edns: Option<(u16, bool)>,
}

/// Writes the answer to a question of one address; `None` leaves it to others, whatever was written.
pub(crate) fn answer(zone: &Zone, message: &[u8], reply: &mut Vec<u8>) -> Option<Done> {
    let mut lower = [0; 256];
    let question = parse(zone, message, &mut lower)?;
    let mut labels = [""; LABELS];
    let labels = split(&lower[HEADER..question.origin], &mut labels)?;
    begin(reply, message, &question);
    let found = zone.find(labels);
    let written = match &found {
        Found::Pod(ip) => addresses(reply, question.kind, std::iter::once(*ip)),
        Found::Service { record, port: None, .. } => match record.as_ref() {
            Record::Cluster { addresses: all, .. } => addresses(reply, question.kind, all.iter().copied()),
            Record::Headless(all) if !all.is_empty() => addresses(reply, question.kind, all.iter().map(|e| e.address)),
            _ => return None,
        },
        Found::Empty | Found::Nothing => 0,
        _ => return None,
    };
    reply[6..8].copy_from_slice(&written.to_be_bytes());
    let no_such_name = matches!(found, Found::Nothing);
    if no_such_name {
        reply[3] |= 3;
    }
    if written == 0 {
        soa(reply, question.origin as u16);
    }
    if let Some((_, secure)) = question.edns {
        reply[11] = 1;
        reply.push(0);
        put(reply, &[OPT, PAYLOAD, 0, u16::from(secure) << 15, 0]);
    }
    let limit = question.edns.map_or(512, |(payload, _)| payload.clamp(512, PAYLOAD));
    (reply.len() <= usize::from(limit)).then_some(Done { no_such_name })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

/// Takes a question for an address of the zone apart; `lower` gets the message's beginning in lower case.
fn parse(zone: &Zone, message: &[u8], lower: &mut [u8; 256]) -> Option<Question> {
    // A query, no truncation; one question, no answers, at most EDNS behind it.
    let plain = message.get(2)? & 0xfa == 0 && message.get(4..10)? == [0, 1, 0, 0, 0, 0] && message.get(10)? == &0;
    let extra = *message.get(11)?;
    if !plain || extra > 1 {
        return None;
    }
    let (wire, mut at) = (zone.wire(), HEADER);
    let mut origin = None;
    loop {
        let length = usize::from(*message.get(at)?);
        let end = at + 1 + length;
        if length > 63 || end > lower.len() {
            return None;
        }
        lower[at] = length as u8;
        let label = lower.get_mut(at + 1..end)?;
        label.copy_from_slice(message.get(at + 1..end)?);
        label.make_ascii_lowercase();
        at = end;
        if length == 0 {
            break;
        }
        if origin.is_none() && message.len() >= at + wire.len() {
            let rest = &message[at..at + wire.len()];
            origin = rest.eq_ignore_ascii_case(wire).then_some(at);
        }
    }
    let origin = origin.filter(|origin| origin + wire.len() == at)?;
    let kind = number(message, at)?;
    if !matches!(kind, A | AAAA) || number(message, at + 2)? != 1 {
        return None;
    }
    let end = at + 4;
    let edns = if extra == 1 { Some(edns(message.get(end..)?)?) } else { None };
    (extra == 1 || message.len() == end).then_some(Question { origin, end, kind, edns })
}

/// The client's EDNS, when it is all there is and of the version that everybody speaks.
fn edns(bytes: &[u8]) -> Option<(u16, bool)> {
    let [0, rest @ ..] = bytes else { return None };
    let known = number(rest, 0)? == OPT && number(rest, 4)? == 0;
    let whole = rest.len() == 10 + usize::from(number(rest, 8)?);
    (known && whole).then_some((number(rest, 2)?, number(rest, 6)? & 0x8000 != 0))
}

fn split<'a, 'b>(mut wire: &'a [u8], labels: &'b mut [&'a str; LABELS]) -> Option<&'b [&'a str]> {
    let mut count = 0;
    while let [length, rest @ ..] = wire {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        *labels.get_mut(count)? = std::str::from_utf8(label).ok()?;
        (wire, count) = (rest, count + 1);
    }
    Some(&labels[..count])
}

fn put(reply: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|n| reply.extend_from_slice(&n.to_be_bytes()));
}

/// The header, with the flags that every answer has, and the question as it was asked.
fn begin(reply: &mut Vec<u8>, message: &[u8], question: &Question) {
    reply.clear();
    reply.extend_from_slice(&message[..question.end]);
    // A response, authoritative; recursion as desired, and available; checking as it was.
    reply[2] = 0x84 | (message[2] & 1);
    reply[3] = 0x80 | (message[3] & 0x10);
    reply[6..HEADER].fill(0);
}

/// Writes addresses of the kind that was asked for, the first by chance; returns how many.
fn addresses(reply: &mut Vec<u8>, kind: u16, all: impl Iterator<Item = IpAddr> + Clone) -> u16 {
    let wanted = all.filter(|ip| ip.is_ipv4() == (kind == A));
    let count = wanted.clone().count();
    if count == 0 {
        return 0;
    }
    let first = if count > 1 { fastrand::usize(..count) } else { 0 };
    let (mut written, mut last) = (0, None);
    for ip in wanted.clone().skip(first).chain(wanted.take(first)).filter(|ip| last.replace(*ip) != Some(*ip)) {
        put(reply, &[0xc000 | HEADER as u16, kind, 1, 0, TTL as u16]);
        match ip {
            IpAddr::V4(ip) => {
                put(reply, &[4]);
                reply.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                put(reply, &[16]);
                reply.extend_from_slice(&ip.octets());
            }
        }
        written += 1;
    }
    written
}

/// Writes the zone's own record, which says for how long nothing is there.
fn soa(reply: &mut Vec<u8>, origin: u16) {
    reply[9] = 1;
    put(reply, &[0xc000 | origin, SOA, 1, 0, TTL as u16]);
    let at = reply.len();
    put(reply, &[0]);
    reply.extend_from_slice(b"\x02ns\x03dns");
    put(reply, &[0xc000 | origin]);
    reply.extend_from_slice(b"\x0ahostmaster");
    put(reply, &[0xc000 | origin]);
    for number in [1u32, 7200, 1800, 86400, TTL] {
        reply.extend_from_slice(&number.to_be_bytes());
    }
    let length = (reply.len() - at - 2) as u16;
    reply[at..at + 2].copy_from_slice(&length.to_be_bytes());
}
