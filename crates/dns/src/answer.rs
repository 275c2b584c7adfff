//! Answers to questions: from the zone where it has them, else from the node's resolvers.
//!
//! Names follow the DNS specification for Kubernetes, details (time to live, SOA, empty answers) CoreDNS.

use crate::find::Found;
use crate::forward::Forwarder;
use crate::server::Metrics;
use crate::zone::{Endpoint, Port, Record as Entry, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Seconds for which answers may be kept.
pub(crate) const TTL: u32 = 5;
/// How many names of ExternalName Services are followed.
const CHAIN: usize = 8;

/// What the zone knows of a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The name does not exist.
    pub no_such_name: bool,
    /// Answers; none for a name without records of this type.
    pub records: Vec<Record>,
    /// Addresses of the names in the answers.
    pub additional: Vec<Record>,
}

impl Answer {
    fn nothing() -> Self {
        Self { no_such_name: true, ..Self::default() }
    }

    fn records(records: Vec<Record>) -> Self {
        Self { records, ..Self::default() }
    }
}

fn address(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

fn addresses(name: &Name, kind: RecordType, all: impl Iterator<Item = IpAddr>) -> Vec<Record> {
    let mut found: Vec<Record> = all
        .filter(|ip| match kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            _ => false,
        })
        .map(|ip| address(name, ip))
        .collect();
    found.dedup();
    fastrand::shuffle(&mut found);
    found
}

impl Zone {
    /// The zone's own record.
    fn soa(&self) -> Record {
        let name = |label: &str| Name::from_ascii(label).and_then(|n| n.append_domain(self.origin()));
        let main = name("ns.dns").unwrap_or_default();
        let mail = name("hostmaster").unwrap_or_default();
        let data = RData::SOA(SOA::new(main, mail, 1, 7200, 1800, 86400, TTL));
        Record::from_rdata(self.origin().clone(), TTL, data)
    }

    /// Answers a question about the zone or an address in it; `None` for everything else.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let lower = name.to_lowercase();
        if !self.origin().zone_of(&lower) {
            return self.reverse(&lower, name, kind);
        }
        let own = usize::from(lower.num_labels() - self.origin().num_labels());
        let labels: Vec<String> = lower.iter().take(own).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        Some(match self.find(&labels) {
            Found::Apex => self.apex(name, kind),
            Found::Version if kind == RecordType::TXT => {
                let text = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
                Answer::records(vec![Record::from_rdata(name.clone(), TTL, text)])
            }
            Found::Version | Found::Empty => Answer::default(),
            Found::Nothing => Answer::nothing(),
            Found::Pod(ip) => Answer::records(addresses(name, kind, std::iter::once(ip))),
            Found::Service { record, namespace, service, port } => {
                self.named(name, kind, &record, service, namespace, port)
            }
            Found::Endpoint { record, host } => endpoint(name, kind, &record, host),
        })
    }

    fn apex(&self, name: &Name, kind: RecordType) -> Answer {
        match kind {
            RecordType::SOA => Answer::records(vec![self.soa()]),
            RecordType::NS => {
                let target = Name::from_ascii("ns.dns").and_then(|n| n.append_domain(self.origin()));
                let data = RData::NS(NS(target.unwrap_or_default()));
                Answer::records(vec![Record::from_rdata(name.clone(), TTL, data)])
            }
            _ => Answer::default(),
        }
    }

    fn reverse(&self, lower: &Name, name: &Name, kind: RecordType) -> Option<Answer> {
        let ip = lower.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len())?.addr();
        let owners = self.owners(ip);
        if owners.is_empty() {
            return None;
        }
        if kind != RecordType::PTR {
            return Some(Answer::default());
        }
        let names = owners.iter().filter_map(|(key, host)| {
            let target = self.full(host.as_deref(), &key.name, &key.namespace)?;
            Some(Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target))))
        });
        Some(Answer::records(names.collect()))
    }

    fn full(&self, host: Option<&str>, service: &str, namespace: &str) -> Option<Name> {
        let labels = host.into_iter().chain([service, namespace, "svc"]).map(str::as_bytes);
        Name::from_labels(labels).and_then(|n| n.append_domain(self.origin())).ok()
    }

    /// A Service's name, or one of its ports with a protocol before it.
    fn named(
        &self,
        name: &Name,
        kind: RecordType,
        entry: &Entry,
        service: &str,
        namespace: &str,
        port: Option<(&str, &str)>,
    ) -> Answer {
        let wanted = |p: &Port| {
            port.is_none_or(|(n, proto)| {
                n.strip_prefix('_') == Some(&p.name) && proto.strip_prefix('_') == Some(&p.protocol)
            })
        };
        let (addresses_of, targets): (Vec<IpAddr>, Vec<(Option<&str>, u16, Vec<IpAddr>)>) = match entry {
            Entry::External(target) if port.is_none() => {
                let data = RData::CNAME(CNAME(target.clone()));
                return Answer::records(vec![Record::from_rdata(name.clone(), TTL, data)]);
            }
            Entry::External(_) => return Answer::nothing(),
            Entry::Cluster { addresses, ports } => {
                let found = ports.iter().filter(|p| wanted(p));
                let each = found.map(|p| (None, p.number, addresses.clone())).collect::<Vec<_>>();
                (addresses.clone(), each)
            }
            Entry::Headless(all) => {
                let each = |e| targets_of(e, &wanted);
                let found = all.iter().filter(|e| port.is_none() || e.ports.iter().any(&wanted));
                (found.map(|e| e.address).collect(), all.iter().flat_map(each).collect())
            }
        };
        if addresses_of.is_empty() || (port.is_some() && targets.is_empty()) {
            return Answer::nothing();
        }
        if kind != RecordType::SRV {
            return Answer::records(addresses(name, kind, addresses_of.into_iter()));
        }
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(100).max(1);
        let mut answer = Answer::default();
        for (host, number, ips) in targets {
            let Some(target) = self.full(host, service, namespace) else { continue };
            answer.additional.extend(ips.iter().map(|ip| address(&target, *ip)));
            let data = RData::SRV(SRV::new(0, weight, number, target));
            answer.records.push(Record::from_rdata(name.clone(), TTL, data));
        }
        answer.additional.dedup();
        answer
    }
}

