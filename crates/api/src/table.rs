//! Tables: what kubectl prints. A column is data; a row is a function of the object.

use ironclad_json::{Value, json};
use std::borrow::Cow;

/// A column of a `meta.k8s.io/v1 Table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Head, for example `Name`.
    pub name: Cow<'static, str>,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: Cow<'static, str>,
    /// OpenAPI format: `name` for the name column, else usually empty.
    pub format: Cow<'static, str>,
    /// What the column shows.
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

impl Column {
    const fn build(name: &'static str, kind: &'static str, format: &'static str, description: &'static str) -> Self {
        let (name, kind) = (Cow::Borrowed(name), Cow::Borrowed(kind));
        Self { name, kind, format: Cow::Borrowed(format), description: Cow::Borrowed(description), priority: 0 }
    }

    /// A text column that is always shown.
    pub const fn text(name: &'static str, description: &'static str) -> Self {
        Self::build(name, "string", "", description)
    }

    /// A number column that is always shown.
    pub const fn integer(name: &'static str, description: &'static str) -> Self {
        Self::build(name, "integer", "", description)
    }

    /// The object's name; the first column of every table.
    pub const fn object_name() -> Self {
        Self::build("Name", "string", "name", NAME_DOC)
    }

    /// The object's age.
    pub const fn age() -> Self {
        Self::text("Age", AGE_DOC)
    }

    /// The same column, shown with `-o wide` only.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The column as `metav1.TableColumnDefinition`.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format,
               "description": self.description, "priority": self.priority})
    }
}

/// What stands for the description of `metadata.name`.
pub const NAME_DOC: &str = "The name of the object, unique in its namespace.";
/// What stands for the description of `metadata.creationTimestamp`.
pub const AGE_DOC: &str = "The time since the object was created.";

/// A row's cells, in the order of the columns.
pub type Cells = Vec<Value>;

/// The age cell of an object: the time since `creationTimestamp`, `<unknown>` without one.
pub fn age(object: &Value) -> Value {
    since(crate::object::text(object, &["metadata", "creationTimestamp"]))
}

/// The time since an RFC 3339 time stamp as a cell; `<unknown>` for an empty or broken one.
pub fn since(timestamp: &str) -> Value {
    let Ok(t) = timestamp.parse::<jiff::Timestamp>() else { return json!("<unknown>") };
    json!(crate::time::human_duration(jiff::Timestamp::now().as_second() - t.as_second()))
}
