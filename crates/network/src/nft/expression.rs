//! Rules: expressions that load, compare and act on registers.
//!
//! Registers are the kernel's 32-bit ones (8 to 23); an address takes one or four, a port or protocol one.

use super::Family;
use crate::netlink::Buffer;
use std::net::IpAddr;

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass.
    Accept,
    /// Throw it away.
    Drop,
    /// Go to a chain and do not come back.
    Goto(String),
    /// Go to a chain and come back.
    Jump(String),
}

impl Verdict {
    pub(super) fn encode(&self, buffer: &mut Buffer) {
        let (code, chain) = match self {
            Self::Accept => (1, None),
            Self::Drop => (0, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        buffer.nest(2, |b| {
            b.be32(1, i32::cast_unsigned(code));
            if let Some(chain) = chain {
                b.string(2, chain);
            }
        });
    }
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the kernel's expressions")]
pub enum Expression {
    Meta { key: u32, register: u32 },
    SetMark { register: u32 },
    Payload { transport: bool, offset: u32, length: u32, register: u32 },
    Compare { register: u32, equal: bool, value: Vec<u8> },
    Bitwise { register: u32, mask: Vec<u8>, xor: Vec<u8> },
    Lookup { set: String, key: u32, data: Option<u32> },
    LookupVerdict { set: String, key: u32 },
    Immediate(Verdict),
    Dnat { family: Family, address: u32, port: u32 },
    Masquerade,
    Random { modulus: u32, register: u32 },
    Update { set: String, key: u32, data: u32, timeout_ms: u64 },
    Forget { set: String, key: u32, data: u32 },
    AddressType { source: bool, register: u32 },
    Conntrack { key: u32, register: u32 },
    Reject,
}

/// Registers: the first for data, then for keys.
pub(crate) const DATA: u32 = 8;
/// First register of keys.
pub(crate) const KEY: u32 = 16;

/// Values after each other, each on its own 32-bit boundary, as concatenated keys are.
pub fn concat(values: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        all.extend_from_slice(value);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

/// A rule under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) steps: Vec<Expression>,
    pub(super) comment: &'static str,
}

impl Rule {
    /// A rule for packets of one family.
    pub fn family(family: Family) -> Self {
        Self::default().meta_is(15, &[family.protocol()])
    }

    fn with(mut self, expression: Expression) -> Self {
        self.steps.push(expression);
        self
    }

    /// Says what the rule does to those who list the table.
    pub fn comment(mut self, text: &'static str) -> Self {
        self.comment = text;
        self
    }

    fn meta_is(self, key: u32, value: &[u8]) -> Self {
        self.with(Expression::Meta { key, register: DATA }).compare(true, value)
    }

    fn compare(self, equal: bool, value: &[u8]) -> Self {
        self.with(Expression::Compare { register: DATA, equal, value: value.to_vec() })
    }

    /// Loads the source or destination address.
    pub fn load_address(self, family: Family, source: bool, register: u32) -> Self {
        let offset = match (family, source) {
            (Family::V4, true) => 12,
            (Family::V4, false) => 16,
            (Family::V6, true) => 8,
            (Family::V6, false) => 24,
        };
        self.with(Expression::Payload { transport: false, offset, length: family.length(), register })
    }

    /// Loads source and destination address: the key of a hairpin.
    pub fn load_pair(self, family: Family) -> Self {
        self.load_address(family, true, KEY).load_address(family, false, KEY + family.length() / 4)
    }

    /// Loads the transport protocol and the destination port into `register` and the next.
    pub fn load_service(self, register: u32) -> Self {
        self.with(Expression::Meta { key: 16, register }).with(Expression::Payload {
            transport: true,
            offset: 2,
            length: 2,
            register: register + 1,
        })
    }

    /// Loads destination address, protocol and port: the key of a Service.
    pub fn load_destination(self, family: Family) -> Self {
        self.load_address(family, false, KEY).load_service(KEY + family.length() / 4)
    }

    /// The source or destination address is, or is not, in a network.
    pub fn network(self, source: bool, inside: bool, net: ipnet::IpNet) -> Self {
        let family = Family::of(net.addr());
        let mask = super::address_bytes(net.netmask());
        let xor = vec![0; mask.len()];
        self.load_address(family, source, DATA)
            .bitwise(DATA, &mask, &xor)
            .compare(inside, &super::address_bytes(net.network()))
    }

    /// The source address is this one.
    pub fn source_is(self, address: IpAddr) -> Self {
        self.load_address(Family::of(address), true, DATA).compare(true, &super::address_bytes(address))
    }

    /// The device a packet came in by (or, with `output`, leaves by) is, or is not, this one.
    pub fn device(self, output: bool, equal: bool, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.resize(libc::IFNAMSIZ, 0);
        self.with(Expression::Meta { key: if output { 7 } else { 6 }, register: DATA }).compare(equal, &value)
    }

    /// The device a packet came in by begins, or does not begin, with a prefix.
    pub fn input_prefix(self, equal: bool, prefix: &str) -> Self {
        self.with(Expression::Meta { key: 6, register: DATA }).compare(equal, prefix.as_bytes())
    }

    /// The destination is one of the host's own addresses.
    pub fn to_host(self) -> Self {
        self.with(Expression::AddressType { source: false, register: DATA }).compare(true, &2u32.to_ne_bytes())
    }

    /// The source is one of the host's own addresses.
    pub fn from_host(self) -> Self {
        self.with(Expression::AddressType { source: true, register: DATA }).compare(true, &2u32.to_ne_bytes())
    }

    /// The connection's destination was translated.
    pub fn translated(self) -> Self {
        self.with(Expression::Conntrack { key: 2, register: DATA })
            .bitwise(DATA, &0x20u32.to_ne_bytes(), &[0; 4])
            .compare(false, &0u32.to_ne_bytes())
    }

    /// The packet's mark has this bit.
    pub fn marked(self, bit: u32) -> Self {
        self.with(Expression::Meta { key: 3, register: DATA })
            .bitwise(DATA, &bit.to_ne_bytes(), &[0; 4])
            .compare(false, &0u32.to_ne_bytes())
    }

    /// Sets or clears a bit of the packet's mark.
    pub fn mark(self, bit: u32, set: bool) -> Self {
        let xor = if set { bit } else { 0 };
        self.with(Expression::Meta { key: 3, register: DATA })
            .bitwise(DATA, &(!bit).to_ne_bytes(), &xor.to_ne_bytes())
            .with(Expression::SetMark { register: DATA })
    }

    fn bitwise(self, register: u32, mask: &[u8], xor: &[u8]) -> Self {
        self.with(Expression::Bitwise { register, mask: mask.to_vec(), xor: xor.to_vec() })
    }

    /// Flips bits of a register.
    pub fn flip(self, register: u32, bits: u32) -> Self {
        self.bitwise(register, &[0xff; 4], &bits.to_ne_bytes())
    }

    /// The registers from `key` on are in a set.
    pub fn contained_at(self, set: &str, key: u32) -> Self {
        self.with(Expression::Lookup { set: set.to_owned(), key, data: None })
    }

    /// Loads the packet's mark.
    pub fn load_mark(self, register: u32) -> Self {
        self.with(Expression::Meta { key: 3, register })
    }

    /// Loads the destination address and port, next to each other.
    pub fn load_target(self, family: Family, register: u32) -> Self {
        let port = register + family.length() / 4;
        self.load_address(family, false, register).with(Expression::Payload {
            transport: true,
            offset: 2,
            length: 2,
            register: port,
        })
    }

    /// The key registers are in a set.
    pub fn contained(self, set: &str) -> Self {
        self.contained_at(set, KEY)
    }

    /// Loads registers from a named map by those from `key` on; the rule ends where there is none.
    pub fn map_at(self, set: &str, key: u32, data: u32) -> Self {
        self.with(Expression::Lookup { set: set.to_owned(), key, data: Some(data) })
    }

    /// Loads the data registers from a named map by the key registers; the rule ends where there is none.
    pub fn map(self, set: &str) -> Self {
        self.map_at(set, KEY, DATA)
    }

    /// Goes where a verdict map says for the registers from `key` on.
    pub fn verdict_map(self, set: &str, key: u32) -> Self {
        self.with(Expression::LookupVerdict { set: set.to_owned(), key })
    }

    /// Loads a random number below `modulus`.
    pub fn random(self, modulus: u32, register: u32) -> Self {
        self.with(Expression::Random { modulus, register })
    }

    /// Remembers the registers from `data` on under those from `key` on.
    pub fn remember(self, set: &str, key: u32, data: u32, timeout_ms: u64) -> Self {
        self.with(Expression::Update { set: set.to_owned(), key, data, timeout_ms })
    }

    /// Forgets what the registers from `key` on led to: remembering keeps an older entry as it is.
    pub fn forget(self, set: &str, key: u32, data: u32) -> Self {
        self.with(Expression::Forget { set: set.to_owned(), key, data })
    }

    /// Sends the connection to the address and port in the registers from `backend` on.
    pub fn dnat_to(self, family: Family, backend: u32) -> Self {
        self.with(Expression::Dnat { family, address: backend, port: backend + family.length() / 4 })
    }

    /// Sends the connection to address and port of the data registers.
    pub fn dnat(self, family: Family) -> Self {
        self.dnat_to(family, DATA)
    }

    /// Makes the host the sender.
    pub fn masquerade(self) -> Self {
        self.with(Expression::Masquerade)
    }

    /// Answers that the port is closed.
    pub fn reject(self) -> Self {
        self.with(Expression::Reject)
    }

    /// Ends with a verdict.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.with(Expression::Immediate(verdict))
    }
}

fn value(buffer: &mut Buffer, kind: u16, bytes: &[u8]) {
    buffer.nest(kind, |b| {
        b.attribute(1, bytes);
    });
}

impl Expression {
    pub(super) fn encode(&self, buffer: &mut Buffer) {
        buffer.nest(1, |b| {
            b.string(1, self.name());
            b.nest(2, |b| self.fields(b));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } | Self::SetMark { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::Lookup { .. } | Self::LookupVerdict { .. } => "lookup",
            Self::Immediate(_) => "immediate",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Random { .. } => "numgen",
            Self::Update { .. } | Self::Forget { .. } => "dynset",
            Self::AddressType { .. } => "fib",
            Self::Conntrack { .. } => "ct",
            Self::Reject => "reject",
        }
    }

    fn fields(&self, b: &mut Buffer) {
        match self {
            Self::Meta { key, register } | Self::Conntrack { key, register } => {
                b.be32(1, *register).be32(2, *key);
            }
            Self::SetMark { register } => {
                b.be32(2, 3).be32(3, *register);
            }
            Self::Payload { transport, offset, length, register } => {
                b.be32(1, *register).be32(2, if *transport { 2 } else { 1 }).be32(3, *offset).be32(4, *length);
            }
            Self::Compare { register, equal, value: bytes } => {
                b.be32(1, *register).be32(2, u32::from(!equal));
                value(b, 3, bytes);
            }
            Self::Bitwise { register, mask, xor } => {
                b.be32(1, *register).be32(2, *register).be32(3, mask.len() as u32);
                value(b, 4, mask);
                value(b, 5, xor);
            }
            Self::Lookup { set, key, data } => {
                b.string(1, set).be32(2, *key);
                if let Some(data) = data {
                    b.be32(3, *data);
                }
            }
            Self::LookupVerdict { set, key } => {
                b.string(1, set).be32(2, *key).be32(3, 0);
            }
            Self::Immediate(verdict) => {
                b.be32(1, 0).nest(2, |b| verdict.encode(b));
            }
            Self::Dnat { family, address, port } => {
                b.be32(1, 1).be32(2, u32::from(family.protocol())).be32(3, *address).be32(5, *port);
            }
            Self::Masquerade => {
                b.be32(1, 0x10);
            }
            Self::Random { modulus, register } => {
                b.be32(1, *register).be32(2, *modulus).be32(3, 1).be32(4, 0);
            }
            Self::Update { set, key, data, timeout_ms } => {
                b.string(1, set).be32(3, 1).be32(4, *key).be32(5, *data).attribute(6, &timeout_ms.to_be_bytes());
            }
            Self::Forget { set, key, data } => {
                b.string(1, set).be32(3, 2).be32(4, *key).be32(5, *data);
            }
            Self::AddressType { source, register } => {
                b.be32(1, *register).be32(2, 3).be32(3, if *source { 1 } else { 2 });
            }
            Self::Reject => {
                b.be32(1, 2).attribute(2, &[1]);
            }
        }
    }
}
