//! Kinds that are served on request alone: what they print, and the little that is checked of them.

use crate::certificate;
use crate::cluster::lease::{OLDEST, strategy};
use crate::common::checks::{immutable, required};
use crate::print;
use crate::read::{items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use semver::Version;

pub(crate) const LEASE_CANDIDATE: Rules = Rules::new()
    // Processes are named by their machine and something of their own, with `_` between.
    .named(crate::core::config::config_key)
    .checks(candidate)
    .checks_update(|new, old| {
        let mut errors = candidate(new);
        immutable(&new["spec"], &old["spec"], &Path::new("spec"), &["leaseName"], &mut errors);
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("LeaseName", "The lease that is wanted."),
                Column::text("BinaryVersion", "The version of the program."),
                Column::text("EmulationVersion", "The version that the program behaves as."),
                Column::age(),
            ]
        },
        |o| {
            let of = |key: &str| json!(text(o, &["spec", key]));
            vec![print::name(o), of("leaseName"), of("binaryVersion"), of("emulationVersion"), table::age(o)]
        },
    );

fn candidate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    required(spec, &at, &["leaseName"], &mut errors);
    let mut version = |key: &str| {
        let given = text(spec, &[key]);
        if given.is_empty() {
            return None;
        }
        // What is no version is older than every other.
        Some(Version::parse(given).unwrap_or_else(|_| {
            errors.push(FieldError::invalid_str(&at.child(key), given, "must be a valid semantic version"));
            Version::new(0, 0, 0)
        }))
    };
    let (emulated, binary) = (version("emulationVersion"), version("binaryVersion"));
    required(spec, &at, &["binaryVersion"], &mut errors);
    if let (Some(emulated), Some(binary)) = (&emulated, &binary)
        && binary < emulated
    {
        let why = "must be greater than or equal to `emulationVersion`";
        errors.push(FieldError::invalid_str(&at.child("binaryVersion"), text(spec, &["binaryVersion"]), why));
    }
    match text(spec, &["strategy"]) {
        "" => errors.push(FieldError::required(&at.child("strategy"), "")),
        given => {
            if given == OLDEST && emulated.is_none_or(|version| version == Version::new(0, 0, 0)) {
                let why = "must be specified when `strategy` is 'OldestEmulationVersion'";
                errors.push(FieldError::required(&at.child("emulationVersion"), why));
            }
            strategy(given, &at.child("strategy"), &mut errors);
        }
    }
    errors
}

pub(crate) const TRUST_BUNDLE: Rules = Rules::new()
    .checks(certificate::bundle)
    .checks_update(certificate::bundle_update)
    // Its name goes by its signer, so that the whole object is looked at.
    .named(|_| Vec::new())
    .prints(const { &[Column::object_name(), Column::text("SignerName", "Whose certificates they are.")] }, |o| {
        vec![print::name(o), print::or_none(o, &["spec", "signerName"])]
    });

pub(crate) const POD_CERTIFICATE: Rules = Rules::new()
    .defaults(certificate::default_request)
    .on_create(certificate::new_request)
    .checks(certificate::request)
    .checks_status(certificate::answer)
    .converts(|mut o, version| {
        if version == "v1"
            && let Some(spec) = o.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove("pkixPublicKey");
            spec.remove("proofOfPossession");
        }
        o
    })
    .checks_update(|new, old| {
        let mut errors = ErrorList::new();
        immutable(new, old, &Path::root(), &["spec"], &mut errors);
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("PodName", "The pod that the certificate is for."),
                Column::text("ServiceAccountName", "The pod's service account."),
                Column::text("NodeName", "The pod's node."),
                Column::text("SignerName", "Who is to sign."),
                Column::text("State", "What became of the request."),
            ]
        },
        |o| {
            let of = |key: &str| json!(text(o, &["spec", key]));
            let mut kinds = items(o, &["status", "conditions"]).iter().map(|c| text(c, &["type"]));
            let state = kinds.rfind(|k| matches!(*k, "Issued" | "Denied" | "Failed")).unwrap_or("Pending");
            let spec = ["podName", "serviceAccountName", "nodeName", "signerName"].map(of);
            [print::name(o)].into_iter().chain(spec).chain([json!(state)]).collect()
        },
    );
