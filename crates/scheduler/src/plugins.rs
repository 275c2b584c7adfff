//! The plugins, in the order in which stock asks them. A filter says why a node is out; a score ranks what is left.

mod affinity;
mod fit;
mod images;
mod node;
mod ports;
mod spread;
mod taints;

use crate::cache::Cache;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// The best score of a plugin after normalization.
pub(crate) const MAX_SCORE: i64 = 100;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) plugin: &'static str,
    /// One or more reasons, each counted on its own in the message.
    pub(crate) reasons: Vec<String>,
    /// Whether evicting pods cannot help either.
    pub(crate) unresolvable: bool,
}

impl Rejection {
    fn new(plugin: &'static str, reason: impl Into<String>, unresolvable: bool) -> Option<Self> {
        Some(Self { plugin, reasons: vec![reason.into()], unresolvable })
    }
}

/// Says why a node cannot take a pod; `None` when it can.
pub(crate) type Filter = fn(&PodInfo, &NodeInfo) -> Option<Rejection>;

/// The filters in order; the first that rejects decides.
pub(crate) const FILTERS: &[Filter] =
    &[node::unschedulable, node::name, taints::filter, affinity::filter, ports::filter, fit::filter];

/// Ranks the nodes that can take a pod.
pub(crate) struct Score {
    pub(crate) weight: i64,
    /// Raw scores of the nodes with these indexes.
    pub(crate) raw: fn(&PodInfo, &Cache, &[usize]) -> Vec<i64>,
    pub(crate) normalize: Normalize,
}

/// How raw scores become 0 to [`MAX_SCORE`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// They are in range already.
    Keep,
    /// The largest becomes the best.
    Scale,
    /// The smallest becomes the best.
    Reverse,
}

/// The scores with stock's weights.
pub(crate) const SCORES: &[Score] = &[
    Score { weight: 3, raw: taints::score, normalize: Normalize::Reverse },
    Score { weight: 2, raw: affinity::score, normalize: Normalize::Scale },
    Score { weight: 2, raw: spread::score, normalize: Normalize::Reverse },
    Score { weight: 1, raw: fit::least_allocated, normalize: Normalize::Keep },
    Score { weight: 1, raw: fit::balanced, normalize: Normalize::Keep },
    Score { weight: 1, raw: images::score, normalize: Normalize::Keep },
];

impl Normalize {
    pub(crate) fn apply(self, scores: &mut [i64]) {
        let largest = scores.iter().copied().max().unwrap_or(0);
        match self {
            Self::Keep => {}
            Self::Scale if largest == 0 => {}
            Self::Scale => scores.iter_mut().for_each(|s| *s = *s * MAX_SCORE / largest),
            Self::Reverse if largest == 0 => scores.fill(MAX_SCORE),
            Self::Reverse => scores.iter_mut().for_each(|s| *s = MAX_SCORE - *s * MAX_SCORE / largest),
        }
    }
}
