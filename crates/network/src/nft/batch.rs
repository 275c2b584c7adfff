//! Transactions: messages between a begin and an end that the kernel applies together.

use super::{Rule, Verdict, types};
use crate::netlink::{self, ACK, APPEND, Buffer, CREATE, REQUEST};
use crate::{Error, Result};
use std::io;

const SUBSYSTEM: u16 = 10 << 8;
const INET: u8 = libc::NFPROTO_INET as u8;
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Elements of one message: an attribute holds at most 64 KiB.
const CHUNK: usize = 400;

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Lower comes first.
    pub priority: i32,
}

/// What a set or map holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetSpec {
    /// Type number and length of the keys.
    pub key: (u32, u32),
    /// Type number and length of the data, for maps.
    pub data: Option<(u32, u32)>,
    /// The data are verdicts.
    pub verdicts: bool,
    /// Packets add elements, at most so many, that time out.
    pub dynamic: Option<u32>,
}

/// A transaction under construction.
pub struct Batch {
    table: String,
    buffer: Buffer,
    sequence: u32,
    objects: Vec<String>,
    sets: u32,
}

impl Batch {
    /// An empty transaction on a table of the `inet` family.
    pub fn new(table: &str) -> Self {
        let mut batch =
            Self { table: table.to_owned(), buffer: Buffer::default(), sequence: 0, objects: Vec::new(), sets: 0 };
        batch.frame(0x10);
        batch
    }

    fn frame(&mut self, kind: u16) {
        self.buffer.begin(kind, REQUEST, self.sequence, &[0, 0, 0, 10]);
        self.sequence += 1;
    }

    fn message(&mut self, kind: u16, flags: u16, what: String, fill: impl FnOnce(&mut Buffer)) {
        self.buffer.begin(SUBSYSTEM | kind, REQUEST | flags, self.sequence, &[INET, 0, 0, 0]);
        self.sequence += 1;
        self.objects.push(what);
        self.buffer.string(1, &self.table);
        fill(&mut self.buffer);
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Adds the table.
    pub fn add_table(&mut self) {
        self.message(0, CREATE, "add table".to_owned(), |_| ());
    }

    /// Deletes the table with all in it.
    pub fn delete_table(&mut self) {
        self.message(2, 0, "delete table".to_owned(), |_| ());
    }

    /// Puts an empty table in the place of one that may exist.
    pub fn replace_table(&mut self) {
        self.add_table();
        self.delete_table();
        self.add_table();
    }

    /// Adds a chain, at a hook or to be gone to.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message(3, CREATE, format!("add chain {name}"), |b| {
            b.string(3, name);
            if let Some(hook) = hook {
                b.nest(4, |b| {
                    b.be32(1, hook.number).be32(2, hook.priority.cast_unsigned());
                });
                b.be32(5, 1).string(7, hook.kind);
            }
        });
    }

    /// Deletes a chain that nothing goes to.
    pub fn delete_chain(&mut self, name: &str) {
        self.message(5, 0, format!("delete chain {name}"), |b| {
            b.string(3, name);
        });
    }

    /// Deletes the rules of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        self.message(8, 0, format!("flush chain {name}"), |b| {
            b.string(2, name);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.message(6, CREATE | APPEND, format!("add rule to {chain}"), |b| {
            b.string(2, chain).nest(4, |b| rule.steps.iter().for_each(|e| e.encode(b)));
            if !rule.comment.is_empty() {
                let text = rule.comment.as_bytes();
                b.attribute(7, &[&[0, text.len() as u8 + 1], text, &[0]].concat());
            }
        });
    }

    /// Adds a named set or map.
    pub fn add_set(&mut self, name: &str, spec: &SetSpec) {
        self.sets += 1;
        let id = self.sets;
        let map = if spec.data.is_some() || spec.verdicts { 8 } else { 0 };
        let dynamic = if spec.dynamic.is_some() { 0x10 | 0x20 } else { 0 };
        self.message(9, CREATE, format!("add set {name}"), |b| {
            b.string(2, name).be32(3, map | dynamic).be32(4, spec.key.0).be32(5, spec.key.1);
            if spec.verdicts {
                b.be32(6, VERDICT_TYPE).be32(7, 0);
            } else if let Some((kind, length)) = spec.data {
                b.be32(6, kind).be32(7, length);
            }
            b.be32(10, id);
            if spec.key.0 == types::MARK {
                // For those who list the table: keys are in the machine's order.
                b.attribute(13, &[0, 4, 1, 0, 0, 0]);
            }
            if let Some(size) = spec.dynamic {
                b.nest(9, |b| {
                    b.be32(1, size);
                });
            }
        });
    }

    fn elements<T>(&mut self, kind: u16, flags: u16, set: &str, all: &[T], each: impl Fn(&mut Buffer, &T)) {
        for chunk in all.chunks(CHUNK) {
            let verb = if kind == 12 { "add" } else { "delete" };
            self.message(kind, flags, format!("{verb} elements of {set}"), |b| {
                b.string(2, set).nest(3, |b| {
                    for element in chunk {
                        b.nest(1, |b| each(b, element));
                    }
                });
            });
        }
    }

    /// Adds keys to a set.
    pub fn add_keys(&mut self, set: &str, keys: &[Vec<u8>]) {
        self.elements(12, CREATE, set, keys, |b, key| put_key(b, key));
    }

    /// Adds entries to a map.
    pub fn add_entries(&mut self, set: &str, entries: &[(Vec<u8>, Vec<u8>)]) {
        self.elements(12, CREATE, set, entries, |b, (key, data)| {
            put_key(b, key);
            put_data(b, data);
        });
    }

    /// Adds entries to a verdict map.
    pub fn add_verdicts(&mut self, set: &str, entries: &[(Vec<u8>, Verdict)]) {
        self.elements(12, CREATE, set, entries, |b, (key, verdict)| {
            put_key(b, key);
            b.nest(2, |b| verdict.encode(b));
        });
    }

    /// Deletes keys from a set or map.
    pub fn delete_keys(&mut self, set: &str, keys: &[Vec<u8>]) {
        self.elements(14, 0, set, keys, |b, key| put_key(b, key));
    }
}

