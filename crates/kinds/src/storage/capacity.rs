//! CSIStorageCapacities.

use crate::common::checks::{immutable, rule};
use crate::common::numbers::amount;
use crate::common::selector;
use crate::print;
use crate::read::{canonical_quantity, has, text};
use crate::rules::Rules;
use ironclad_api::table::Column;
use ironclad_api::{ErrorList, Path, names};
use ironclad_json::Value;

pub(crate) const CAPACITY: Rules = Rules::new()
    .defaults(|o| {
        for key in ["capacity", "maximumVolumeSize"] {
            o.get_mut(key).into_iter().for_each(canonical_quantity);
        }
    })
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = validate(new);
        immutable(new, old, &Path::root(), &["nodeTopology", "storageClassName"], &mut errors);
        errors
    })
    .prints(const { &[Column::object_name(), print::CREATED_AT] }, |o| vec![print::name(o), print::created_at(o)]);

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
