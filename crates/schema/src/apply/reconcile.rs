//! Fields that were noted under another schema: where lists and objects were told apart by their parts and now are one
//! value, who owned a part owns the whole.

use super::place::{Form, Place};
use super::set::{Node, PathElement, Set};

/// The fields by what the schema says now; `None` where nothing is different.
pub(super) fn reconciled(place: Place<'_>, set: &Set) -> Option<Set> {
    let mut out: Option<Set> = None;
    for (element, node) in set.nodes.iter().filter(|(_, node)| !node.below.is_empty()) {
        let inner = match element {
            PathElement::Field(name) if place.declares(name) => place.child(name).0,
            PathElement::Field(_) => continue,
            _ => place.item(),
        };
        let node = if inner.settled() == Form::Leaf {
            // What no schema knows is told apart by what it is.
            if !inner.is_map() && !inner.is_list() {
                continue;
            }
            Node { member: true, below: Set::default() }
        } else {
            let Some(below) = reconciled(inner, &node.below) else { continue };
            Node { member: node.member, below }
        };
        out.get_or_insert_with(|| set.clone()).nodes.insert(element.clone(), node);
    }
    out
}
