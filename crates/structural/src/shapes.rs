//! A schema as a shape, by which server-side apply tells the fields of an object apart.

use crate::schema::{ListType, Schema, Type};
use ironclad_schema::{Bundle, Field, List, Scalar, Shape, TypeId};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The types of a custom resource, and the shape of its objects.
pub fn shape(schema: &Schema) -> (Bundle, Shape) {
    let mut bundle = Bundle::extending();
    let open = bundle.reserve();
    let mut making = Making { bundle, open };
    let root = making.object(schema, true);
    (making.bundle, root)
}

struct Making {
    bundle: Bundle,
    open: TypeId,
}

impl Making {
    fn shape(&mut self, schema: &Schema) -> Shape {
        match schema.ty {
            Some(Type::Object) if schema.properties.is_empty() && !schema.preserve && !schema.embedded => {
                match schema.like() {
                    Some(like) => Shape::Map(Box::new(self.shape(like))),
                    None => Shape::Map(Box::new(Shape::Object(self.open))),
                }
            }
            Some(Type::Object) => self.object(schema, schema.embedded),
            Some(Type::Array) => {
                let item = schema.items.as_deref().map(|i| self.shape(i));
                Shape::List(Box::new(item.unwrap_or(Shape::Scalar(Scalar::Any))))
            }
            None if schema.preserve => Shape::Object(self.open),
            _ => Shape::Scalar(Scalar::Any),
        }
    }

    fn object(&mut self, schema: &Schema, whole: bool) -> Shape {
        let id = self.bundle.reserve();
        let mut fields: Vec<Field> = Vec::new();
        for (name, property) in &schema.properties {
            if whole && name == "metadata" {
                continue;
            }
            let shape = self.shape(property);
            let required = schema.checks().required.contains(name);
            fields.push(field(name, shape, required, property));
        }
        if whole && let Some(meta) = self.bundle.definition(META).or_else(|| ironclad_schema::bundle().definition(META))
        {
            fields.push(field("metadata", Shape::Object(meta), false, &Schema::default()));
        }
        if whole {
            for head in ["apiVersion", "kind"].into_iter().filter(|h| !schema.properties.contains_key(*h)) {
                fields.push(field(head, Shape::Scalar(Scalar::String), false, &Schema::default()));
            }
        }
        let open = schema.preserve || schema.additional.is_some();
        self.bundle.fill(id, fields, open, schema.atomic_map);
        Shape::Object(id)
    }
}

fn field(name: &str, shape: Shape, required: bool, schema: &Schema) -> Field {
    let list = match &schema.list {
        Some(ListType::Set) => List::Set,
        Some(ListType::Map(keys)) => List::Map(keys.clone()),
        _ => List::Atomic,
    };
    Field { name: name.to_owned(), shape, refers: None, required, list, atomic: schema.atomic_map, merge_key: None }
}
