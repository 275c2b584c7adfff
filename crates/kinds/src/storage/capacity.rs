//! CSIStorageCapacities.

use crate::common::checks::{immutable, rule};
use crate::common::numbers::amount;
use crate::common::selector;
use crate::print;
use crate::read::{canonical_quantity, has, text};
use crate::rules::Rules;
use ironclad_api::table::Column;
use ironclad_api::{ErrorList, Path, names};
use ironclad_json::{Value, json};

pub(crate) const CAPACITY: Rules = Rules::new()
    .defaults(|o| {
        for key in ["capacity", "maximumVolumeSize"] {
            o.get_mut(key).into_iter().for_each(canonical_quantity);
        }
    })
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = ErrorList::new();
        immutable(new, old, &Path::root(), &["nodeTopology", "storageClassName"], &mut errors);
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("StorageClassName", "The class that the capacity is for."),
                Column::text("Capacity", "How much there is."),
            ]
        },
        |o| {
            let capacity = if has(o, &["capacity"]) { text(o, &["capacity"]) } else { "<unset>" };
            vec![print::name(o), json!(text(o, &["storageClassName"])), json!(capacity)]
        },
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if has(o, &["nodeTopology"]) {
        errors.extend(selector::validate(&o["nodeTopology"], &Path::new("nodeTopology")));
    }
    let class = text(o, &["storageClassName"]);
    rule(names::dns1123_subdomain(class), class, &Path::new("storageClassName"), &mut errors);
    amount(&o["capacity"], false, &Path::new("capacity"), &mut errors);
    errors
}
