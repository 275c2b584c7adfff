//! What happens to requests before they are served: who sent them, whether they may, how long each step takes.

use super::family::{Counter, Family, Histogram, head, pairs, sample};
use std::time::Duration;

/// From 1 ms on, each twice the one before.
const CREDENTIALS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
const FILTERS: [f64; 13] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];
const LIVES: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];
/// Sessions of users whom everybody has, by their names; all others count as one.
const KNOWN: [&str; 6] = ["admin", "client", "kube_proxy", "kubelet", "email_id", "other"];

/// A step that every request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Audit,
    Authentication,
    Authorization,
    Impersonation,
    Fairness,
}

const STEPS: [&str; 5] =
    ["audit", "authentication", "authorization", "constrainedimpersonation", "priorityandfairness"];

#[derive(Default)]
pub(crate) struct Doors {
    authentication: Family<(&'static str,), Histogram>,
    decisions: Family<(&'static str,), Histogram>,
    users: [Counter; KNOWN.len()],
    steps: [Histogram; STEPS.len()],
    lives: Histogram,
    /// TLS handshakes that failed.
    pub(crate) handshakes: Counter,
    /// Discovery that was put together, and requests for that of this server alone.
    pub(crate) discovery: [Counter; 2],
}

/// Under which name a user is counted.
fn user_class(name: &str) -> usize {
    let class = match name {
        name if name.contains('@') => "email_id",
        name => name,
    };
    KNOWN.iter().position(|k| *k == class).unwrap_or(KNOWN.len() - 1)
}

impl Doors {
    /// A request whose credentials were looked at: `success`, `failure` or `error`.
    pub(crate) fn authenticated(&self, result: &'static str, took: Duration) {
        self.authentication.of(&(result,), || (result,)).record(&CREDENTIALS, took);
    }

    /// An authorizer's answer: `allowed`, `denied` or `no-opinion`.
    pub(crate) fn decided(&self, decision: &'static str, took: Duration) {
        self.decisions.of(&(decision,), || (decision,)).record(&CREDENTIALS, took);
    }

    /// A request of a user.
    pub(crate) fn user(&self, name: &str) {
        self.users[user_class(name)].add(1);
    }

    /// A request took a step.
    pub(crate) fn step(&self, step: Step, took: Duration) {
        self.steps[step as usize].record(&FILTERS, took);
    }

    /// A certificate that let somebody in is good for so long.
    pub(crate) fn certificate(&self, left: Duration) {
        self.lives.record(&LIVES, left);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let (attempts, took) = ("authentication_attempts", "authentication_duration_seconds");
        head(out, attempts, "counter", "ALPHA", "Counter of authenticated attempts.");
        for ((result,), histogram) in self.authentication.all() {
            sample(out, attempts, &[("result", result)], histogram.count());
        }
        head(out, took, "histogram", "ALPHA", "Authentication duration in seconds broken out by result.");
        for ((result,), histogram) in self.authentication.all() {
            histogram.write(out, took, &pairs(&[("result", result)]), &CREDENTIALS);
        }
        let (attempts, took) = ("authorization_attempts_total", "authorization_duration_seconds");
        let help = "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.";
        head(out, attempts, "counter", "ALPHA", help);
        for ((result,), histogram) in self.decisions.all() {
            sample(out, attempts, &[("result", result)], histogram.count());
        }
        head(out, took, "histogram", "ALPHA", "Authorization duration in seconds broken out by result.");
        for ((result,), histogram) in self.decisions.all() {
            histogram.write(out, took, &pairs(&[("result", result)]), &CREDENTIALS);
        }
        let name = "authenticated_user_requests";
        head(out, name, "counter", "ALPHA", "Counter of authenticated requests broken out by username.");
        for (class, counter) in KNOWN.iter().zip(&self.users).filter(|(_, c)| c.get() > 0) {
            sample(out, name, &[("username", class)], counter.get());
        }
        let name = "apiserver_request_filter_duration_seconds";
        let help = "Request filter latency distribution in seconds, for each filter type";
        head(out, name, "histogram", "ALPHA", help);
        for (step, histogram) in STEPS.iter().zip(&self.steps).filter(|(_, h)| h.count() > 0) {
            histogram.write(out, name, &pairs(&[("filter", step)]), &FILTERS);
        }
        let name = "apiserver_client_certificate_expiration_seconds";
        let help = "Distribution of the remaining lifetime on the certificate used to authenticate a request.";
        head(out, name, "histogram", "ALPHA", help);
        self.lives.write(out, name, "", &LIVES);
        self.render_counts(out);
    }

    fn render_counts(&self, out: &mut String) {
        let [aggregated, alone] = &self.discovery;
        let counts = [
            (
                "apiserver_tls_handshake_errors_total",
                "Number of requests dropped with 'TLS handshake error from' error",
                &self.handshakes,
            ),
            (
                "aggregator_discovery_aggregation_count_total",
                "Counter of number of times discovery was aggregated",
                aggregated,
            ),
            (
                "aggregator_discovery_nopeer_requests_total",
                "Counter of number of times no-peer (non peer-aggregated) discovery was requested",
                alone,
            ),
        ];
        for (name, help, counter) in counts {
            head(out, name, "counter", "ALPHA", help);
            sample(out, name, &[], counter.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_few_whoever_comes() {
        let of = |name| KNOWN[user_class(name)];
        assert_eq!((of("admin"), of("jane@example.com"), of("system:node:a")), ("admin", "email_id", "other"));
    }
}
