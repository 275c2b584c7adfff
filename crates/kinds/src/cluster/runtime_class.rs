//! RuntimeClasses.

use crate::common::pod_warnings::old_node_label;
use crate::common::{pod_rules, resources};
use crate::declared::Step::{Field, Immutable, Is, Required};
use crate::declared::format;
use crate::metadata;
use crate::print;
use crate::read::{canonical, has, items, map, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| canonical(o, &["overhead", "podFixed"]))
    .checks(validate)
    .warns(|o, _| warnings(o))
    .declares(const { &[Field("handler", &[Immutable, Required, Is(format::short_name)])] })
    .prints(
        const { &[Column::object_name(), Column::text("Handler", "The runtime's configuration."), Column::age()] },
        |o| vec![print::name(o), json!(text(o, &["handler"])), table::age(o)],
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if has(o, &["overhead"]) {
        let limits = json!({"limits": o["overhead"]["podFixed"]});
        resources::container(&limits, &BTreeSet::new(), &Path::new("overhead"), &mut errors);
    }
    let at = Path::new("scheduling");
    if has(o, &["scheduling"]) {
        errors.extend(metadata::labels(&o["scheduling"]["nodeSelector"], &at.child("nodeSelector")));
        let tolerations = items(o, &["scheduling", "tolerations"]);
        pod_rules::tolerations(&o["scheduling"], &at.child("tolerations"), &mut errors);
        for (i, toleration) in tolerations.iter().enumerate().filter(|(i, t)| tolerations[..*i].contains(t)) {
            errors.push(FieldError::duplicate(&at.child("tolerations").index(i), toleration));
        }
    }
    errors
}

fn warnings(o: &Value) -> Vec<String> {
    let labels = map(o, &["scheduling", "nodeSelector"]).into_iter().flatten();
    labels.filter_map(|(key, _)| old_node_label(key)).map(|why| format!("scheduling.nodeSelector: {why}")).collect()
}