fn put_key(buffer: &mut Buffer, key: &[u8]) {
    buffer.nest(1, |b| {
        b.attribute(1, key);
    });
}

fn put_data(buffer: &mut Buffer, data: &[u8]) {
    buffer.nest(2, |b| {
        b.attribute(1, data);
    });
}

/// A netfilter socket.
pub struct Socket(netlink::Socket);

impl Socket {
    /// Opens one in the thread's network namespace.
    pub fn open() -> Result<Self> {
        let socket = netlink::Socket::open(libc::NETLINK_NETFILTER);
        socket.map(Self).map_err(Error::kernel("open a netfilter socket"))
    }

    /// Applies a transaction.
    pub fn apply(&mut self, mut batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.buffer.flag_last(ACK);
        let last = batch.sequence - 1;
        batch.frame(0x11);
        self.0.send(&batch.buffer).map_err(Error::kernel("send an nftables transaction"))?;
        let mut failed: Option<Error> = None;
        loop {
            let messages = self.0.receive().map_err(Error::kernel("read the answer to an nftables transaction"))?;
            for message in messages {
                let Some(result) = message.result() else { continue };
                if let (Err(source), None) = (result, &failed) {
                    let at = (message.sequence as usize).checked_sub(1);
                    let what = at.and_then(|i| batch.objects.get(i)).map_or("commit", String::as_str);
                    failed = Some(Error::Kernel { what: format!("{what} in table {}", batch.table), source });
                }
                if message.sequence == last || message.sequence == 0 {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Deletes a table. Fine where there is none.
    pub fn delete_table(&mut self, name: &str) -> Result<()> {
        let mut batch = Batch::new(name);
        batch.delete_table();
        match self.apply(batch) {
            Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Whether a table exists.
    pub fn has_table(&mut self, name: &str) -> Result<bool> {
        let found = self.0.query(SUBSYSTEM | 1, 0, &[INET, 0, 0, 0], |b| {
            b.string(1, name);
        });
        match found {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::kernel("look for an nftables table")(e)),
        }
    }
}
