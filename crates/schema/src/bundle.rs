//! The types of the API as data, unpacked once from what the build step made.

use crate::facts;
use crate::proto::wire::{Always, wire};
use flate2::read::DeflateDecoder;
use ironclad_api::GroupVersionKind;
use ironclad_json::{Text, Value};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::sync::LazyLock;

static SHAPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bundle.bin"));
static DOCS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docs.bin"));

/// A type's place in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u32);

/// A value without fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scalar {
    String,
    Int32,
    Int64,
    Double,
    Bool,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Whatever JSON can hold; kept as it is, and one value for server-side apply.
    Any,
    /// Whatever JSON can hold; kept as it is, its objects told apart key by key.
    Deduced,
}

/// How the items of a list are told apart when it is merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each value stands once.
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// What a value looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value without fields.
    Scalar(Scalar),
    /// An object with the fields of a type.
    Object(TypeId),
    /// A list, and how server-side apply tells its items apart.
    List(Box<Shape>, List),
    /// An object with arbitrary keys, and whether it is one value for server-side apply.
    Map(Box<Shape>, bool),
}

/// A field of a type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// The named type of the innermost value, also where that is a scalar such as a quantity.
    pub refers: Option<TypeId>,
    /// Whether OpenAPI calls it required.
    pub required: bool,
    /// Whether it is left out where it is empty, zero or false.
    pub sparse: bool,
    /// For lists: the field by which a strategic merge patch tells items apart; empty for lists of plain values.
    pub merge_key: Option<String>,
    /// What stands for it where it is not given, as the published schemas say.
    pub default: Option<Box<Value>>,
}

/// A type of the API.
#[derive(Debug)]
pub struct Type {
    /// The definition's name in OpenAPI, for example `io.k8s.api.core.v1.Pod`.
    pub definition: String,
    /// For the types of whole objects.
    pub gvk: Option<GroupVersionKind>,
    /// The fields in the order of their names.
    pub fields: Vec<Field>,
    /// What it is, if it has no fields.
    pub scalar: Option<Scalar>,
    /// Whether objects keep what the type does not have, and what comes there is told apart by what it is.
    pub open: bool,
    /// Whether its objects are one value for server-side apply.
    pub atomic: bool,
    /// Fields that a typed server always writes, with what stands there when nothing was sent.
    pub always: Vec<(String, Zero)>,
}

/// What a typed server writes for a field that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Zero {
    Text,
    Number,
    False,
    Object(TypeId),
    /// A quantity of nothing.
    Quantity,
    /// Go's list, map or time that is none.
    Null,
}

impl Type {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.as_str().cmp(name)).ok().map(|i| &self.fields[i])
    }
}

/// All types.
#[derive(Debug)]
pub struct Bundle {
    /// The types that it builds on, whose ids come first.
    base: Option<&'static Bundle>,
    types: Vec<Type>,
    kinds: HashMap<GroupVersionKind, TypeId>,
    definitions: HashMap<String, TypeId>,
}

/// The bundle of the built-in types.
pub fn bundle() -> &'static Bundle {
    static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| unpack(&inflate(SHAPES)));
    &BUNDLE
}

impl Bundle {
    /// The type of a kind's objects.
    pub fn kind(&self, gvk: &GroupVersionKind) -> Option<TypeId> {
        self.kinds.get(gvk).copied()
    }

    /// The type with this definition name.
    pub fn definition(&self, name: &str) -> Option<TypeId> {
        self.definitions.get(name).copied()
    }

    /// The type at this place.
    pub fn get(&self, id: TypeId) -> &Type {
        let at = id.0 as usize;
        match self.base {
            Some(base) if at < base.types.len() => &base.types[at],
            Some(base) => &self.types[at - base.types.len()],
            None => &self.types[at],
        }
    }

    /// An empty bundle on top of that of the built-in types, for the types of a custom resource.
    pub fn extending() -> Self {
        Self { base: Some(bundle()), types: Vec::new(), kinds: HashMap::new(), definitions: HashMap::new() }
    }

