//! Equality of values with each other and with what they can be read as.

use crate::{Text, Value};

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl PartialEq<$kind> for Value {
            fn eq(&self, other: &$kind) -> bool {
                self.as_str().is_some_and(|text| *text == other[..])
            }
        }

        impl PartialEq<Value> for $kind {
            fn eq(&self, other: &Value) -> bool {
                other == self
            }
        }
    )*};
}

as_text!(str, &str, String, Text);

macro_rules! as_number {
    ($($kind:ty: $read:ident as $wide:ty),*) => {$(
        impl PartialEq<$kind> for Value {
            fn eq(&self, other: &$kind) -> bool {
                self.$read() == Some(<$wide>::from(*other))
            }
        }

        impl PartialEq<$kind> for &Value {
            fn eq(&self, other: &$kind) -> bool {
                **self == *other
            }
        }

        impl PartialEq<$kind> for &mut Value {
            fn eq(&self, other: &$kind) -> bool {
                **self == *other
            }
        }

        impl PartialEq<Value> for $kind {
            fn eq(&self, other: &Value) -> bool {
                other == self
            }
        }
    )*};
}

as_number!(i8: as_i64 as i64, i16: as_i64 as i64, i32: as_i64 as i64, i64: as_i64 as i64);
as_number!(u8: as_u64 as u64, u16: as_u64 as u64, u32: as_u64 as u64, u64: as_u64 as u64);
as_number!(f32: as_f64 as f64, f64: as_f64 as f64, bool: as_bool as bool);

impl PartialEq<usize> for Value {
    fn eq(&self, other: &usize) -> bool {
        self.as_u64() == Some(*other as u64)
    }
}
