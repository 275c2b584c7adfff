//! What expressions that select devices may refer to: the device, with what its driver tells about it.

use crate::{Decl, Environment, Shape, Type};
use std::sync::Arc;

/// Most that a selector may cost.
pub const MAX_COST: u64 = 1_000_000;
/// Most attributes and capacities of a device, and so most entries of each map.
const PARTS: u64 = 32;
/// Longest domain, longest name in a domain, longest attribute.
const LENGTHS: (u64, u64, u64) = (63, 32, 64);

fn sized(shape: Shape, max: u64) -> Decl {
    let mut decl = Decl::scalar(shape, None);
    decl.max = max;
    decl
}

/// Values by domain and by name.
fn by_name(value: Decl) -> Arc<Decl> {
    let inner = Decl::map(Arc::new(value), Some(PARTS)).keyed(LENGTHS.1);
    Arc::new(Decl::map(Arc::new(inner), Some(PARTS)).keyed(LENGTHS.0))
}

/// `device`, and `cel.bind`, by which an expression says once what it needs often.
pub fn environment() -> Environment {
    let mut quantity = Decl::clone(&Decl::of(Type::opaque("kubernetes.Quantity")));
    quantity.max = 0;
    let fields = [
        ("driver", Arc::new(sized(Shape::String, LENGTHS.0))),
        ("attributes", by_name(sized(Shape::Dyn, LENGTHS.2))),
        ("capacity", by_name(quantity)),
        ("allowMultipleAllocations", Arc::new(sized(Shape::Bool, 1))),
    ];
    let fields = fields.map(|(name, decl)| (name.to_owned(), decl));
    let device = Decl::object("kubernetes.DRADevice", fields, 0);
    Environment::new().with_bindings().with_decl("device", Arc::new(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The costs are those that stock's own tests expect.
    #[test]
    fn selectors_cost_what_stock_counts() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let mut nested = "int('1'.find('[0-9]*')) < 100".to_owned();
        for name in ["z5", "z4", "z3", "z2", "z", "y", "x"] {
            nested = format!("{ten}.all({name}, {nested})");
        }
        let table = [
            (r#"device.attributes["no-such-domain"].noSuchAttr.isGreaterThan(quantity("0"))"#, 6),
            (r#""dra.example.com" in device.attributes"#, 3),
            (r#"device.driver == """#, 2),
            (r#"device.driver == "dra.example.com""#, 4),
            (r#"device.attributes["dra.example.com"].name"#, 4),
            (r#"device.attributes["dra.example.com"]["name"]"#, 4),
            (r#"cel.bind(dra, device.attributes["dra.example.com"], dra.name)"#, 15),
            (r#"device.attributes["dra.example.com"].name > 0"#, 5),
            (r#"device.attributes["dra.example.com"].name == "fish""#, 5),
            (r#"device.attributes["dra.example.com"].name.exists(x, x > 0)"#, 5 + 6 * 64),
            (r#"device.attributes["dra.example.com"].names.size() == 2"#, 6),
            (r#"1 in device.attributes["dra.example.com"].names"#, 4 + 64),
            (r#"device.attributes["dra.example.com"].name.isGreaterThan(semver("0.0.1"))"#, 6),
            (r#"device.capacity["dra.example.com"].name.isGreaterThan(quantity("1Ki"))"#, 6),
            (
                r#""name" in device.capacity["dra.example.com"] && device.capacity["dra.example.com"].name.isGreaterThan(quantity("1Ki"))"#,
                10,
            ),
            (r#"device.attributes.exists_one(x, x == "dra.example.com")"#, 164),
            (r#"device.attributes["dra.example.com"].exists_one(x, x == "services")"#, 133),
            (r#"device.capacity["dra.example.com"].exists_one(x, x == "memory")"#, 133),
            (r#"device.attributes["dra.example.com"].services.split("example").size() >= 2"#, 19),
            (r#"device.attributes["dra.example.com"].services.matches("[^a]?sym")"#, 18),
            ("device.allowMultipleAllocations == true", 3),
            (nested.as_str(), 85_555_551),
        ];
        for (source, want) in table {
            let program = environment().compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
            assert_eq!(program.cost().max, want, "{source}");
        }
    }

    #[test]
    fn only_selectors_bind_names() {
        let source = "cel.bind(x, 1, x + x == 2)";
        assert!(environment().compile(source).is_ok());
        let why = Environment::new().compile(source).unwrap_err().to_string();
        assert!(why.contains("undeclared reference to 'cel'"), "{why}");
        let why = environment().compile("cel.bind(1, 1, true)").unwrap_err().to_string();
        assert!(why.contains("cel.bind() variable names must be simple identifiers"), "{why}");
    }
}
