//! Pod templates and component statuses.

use crate::apps::check_template;
use crate::common::pod_defaults;
use crate::print;
use crate::read::{at_mut, child, items, text};
use crate::rules::Rules;
use ironclad_api::table::{Cells, Column};
use ironclad_api::{ErrorList, Path};
use ironclad_json::{Value, json};

pub(crate) const POD_TEMPLATE: Rules = Rules::new()
    .defaults(default)
    .checks(|o| {
        let mut errors = ErrorList::new();
        check_template(&o["template"], &Path::new("template"), &mut errors);
        errors
    })
    .warns(|new, old| crate::apps::template_warnings(new, old, &["template"], &[&["template"]]))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Containers", "Names of each container in the template."),
                Column::text("Images", "Images referenced by each container in the template."),
                Column::text("Pod Labels", "The labels for the pod template."),
            ]
        },
        |o| {
            let [names, images] = print::containers(o, &["template", "spec", "containers"]);
            vec![print::name(o), names, images, json!(print::labels(o, &["template", "metadata", "labels"]))]
        },
    );

pub(crate) const COMPONENT_STATUS: Rules = Rules::new().prints(
    const {
        &[
            Column::object_name(),
            Column::text("Status", "Status of the component conditions"),
            Column::text("Message", "Message of the component conditions"),
            Column::text("Error", "Error of the component conditions"),
        ]
    },
    component_cells,
);

fn component_cells(o: &Value) -> Cells {
    let found = items(o, &["conditions"]).iter().find(|c| text(c, &["type"]) == "Healthy");
    let (status, message, error) = match found {
        Some(c) => {
            let status = match text(c, &["status"]) {
                "True" => "Healthy",
                "False" => "Unhealthy",
                _ => "Unknown",
            };
            (status, text(c, &["message"]), text(c, &["error"]))
        }
        None => ("Unknown", "", ""),
    };
    vec![print::name(o), json!(status), json!(message), json!(error)]
}

fn default(o: &mut Value) {
    if let Some(template) = at_mut(o, &["template"]) {
        pod_defaults::spec(child(template, "spec"));
    }
}
