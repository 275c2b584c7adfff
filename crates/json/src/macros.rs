//! `json!`: values as they are written.

use crate::{Map, Value, to_value};
use serde::Serialize;

/// What stands in [`json!`](crate::json) in the place of a value.
pub struct Wrap<'a, T: ?Sized>(pub &'a T);

/// What is a value already is shared.
pub trait ByShare {
    /// The value.
    fn json(&self) -> Value;
}

/// Everything else is made from what it writes of itself.
pub trait BySerde {
    /// The value.
    fn json(&self) -> Value;
}

impl ByShare for Wrap<'_, Value> {
    fn json(&self) -> Value {
        self.0.clone()
    }
}

impl ByShare for Wrap<'_, &Value> {
    fn json(&self) -> Value {
        (*self.0).clone()
    }
}

impl ByShare for Wrap<'_, &mut Value> {
    fn json(&self) -> Value {
        (*self.0).clone()
    }
}

impl ByShare for Wrap<'_, Vec<Value>> {
    fn json(&self) -> Value {
        self.0.clone().into()
    }
}

impl ByShare for Wrap<'_, Map> {
    fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl ByShare for Wrap<'_, &Map> {
    fn json(&self) -> Value {
        Value::Object((*self.0).clone())
    }
}

impl ByShare for Wrap<'_, &str> {
    fn json(&self) -> Value {
        (*self.0).into()
    }
}

impl ByShare for Wrap<'_, String> {
    fn json(&self) -> Value {
        self.0.into()
    }
}

impl<T: Serialize + ?Sized> BySerde for &Wrap<'_, T> {
    fn json(&self) -> Value {
        to_value(self.0).expect("what is written in a program can be written as JSON")
    }
}

/// A value as it is written in JSON, with expressions in it.
#[macro_export]
macro_rules! json {
    (null) => { $crate::Value::Null };
    ([ $($items:tt)* ]) => { $crate::Value::from($crate::json_items!([] $($items)*)) };
    ({}) => { $crate::Value::Object($crate::Map::new()) };
    ({ $($members:tt)+ }) => {{
        let mut map = $crate::Map::new();
        $crate::json_members!(map [] $($members)+);
        $crate::Value::Object(map)
    }};
    ($value:expr) => {{
        #[allow(unused_imports, reason = "one of the two is used")]
        use $crate::{BySerde as _, ByShare as _};
        (&$crate::Wrap(&$value)).json()
    }};
}

/// The items of a list one by one.
#[doc(hidden)]
#[macro_export]
macro_rules! json_items {
    ([ $($done:expr,)* ]) => { ::std::vec::Vec::<$crate::Value>::from([ $($done,)* ]) };
    ([ $($done:expr,)* ] null $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!(null), ] $($($rest)*)?)
    };
    ([ $($done:expr,)* ] [ $($items:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!([ $($items)* ]), ] $($($rest)*)?)
    };
    ([ $($done:expr,)* ] { $($members:tt)* } $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!({ $($members)* }), ] $($($rest)*)?)
    };
    ([ $($done:expr,)* ] $item:expr $(, $($rest:tt)*)?) => {
        $crate::json_items!([ $($done,)* $crate::json!($item), ] $($($rest)*)?)
    };
}

/// The members of an object one by one.
#[doc(hidden)]
#[macro_export]
macro_rules! json_members {
    ($map:ident []) => {};
    ($map:ident [ $($name:tt)+ ] : null $(, $($rest:tt)*)?) => {
        $map.insert($($name)+, $crate::Value::Null);
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [ $($name:tt)+ ] : [ $($items:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert($($name)+, $crate::json!([ $($items)* ]));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [ $($name:tt)+ ] : { $($members:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert($($name)+, $crate::json!({ $($members)* }));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [ $($name:tt)+ ] : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert($($name)+, $crate::json!($value));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [] $name:tt : null $(, $($rest:tt)*)?) => {
        $map.insert($name, $crate::Value::Null);
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [] $name:tt : [ $($items:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert($name, $crate::json!([ $($items)* ]));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [] $name:tt : { $($members:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert($name, $crate::json!({ $($members)* }));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [] $name:tt : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert($name, $crate::json!($value));
        $crate::json_members!($map [] $($($rest)*)?);
    };
    ($map:ident [ $($name:tt)* ] $next:tt $($rest:tt)*) => {
        $crate::json_members!($map [ $($name)* $next ] $($rest)*);
    };
}