    /// Whether it holds the types of a custom resource.
    pub fn is_extension(&self) -> bool {
        self.base.is_some()
    }

    /// Adds a type without fields; see [`Bundle::fill`].
    pub fn reserve(&mut self) -> TypeId {
        self.types.push(Type {
            definition: String::new(),
            gvk: None,
            fields: Vec::new(),
            scalar: None,
            open: true,
            atomic: false,
            always: Vec::new(),
        });
        TypeId((self.base.map_or(0, |b| b.types.len()) + self.types.len() - 1) as u32)
    }

    /// Says what a type looks like that was reserved here.
    pub fn fill(&mut self, id: TypeId, mut fields: Vec<Field>, open: bool, atomic: bool) {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let at = id.0 as usize - self.base.map_or(0, |b| b.types.len());
        let ty = &mut self.types[at];
        (ty.fields, ty.open, ty.atomic) = (fields, open, atomic);
    }

    /// Every type.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(i, t)| (TypeId(i as u32), t))
    }

    /// An object of which nothing was sent, as a typed server writes it.
    pub fn zero(&self, id: TypeId) -> Value {
        let mut map = ironclad_json::Map::new();
        self.complete(id, &mut map);
        Value::Object(map)
    }

    /// Puts in what a typed server always writes, at this level. `lists` also puts null in the place of lists.
    pub fn complete(&self, id: TypeId, map: &mut ironclad_json::Map) {
        for (name, zero) in &self.get(id).always {
            if map.get(name).is_some_and(|v| !v.is_null() || *zero == Zero::Null) {
                continue;
            }
            let value = match zero {
                Zero::Text => "".into(),
                Zero::Quantity => "0".into(),
                Zero::Number => 0.into(),
                Zero::False => false.into(),
                Zero::Object(id) => {
                    let mut inner = ironclad_json::Map::new();
                    self.complete(*id, &mut inner);
                    inner.into()
                }
                Zero::Null => Value::Null,
            };
            map.insert(name.clone(), value);
        }
    }

    /// [`Self::complete`] for an object and all that is in it. What is complete is not touched.
    pub fn complete_all(&self, id: TypeId, value: &mut Value) {
        if let Some(completed) = self.completed(id, value) {
            *value = completed;
        }
    }

    fn completed(&self, id: TypeId, value: &Value) -> Option<Value> {
        let Value::Object(before) = value else { return None };
        let mut map = before.clone();
        self.complete(id, &mut map);
        let ty = self.get(id);
        let below = |name: &Text, value: &Value| {
            Ok::<_, Infallible>(ty.field(name).and_then(|f| self.completed_below(&f.shape, value)).into())
        };
        let Ok(_) = map.rewrite(below);
        (!map.is_same(before)).then_some(Value::Object(map))
    }

    fn completed_below(&self, shape: &Shape, value: &Value) -> Option<Value> {
        match (shape, value) {
            (Shape::Object(id), value) => self.completed(*id, value),
            (Shape::List(item, _), Value::Array(items)) => {
                let mut items = items.clone();
                let Ok(changed) = items.rewrite(|_, v| Ok::<_, Infallible>(self.completed_below(item, v)));
                changed.then_some(Value::Array(items))
            }
            (Shape::Map(item, _), Value::Object(map)) => {
                let mut map = map.clone();
                let Ok(changed) = map.rewrite(|_, v| Ok::<_, Infallible>(self.completed_below(item, v).into()));
                changed.then_some(Value::Object(map))
            }
            _ => None,
        }
    }

    /// The docs of some fields of a type.
    pub fn docs_of(&self, definition: &str, fields: &[&str]) -> Option<Vec<String>> {
        let id = self.definition(definition)?;
        let (_, docs) = self.docs().into_iter().nth(id.0 as usize)?;
        let place = |name: &&str| self.get(id).fields.iter().position(|f| f.name == **name);
        fields.iter().map(|name| docs.get(place(name)?).cloned()).collect()
    }

    /// The docs of every type: its own, and those of its fields in their order. Unpacked for each call, for only
    /// OpenAPI needs them.
    pub fn docs(&self) -> Vec<(String, Vec<String>)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let one = |v: &Value| (text(&v[0]), v[1].as_array().into_iter().flatten().map(text).collect());
        let order: Vec<Vec<usize>> = orders();
        let mut docs: Vec<(String, Vec<String>)> = inflate(DOCS).as_array().into_iter().flatten().map(one).collect();
        for (doc, order) in docs.iter_mut().zip(order) {
            doc.1 = order.iter().map(|i| std::mem::take(&mut doc.1[*i])).collect();
        }
        docs
    }
}

