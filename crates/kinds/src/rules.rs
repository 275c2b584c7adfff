//! A strategy as data: one function for each thing that is particular to a kind, the usual one where nothing is.

use crate::declared::{self, Step};
use crate::{Plain, Strategy};
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, names, object};
use ironclad_json::{Value, json};

/// The functions that make up a kind's strategy; see [`Strategy`] for what each is for.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    default: fn(&mut Value),
    create: fn(&mut Value),
    update: fn(&mut Value, &Value),
    subresource: fn(&str, &mut Value, &Value),
    delete: fn(&mut Value),
    validate: fn(&Value) -> ErrorList,
    validate_update: Option<fn(&Value, &Value) -> ErrorList>,
    validate_status: fn(&Value, &Value) -> ErrorList,
    validate_subresource: Option<fn(&Value, &Value) -> ErrorList>,
    one_generation: bool,
    declared: &'static [Step],
    declared_below: bool,
    warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    name: fn(&str) -> Vec<String>,
    columns: &'static [Column],
    cells: fn(&Value) -> Cells,
    convert: fn(Value, &str) -> Value,
    /// Fields of the metadata whose change counts in the generation.
    counted: &'static [&'static str],
}

const NAME_AND_AGE: &[Column] = &[Column::object_name(), Column::age()];

fn name_and_age(object: &Value) -> Cells {
    vec![json!(object::name(object)), table::age(object)]
}

/// The form of a function that a strategy consists of, for [`Rules`]' setters.
macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident => $field:ident : $type:ty),* $(,)?) => {
        $($(#[$doc])* pub(crate) const fn $setter(mut self, f: $type) -> Self { self.$field = f; self })*
    };
}

impl Rules {
    /// A kind with nothing particular.
    pub(crate) const fn new() -> Self {
        Self {
            default: |_| {},
            create: |_| {},
            update: |_, _| {},
            subresource: |_, _, _| {},
            delete: |_| {},
            validate: |_| ErrorList::new(),
            validate_update: None,
            validate_status: |_, _| ErrorList::new(),
            validate_subresource: None,
            one_generation: false,
            declared: &[],
            declared_below: false,
            warnings: |_, _| Vec::new(),
            name: names::dns1123_subdomain,
            columns: NAME_AND_AGE,
            cells: name_and_age,
            convert: |object, _| object,
            counted: &[],
        }
    }

    setters! {
        /// Fills in defaults.
        defaults => default: fn(&mut Value),
        /// Readies a new object.
        on_create => create: fn(&mut Value),
        /// Readies an update.
        on_update => update: fn(&mut Value, &Value),
        /// Readies an update through a subresource, `status` included.
        on_subresource => subresource: fn(&str, &mut Value, &Value),
        /// Readies an object for its deletion.
        on_delete => delete: fn(&mut Value),
        /// Checks a new object.
        checks => validate: fn(&Value) -> ErrorList,
        /// Checks an update through `status`.
        checks_status => validate_status: fn(&Value, &Value) -> ErrorList,
        /// Warnings about an object that is accepted.
        warns => warnings: fn(&Value, Option<&Value>) -> Vec<String>,
        /// Checks a name.
        named => name: fn(&str) -> Vec<String>,
        /// Converts from this row's version.
        converts => convert: fn(Value, &str) -> Value,
    }

    /// Checks an update.
    pub(crate) const fn checks_update(mut self, f: fn(&Value, &Value) -> ErrorList) -> Self {
        self.validate_update = Some(f);
        self
    }

    /// Counts changes of these fields of the metadata in the generation, besides what always counts.
    pub(crate) const fn counts(mut self, metadata: &'static [&'static str]) -> Self {
        self.counted = metadata;
        self
    }

    /// Checks an update through a subresource that is not `status`.
    pub(crate) const fn checks_subresource(mut self, f: fn(&Value, &Value) -> ErrorList) -> Self {
        self.validate_subresource = Some(f);
        self
    }

    /// No change counts in `metadata.generation`, which begins with 1 all the same.
    pub(crate) const fn one_generation(mut self) -> Self {
        self.one_generation = true;
        self
    }

    /// Rules that are declared with the type, for the object itself.
    pub(crate) const fn declares(mut self, steps: &'static [Step]) -> Self {
        self.declared = steps;
        self
    }

    /// Rules that are declared with the type, for the object and its subresources.
    pub(crate) const fn declares_all(mut self, steps: &'static [Step]) -> Self {
        self.declared = steps;
        self.declared_below = true;
        self
    }

    /// What is wrong with an object, or with a change of it through a subresource, but for what is declared.
    pub(crate) fn by_hand(&self, subresource: &str, new: &Value, old: Option<&Value>) -> ErrorList {
        match (subresource, old) {
            ("", Some(old)) => self.validate_update.map_or_else(|| (self.validate)(new), |f| f(new, old)),
            ("status", Some(old)) => (self.validate_status)(new, old),
            (_, Some(old)) => self.validate_subresource.map_or_else(|| (self.validate)(new), |f| f(new, old)),
            (_, None) => (self.validate)(new),
        }
    }

    fn check(&self, subresource: &str, new: &Value, old: Option<&Value>) -> ErrorList {
        let by_hand = self.by_hand(subresource, new, old);
        match self.tells_once(subresource) {
            true => declared::settle(by_hand, self.declared, new, old),
            false => by_hand,
        }
    }

    /// Prints with these columns and cells.
    pub(crate) const fn prints(mut self, columns: &'static [Column], cells: fn(&Value) -> Cells) -> Self {
        self.columns = columns;
        self.cells = cells;
        self
    }
}

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }
    fn prepare_create(&self, new: &mut Value) {
        (self.create)(new);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        (self.update)(new, old);
    }
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        (self.subresource)("status", new, old);
    }
    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        (self.subresource)(subresource, new, old);
    }
    fn prepare_delete(&self, object: &mut Value) {
        (self.delete)(object);
    }
    fn validate(&self, object: &Value) -> ErrorList {
        self.check("", object, None)
    }
    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        self.check("", new, Some(old))
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        self.check("status", new, Some(old))
    }
    fn validate_subresource(&self, subresource: &str, new: &Value, old: &Value) -> ErrorList {
        self.check(subresource, new, Some(old))
    }
    fn tells_once(&self, subresource: &str) -> bool {
        !self.declared.is_empty() && (subresource.is_empty() || self.declared_below)
    }
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(new, old)
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        (self.name)(name)
    }
    fn same_generation(&self, new: &Value, old: &Value) -> bool {
        let none = Value::Object(ironclad_json::Map::new());
        let of = |o: &'_ Value, field: &str| o["metadata"].get(field).unwrap_or(&none).clone();
        let counted = || self.counted.iter().all(|field| of(new, field) == of(old, field));
        self.one_generation || counted() && Plain.same_generation(new, old)
    }
    fn columns(&self) -> &[Column] {
        self.columns
    }
    fn cells(&self, object: &Value) -> Cells {
        (self.cells)(object)
    }
    fn convert(&self, object: Value, version: &str) -> Value {
        (self.convert)(object, version)
    }
}
