//! Which pods the node takes: room, ports, kernel parameters; and who must go for a critical one.
//!
//! Invariant: the checks are pure functions of a pod and of what was taken before.

mod checks;

use crate::pod::Plan;
use crate::worker::{Order, Table};
use checks::Taken;
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_api::quantity::Quantity;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::sync::Notify;

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What the node has, and what of it is taken.
#[derive(Default)]
pub(crate) struct Admitted {
    node: Mutex<Node>,
    pods: Mutex<HashMap<String, Taken>>,
    /// Pods that wait for room to grow.
    waiting: Mutex<HashSet<String>>,
    /// Told when what is taken changed.
    pub(crate) changed: Notify,
}

/// Whether a pod may have what it asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Now,
    /// When others need less.
    Later(String),
    Never(String),
}

/// What a pod is measured against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) allocatable: ResourceList,
    /// Memory of the machine, in bytes.
    pub(crate) memory: i64,
    pub(crate) labels: BTreeMap<String, String>,
    /// Kernel parameters that pods may set besides the safe ones; a last `*` stands for any ending.
    pub(crate) sysctls: Vec<String>,
    /// Conditions of pressure that keep pods away.
    pub(crate) pressure: Vec<&'static str>,
}

fn requests(plan: &Plan) -> ResourceList {
    let mut all = pod_resources::requests(&plan.spec);
    all.insert("pods".to_owned(), Quantity::units(1));
    all
}

impl Admitted {
    pub(crate) fn set_node(&self, change: impl FnOnce(&mut Node)) {
        change(&mut self.node.lock());
    }

    pub(crate) fn allocatable(&self) -> ResourceList {
        self.node.lock().allocatable.clone()
    }

    /// Conditions of pressure that the node has.
    pub(crate) fn pressure(&self) -> Vec<&'static str> {
        self.node.lock().pressure.clone()
    }

    /// Takes over how the node is; `news` is told when that is new.
    pub(crate) fn set_pressure(&self, pressure: Vec<&'static str>, news: &Notify) {
        let mut node = self.node.lock();
        if node.pressure != pressure {
            node.pressure = pressure;
            news.notify_one();
        }
    }

    /// CPU that burstable pods asked for, in thousandths.
    pub(crate) fn burstable_cpu(&self) -> i64 {
        self.pods.lock().values().map(Taken::burstable_cpu).sum()
    }

    pub(crate) fn memory(&self) -> i64 {
        self.node.lock().memory
    }

    /// Takes a pod, or says why not. One that is `known` was taken before this process began.
    pub(crate) fn admit(&self, plan: &Plan, known: bool, table: &Table) -> Result<(), Rejection> {
        let mut pods = self.pods.lock();
        if pods.contains_key(&plan.uid) {
            return Ok(());
        }
        let taken = Taken::new(plan, requests(plan));
        if !known {
            let node = self.node.lock().clone();
            let others: Vec<&Taken> = pods.values().collect();
            checks::general(plan, &node, &others)?;
            if let Err(rejection) = checks::fits(&taken.requests, &node, &others) {
                let victims = plan.is_critical().then(|| checks::victims(&taken, &node, &pods)).flatten();
                for uid in victims.ok_or(rejection)? {
                    table.order(
                        &uid,
                        Order {
                            reason: "Preempting".to_owned(),
                            message: "Preempted in order to admit critical pod".to_owned(),
                            grace: Duration::ZERO,
                            event: true,
                        },
                    );
                    pods.remove(&uid);
                }
            }
        }
        pods.insert(plan.uid.clone(), taken);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes what a pod asks for now instead of what it had, if there is room.
    pub(crate) fn resize(&self, plan: &Plan) -> Room {
        let wanted = requests(plan);
        let node = self.node.lock().clone();
        if let Err(rejection) = checks::fits(&wanted, &node, &[]) {
            let text = rejection.message.replace("enough resource", "enough capacity").replace(" used: 0,", "");
            return Room::Never(text);
        }
        let mut pods = self.pods.lock();
        let others: Vec<&Taken> = pods.iter().filter(|(uid, _)| **uid != plan.uid).map(|(_, t)| t).collect();
        match checks::fits(&wanted, &node, &others) {
            Err(rejection) => {
                self.waiting.lock().insert(plan.uid.clone());
                Room::Later(rejection.message)
            }
            Ok(()) => {
                pods.insert(plan.uid.clone(), Taken::new(plan, wanted));
                self.changed.notify_one();
                Room::Now
            }
        }
    }

    /// The pod needs its share no longer; who waits for room looks again.
    pub(crate) fn release(&self, uid: &str, table: &Table) {
        let mut pods = self.pods.lock();
        let Some(taken) = pods.get_mut(uid).filter(|t| !t.requests.is_empty()) else { return };
        taken.requests.clear();
        taken.ports.clear();
        drop(pods);
        self.changed.notify_one();
        self.waiting.lock().drain().for_each(|uid| table.wake(&uid));
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }
}