fn inflate(bytes: &[u8]) -> Value {
    serde_json::from_str(&inflate_text(bytes)).expect("the build step made it")
}

/// What the build step packed.
pub(crate) fn inflate_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    DeflateDecoder::new(bytes).read_to_string(&mut text).expect("the build step made it");
    text
}

/// For each type the places of its fields as the build step wrote them, in the order of their names.
fn orders() -> Vec<Vec<usize>> {
    let raw = inflate(SHAPES);
    let order = |ty: &Value| {
        let fields = ty[5].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|i| fields[*i][0].as_str().unwrap_or_default().to_owned());
        order
    };
    raw.as_array().into_iter().flatten().map(order).collect()
}

fn unpack(raw: &Value) -> Bundle {
    let raw = raw.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    // A message without fields is an object without fields, whatever the sources make of it, but for those that write
    // their JSON themselves.
    let bare = |ty: &Value| {
        let definition = text(&ty[1]);
        let plain = !definition.ends_with(".JSON") && !definition.ends_with(".Patch");
        plain && wire().find(&definition).is_some_and(|id| wire().get(id).fields.is_empty())
    };
    let scalar = |ty: &Value| ty[4].as_str().map(scalar).filter(|s| *s != Scalar::Any || !bare(ty));
    let paths: HashMap<String, (TypeId, Option<Scalar>)> =
        raw.iter().enumerate().map(|(i, ty)| (text(&ty[0]), (TypeId(i as u32), scalar(ty)))).collect();
    let mut bundle = Bundle { base: None, types: Vec::new(), kinds: HashMap::new(), definitions: HashMap::new() };
    for (index, ty) in raw.iter().enumerate() {
        let id = TypeId(index as u32);
        let definition = text(&ty[1]);
        let gvk = ty[2].as_array().map(|r| GroupVersionKind::new(&text(&r[0]), &text(&r[1]), &text(&r[2])));
        if let Some(gvk) = &gvk {
            bundle.kinds.insert(gvk.clone(), id);
        }
        let mut fields: Vec<Field> = ty[5].as_array().into_iter().flatten().map(|f| field(f, &paths)).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let mut always = always(&definition, &fields);
        always.extend(facts::nulls(&definition).map(|name| (name.to_owned(), Zero::Null)));
        let sparse = wire().sparse(&definition);
        fields.iter_mut().for_each(|f| f.sparse = sparse.contains(f.name.as_str()));
        facts::defaults(&definition, &mut fields, &always);
        let scalar = scalar(ty);
        let mut ty = Type { definition, gvk, fields, scalar, open: false, atomic: false, always };
        facts::correct(&mut ty);
        bundle.definitions.insert(ty.definition.clone(), id);
        bundle.types.push(ty);
    }
    bundle
}

/// What the table of the wire format says is always written.
fn always(definition: &str, fields: &[Field]) -> Vec<(String, Zero)> {
    let zero = |name: &str, always: Always| {
        Some(match always {
            Always::Text => Zero::Text,
            Always::Number => Zero::Number,
            Always::False => Zero::False,
            Always::Null => Zero::Null,
            Always::Quantity => Zero::Quantity,
            Always::Object => match fields.iter().find(|f| f.name == name)?.shape {
                Shape::Object(id) => Zero::Object(id),
                _ => return None,
            },
        })
    };
    let all = wire().always(definition).into_iter();
    all.filter_map(|(name, always)| zero(&name, always).map(|z| (name, z))).collect()
}

