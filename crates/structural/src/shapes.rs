//! A schema as a shape, by which server-side apply tells the fields of an object apart.
//!
//! Each place has its own way of being told apart: properties, items of lists and values of maps alike.

use crate::schema::{Additional, ListType, Schema, Type};
use ironclad_schema::{Bundle, Field, List, Scalar, Shape};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The types of a custom resource, and the shape of its objects.
pub fn shape(schema: &Schema) -> (Bundle, Shape) {
    let mut making = Making { bundle: Bundle::extending() };
    let root = making.object(schema, true, schema.preserve);
    (making.bundle, root)
}

struct Making {
    bundle: Bundle,
}

impl Making {
    /// `open` says whether something above keeps what its schema does not have.
    fn shape(&mut self, schema: &Schema, open: bool) -> Shape {
        let open = open || schema.preserve;
        match schema.ty {
            Some(Type::Object) if schema.properties.is_empty() && !schema.embedded => self.map(schema, open),
            Some(Type::Object) => self.object(schema, schema.embedded, open),
            Some(Type::Array) => {
                let item = schema.items.as_deref().map(|i| self.shape(i, open));
                Shape::List(Box::new(item.unwrap_or(Shape::Scalar(Scalar::Any))), told(schema))
            }
            Some(Type::Integer | Type::Number) => Shape::Scalar(Scalar::Double),
            Some(Type::Boolean) => Shape::Scalar(Scalar::Bool),
            Some(Type::String) if matches!(schema.checks().format.as_str(), "" | "byte") => {
                Shape::Scalar(Scalar::String)
            }
            Some(Type::String) => Shape::Scalar(Scalar::Any),
            None if !schema.properties.is_empty() => self.object(schema, schema.embedded, open),
            None => Shape::Scalar(Scalar::Deduced),
        }
    }

    fn map(&mut self, schema: &Schema, open: bool) -> Shape {
        let value = match &schema.additional {
            Some(Additional::Like(like)) => self.shape(like, open),
            // No key is allowed, and so no value.
            Some(Additional::Any(false)) => return self.object(schema, false, false),
            Some(Additional::Any(true)) | None => Shape::Scalar(Scalar::Deduced),
        };
        Shape::Map(Box::new(value), schema.atomic_map)
    }

    fn object(&mut self, schema: &Schema, whole: bool, open: bool) -> Shape {
        let id = self.bundle.reserve();
        let mut fields: Vec<Field> = Vec::new();
        for (name, property) in &schema.properties {
            if whole && name == "metadata" {
                continue;
            }
            let shape = self.shape(property, open);
            let required = schema.checks().required.contains(name);
            fields.push(field(name, shape, required, property));
        }
        if whole && let Some(meta) = ironclad_schema::bundle().definition(META) {
            fields.push(field("metadata", Shape::Object(meta), false, &Schema::default()));
        }
        if whole {
            for head in ["apiVersion", "kind"].into_iter().filter(|h| !schema.properties.contains_key(*h)) {
                fields.push(field(head, Shape::Scalar(Scalar::String), false, &Schema::default()));
            }
        }
        let open = match schema.additional {
            None => open,
            Some(Additional::Any(allowed)) => allowed,
            Some(Additional::Like(_)) => true,
        };
        self.bundle.fill(id, fields, open, schema.atomic_map);
        Shape::Object(id)
    }
}

fn told(schema: &Schema) -> List {
    match &schema.list {
        Some(ListType::Set) => List::Set,
        Some(ListType::Map(keys)) => List::Map(keys.clone()),
        _ => List::Atomic,
    }
}

fn field(name: &str, shape: Shape, required: bool, schema: &Schema) -> Field {
    let default = schema.default.clone().map(Box::new);
    Field { name: name.to_owned(), shape, refers: None, required, sparse: false, merge_key: None, default }
}