fn targets_of<'a>(endpoint: &'a Endpoint, wanted: &dyn Fn(&Port) -> bool) -> Vec<(Option<&'a str>, u16, Vec<IpAddr>)> {
    let ports = endpoint.ports.iter().filter(|p| wanted(p));
    ports.map(|p| (Some(endpoint.host.as_str()), p.number, vec![endpoint.address])).collect()
}

/// One endpoint of a headless Service.
fn endpoint(name: &Name, kind: RecordType, entry: &Entry, host: &str) -> Answer {
    let Entry::Headless(all) = entry else { return Answer::nothing() };
    let found: Vec<IpAddr> = all.iter().filter(|e| e.host.eq_ignore_ascii_case(host)).map(|e| e.address).collect();
    if found.is_empty() { Answer::nothing() } else { Answer::records(addresses(name, kind, found.into_iter())) }
}

/// Answers whole messages.
pub struct Resolver {
    zone: Arc<Zone>,
    forwarder: Forwarder,
    metrics: Arc<Metrics>,
}

impl Resolver {
    /// A resolver of a zone, with the servers that are asked for everything else.
    pub fn new(zone: Arc<Zone>, servers: Vec<SocketAddr>) -> Self {
        Self { zone, forwarder: Forwarder::new(servers), metrics: Arc::default() }
    }

    /// The names of the cluster.
    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// What was counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers a message when that needs nobody else.
    pub(crate) fn at_once(&self, request: &Message) -> Option<Message> {
        let mut reply = reply_to(request);
        let query = match check(request) {
            Ok(query) => query,
            Err(code) => {
                reply.metadata.response_code = code;
                return Some(reply);
            }
        };
        let answer = self.zone.answer(query.name(), query.query_type())?;
        let address = matches!(query.query_type(), RecordType::A | RecordType::AAAA);
        let alias = answer.records.first().is_some_and(|r| matches!(r.data, RData::CNAME(_)));
        if alias && address {
            return None;
        }
        self.fill(&mut reply, answer);
        Some(reply)
    }

    fn fill(&self, reply: &mut Message, answer: Answer) {
        reply.metadata.authoritative = true;
        if answer.no_such_name {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        if answer.records.is_empty() {
            reply.add_authority(self.zone.soa());
        }
        reply.add_answers(answer.records);
        reply.add_additionals(answer.additional);
    }

    /// Answers a message, asking others where needed.
    pub(crate) async fn resolve(&self, request: &Message) -> Message {
        if let Some(reply) = self.at_once(request) {
            return reply;
        }
        let mut reply = reply_to(request);
        let Some(query) = request.queries.first() else { return reply };
        let mut name = query.name().clone();
        for _ in 0..CHAIN {
            let Some(answer) = self.zone.answer(&name, query.query_type()) else {
                self.ask_others(&mut reply, request, &name, query.query_type()).await;
                return reply;
            };
            let next = answer.records.first().and_then(|r| match &r.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            reply.metadata.authoritative = true;
            match next {
                Some(target) => {
                    reply.add_answers(answer.records);
                    name = target;
                }
                None => {
                    self.fill(&mut reply, answer);
                    return reply;
                }
            }
        }
        reply
    }

    async fn ask_others(&self, reply: &mut Message, request: &Message, name: &Name, kind: RecordType) {
        let mut query = Query::query(name.clone(), kind);
        query.set_query_class(DNSClass::IN);
        match self.forwarder.ask(query, request).await {
            Ok(found) => {
                reply.metadata.response_code = found.metadata.response_code;
                reply.metadata.authentic_data = found.metadata.authentic_data;
                reply.add_answers(found.answers);
                reply.add_authorities(found.authorities);
                reply.add_additionals(found.additionals);
            }
            Err(error) => {
                tracing::debug!(%name, %error, "no answer from the node's resolvers");
                reply.metadata.response_code = ResponseCode::ServFail;
            }
        }
    }
}

fn reply_to(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = request.metadata.checking_disabled;
    reply.add_queries(request.queries.iter().cloned());
    if let Some(edns) = &request.edns {
        let mut own = Edns::new();
        own.set_max_payload(1232);
        own.set_dnssec_ok(edns.flags().dnssec_ok);
        reply.set_edns(own);
    }
    reply
}

fn check(request: &Message) -> Result<&Query, ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    if request.metadata.message_type != MessageType::Query {
        return Err(ResponseCode::FormErr);
    }
    if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return Err(ResponseCode::Refused);
    }
    if request.edns.as_ref().is_some_and(|e| e.version() != 0) {
        return Err(ResponseCode::BADVERS);
    }
    Ok(query)
}