fn field(raw: &Value, paths: &HashMap<String, (TypeId, Option<Scalar>)>) -> Field {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut shape = shape(&text(&raw[1]), paths);
    let merge = text(&raw[3]);
    let keys: Vec<String> = raw[4].as_array().into_iter().flatten().map(|k| camel(&text(k))).collect();
    let (told, merge_key) = match merge.as_str() {
        "set" => (List::Set, Some(String::new())),
        "map" => (List::Map(keys.clone()), keys.first().cloned()),
        _ => (List::Atomic, None),
    };
    match &mut shape {
        Shape::List(_, list) => *list = told,
        Shape::Map(_, atomic) => *atomic = merge == "atomic",
        _ => {}
    }
    let inner = text(&raw[1]);
    let inner = inner.trim_start_matches(['[', '{']).trim_end_matches([']', '}']);
    let refers = inner.strip_prefix('@').and_then(|path| paths.get(path)).map(|(id, _)| *id);
    let required = raw[2] == Value::Bool(true);
    Field { name: text(&raw[0]), refers, required, shape, sparse: false, merge_key, default: None }
}

fn shape(text: &str, paths: &HashMap<String, (TypeId, Option<Scalar>)>) -> Shape {
    let inner = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if let Some(item) = inner('[', ']') {
        return Shape::List(Box::new(shape(item, paths)), List::Atomic);
    }
    if let Some(value) = inner('{', '}') {
        return Shape::Map(Box::new(shape(value, paths)), false);
    }
    match text.strip_prefix('@') {
        Some(path) => match paths.get(path) {
            Some((_, Some(scalar))) => Shape::Scalar(*scalar),
            Some((id, None)) => Shape::Object(*id),
            None => Shape::Scalar(Scalar::Any),
        },
        None => Shape::Scalar(scalar(text)),
    }
}

fn scalar(name: &str) -> Scalar {
    match name {
        "string" => Scalar::String,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "bool" => Scalar::Bool,
        "bytes" => Scalar::Bytes,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "quantity" => Scalar::Quantity,
        "intorstring" => Scalar::IntOrString,
        _ => Scalar::Any,
    }
}

/// `container_port` as `containerPort`.
fn camel(snake: &str) -> String {
    match snake {
        "ip" | "type_" => return snake.trim_end_matches('_').to_owned(),
        _ => {}
    }
    let mut out = String::new();
    let mut upper = false;
    for c in snake.trim_end_matches('_').chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, version: &str, kind: &str) -> &'static Type {
        bundle().get(bundle().kind(&GroupVersionKind::new(group, version, kind)).unwrap())
    }

    fn child(ty: &'static Type, name: &str) -> &'static Type {
        let mut shape = &ty.field(name).unwrap().shape;
        while let Shape::List(inner, _) | Shape::Map(inner, _) = shape {
            shape = inner;
        }
        let Shape::Object(id) = shape else { panic!("{name}: {shape:?}") };
        bundle().get(*id)
    }

    #[test]
    fn the_bundle_knows_how_a_deployment_looks() {
        let spec = child(kind("apps", "v1", "Deployment"), "spec");
        assert_eq!(spec.field("replicas").unwrap().shape, Shape::Scalar(Scalar::Int32));
        let pod = child(child(spec, "template"), "spec");
        let containers = pod.field("containers").unwrap();
        assert!(containers.required);
        assert!(matches!(&containers.shape, Shape::List(_, List::Map(keys)) if *keys == ["name"]));
        let container = child(pod, "containers");
        let ports = container.field("ports").unwrap();
        assert!(matches!(&ports.shape, Shape::List(_, List::Map(keys)) if *keys == ["containerPort", "protocol"]));
        assert_eq!(ports.merge_key.as_deref(), Some("containerPort"));
    }

    #[test]
    fn docs_belong_to_their_fields() {
        let id = bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let docs = bundle().docs();
        let ty = bundle().get(id);
        let place = ty.fields.iter().position(|f| f.name == "spec").unwrap();
        assert!(docs[id.0 as usize].1[place].starts_with("Specification of the desired behavior of the pod."));
    }
}
