//! Values as anything that `serde` writes, and from it.

use crate::{Map, Text, Value};
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Number};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => match whole(number) {
                Some(whole) => serializer.serialize_i64(whole),
                None => number.serialize(serializer),
            },
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(list) => serializer.collect_seq(list.iter()),
            Self::Object(map) => map.serialize(serializer),
        }
    }
}

/// A number that came with a fraction and has none, which goes out without one. The negative zero is no integer.
fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() < 9e18)?;
    let negative_zero = float == 0.0 && float.is_sign_negative();
    (!negative_zero).then_some(float as i64)
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, value)| (name.as_str(), value)))
    }
}

/// A value from anything that can be written. Fails where names of members are no texts.
pub fn to_value<T: Serialize>(value: T) -> Result<Value, Error> {
    value.serialize(Writer)
}

struct Writer;

/// A list on its way, of which a variant may be known.
struct Items(Vec<Value>, Option<&'static str>);

/// An object on its way.
struct Members {
    members: Vec<(Text, Value)>,
    name: Option<Text>,
    variant: Option<&'static str>,
}

fn variant(name: &'static str, content: Value) -> Value {
    Value::from_iter([(name, content)])
}

impl Serializer for Writer {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, v: bool) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_i8(self, v: i8) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_u8(self, v: u8) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_i128(self, v: i128) -> Result<Value, Error> {
        let number = Number::from_i128(v).ok_or_else(|| Error::custom("number out of range"))?;
        Ok(number.into())
    }

    fn serialize_u128(self, v: u128) -> Result<Value, Error> {
        let number = Number::from_u128(v).ok_or_else(|| Error::custom("number out of range"))?;
        Ok(number.into())
    }

    fn serialize_f32(self, v: f32) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_char(self, v: char) -> Result<Value, Error> {
        Ok(v.to_string().into())
    }

    fn serialize_str(self, v: &str) -> Result<Value, Error> {
        Ok(v.into())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Value, Error> {
        Ok(v.iter().copied().collect())
    }

    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<Value, Error> {
        v.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Error> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Result<Value, Error> {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        v: &T,
    ) -> Result<Value, Error> {
        Ok(variant(name, v.serialize(self)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items, Error> {
        Ok(Items(Vec::with_capacity(length.unwrap_or(0)), None))
    }

    fn serialize_tuple(self, length: usize) -> Result<Items, Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Items, Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items, Error> {
        Ok(Items(Vec::with_capacity(length), Some(variant)))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Members, Error> {
        Ok(Members { members: Vec::with_capacity(length.unwrap_or(0)), name: None, variant: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Members, Error> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Members, Error> {
        Ok(Members { members: Vec::with_capacity(length), name: None, variant: Some(variant) })
    }
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.0.push(item.serialize(Writer)?);
        Ok(())
    }

    fn finish(self) -> Value {
        let list = Value::Array(self.0.into());
        match self.1 {
            Some(name) => variant(name, list),
            None => list,
        }
    }
}

/// The ways in which serde tells of lists differ in their names alone.
macro_rules! items {
    ($($way:ident: $method:ident),*) => {$(
        impl $way for Items {
            type Ok = Value;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.push(item)
            }

            fn end(self) -> Result<Value, Error> {
                Ok(self.finish())
            }
        }
    )*};
}

items!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

impl Members {
    fn push<T: Serialize + ?Sized>(&mut self, name: Text, value: &T) -> Result<(), Error> {
        self.members.push((name, value.serialize(Writer)?));
        Ok(())
    }

    fn finish(self) -> Value {
        let object = Value::Object(Map::of(self.members));
        match self.variant {
            Some(name) => variant(name, object),
            None => object,
        }
    }
}

impl SerializeMap for Members {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Error> {
        self.name = Some(name.serialize(NameWriter)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let name = self.name.take().ok_or_else(|| Error::custom("a value came before its name"))?;
        self.push(name, value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}

/// So do the ways in which it tells of structs.
macro_rules! members {
    ($($way:ident),*) => {$(
        impl $way for Members {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.push(Text::const_new(name), value)
            }

            fn end(self) -> Result<Value, Error> {
                Ok(self.finish())
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

/// Writes names of members.
struct NameWriter;

fn no_name<T>() -> Result<T, Error> {
    Err(Error::custom("key must be a string"))
}

/// What is written as it is shown.
macro_rules! names {
    ($($method:ident: $of:ty),*) => {$(
        fn $method(self, v: $of) -> Result<Text, Error> {
            Ok(v.to_string().into())
        }
    )*};
}

impl Serializer for NameWriter {
    type Ok = Text;
    type Error = Error;
    type SerializeSeq = Impossible<Text, Error>;
    type SerializeTuple = Impossible<Text, Error>;
    type SerializeTupleStruct = Impossible<Text, Error>;
    type SerializeTupleVariant = Impossible<Text, Error>;
    type SerializeMap = Impossible<Text, Error>;
    type SerializeStruct = Impossible<Text, Error>;
    type SerializeStructVariant = Impossible<Text, Error>;

    names!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    names!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_char: char);

    fn serialize_f32(self, _: f32) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_f64(self, _: f64) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_str(self, v: &str) -> Result<Text, Error> {
        Ok(v.into())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_none(self) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_unit(self) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Text, Error> {
        Ok(Text::const_new(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Result<Text, Error> {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Text, Error> {
        no_name()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        no_name()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_name()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        no_name()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_name()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        no_name()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        no_name()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_name()
    }
}
