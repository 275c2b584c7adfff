//! What a call costs by one of its signatures, and how large its result can be.

use super::{Cost, Entries, Estimator, Size};
use crate::ast::{Call, Expr};
use crate::cost::{CHECK, LIST, REGEX, TRAVERSAL};
use crate::decls::Overload;
use crate::types::Type;

type Estimate = (Cost, Option<Size>);

impl Estimator<'_> {
    /// The cost with that of the arguments, and the size of the result where it is known.
    pub(super) fn function(&mut self, e: &Expr, call: &Call, overload: &Overload, costs: &[Cost]) -> Estimate {
        let args = costs.iter().fold(Cost::default(), |s, c| s.add(*c));
        if let Some((cost, size)) = self.library(call, overload) {
            return (cost.add(args), size);
        }
        match (call.function.as_str(), costs) {
            ("_&&_" | "_||_", [left, right]) => (Cost { min: left.min, max: left.add(*right).max }, None),
            ("_?_:_", [condition, yes, no]) => {
                let size = self.size_or_unknown(&call.args[1]).union(self.size_or_unknown(&call.args[2]));
                let entries = union(self.entry_sizes(&call.args[1]), self.entry_sizes(&call.args[2]));
                self.note(e, None, entries);
                (condition.add(yes.union(*no)), Some(size))
            }
            _ => {
                let (cost, size) = self.standard(e, call, overload);
                (cost.add(args), size)
            }
        }
    }

    /// The functions of the language itself.
    fn standard(&mut self, e: &Expr, call: &Call, overload: &Overload) -> Estimate {
        let first = |s: &mut Self| call.args.first().map_or(Size::UNKNOWN, |a| s.size_or_unknown(a));
        let target = |s: &mut Self| call.target.as_ref().map_or(Size::UNKNOWN, |a| s.size_or_unknown(a));
        let by_text = matches!(overload.args.first(), Some(Type::String | Type::Bytes));
        match call.function.as_str() {
            "format" => {
                let (t, a) = (target(self), first(self));
                (t.by(TRAVERSAL), Some(t.add(a)))
            }
            "bytes" if matches!(overload.args[0], Type::String) => {
                let s = first(self);
                (s.by(TRAVERSAL), Some(Size { min: s.min, max: s.max.saturating_mul(4) }))
            }
            "string" if matches!(overload.args[0], Type::Bytes) => {
                let s = first(self);
                (s.by(TRAVERSAL), Some(Size { min: s.min / 4, max: s.max }))
            }
            "strings.quote" => {
                let s = first(self);
                let size = Size { min: s.min.saturating_add(2), max: s.max.saturating_mul(2).saturating_add(2) };
                (s.by(TRAVERSAL), Some(size))
            }
            "startsWith" | "endsWith" => (first(self).by(TRAVERSAL), None),
            "@in" if matches!(overload.args[1], Type::List(_)) => (self.size_or_unknown(&call.args[1]), None),
            "matches" => {
                let (text, regex) = match &call.target {
                    Some(_) => (target(self), first(self)),
                    None => return (Cost::fixed(1), None),
                };
                (text.add(Size::fixed(1)).by(TRAVERSAL).times(regex.by(REGEX)), None)
            }
            "contains" => (target(self).by(TRAVERSAL).times(first(self).by(TRAVERSAL)), None),
            "_+_" if by_text || matches!(overload.args[0], Type::List(_)) => {
                let size = first(self).add(self.size_or_unknown(&call.args[1]));
                let entries = union(self.entry_sizes(&call.args[0]), self.entry_sizes(&call.args[1]));
                self.note(e, None, entries);
                (if by_text { size.by(TRAVERSAL) } else { Cost::fixed(1) }, Some(size))
            }
            "_==_" | "_!=_" => (self.comparison(call), None),
            "_<_" | "_<=_" | "_>_" | "_>=_" if by_text => (self.comparison(call), None),
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let product = first(self).times(self.size_or_unknown(&call.args[1]));
                let factor = if call.function == "sets.equivalent" { 2.0 } else { 1.0 };
                (product.by(factor).add(Cost::fixed(1)), None)
            }
            "slice" | "lists.range" | "reverse" | "flatten" | "distinct" | "sort" | "@sortByAssociatedKeys" => {
                self.list_call(call, overload)
            }
            _ => (Cost::fixed(1), None),
        }
    }

    /// The functions that make lists of lists.
    fn list_call(&mut self, call: &Call, overload: &Overload) -> Estimate {
        let literal = |at: usize, otherwise: u64| match call.args.get(at).map(|a| &a.kind) {
            Some(crate::ast::Kind::Int(n)) => u64::try_from(*n).unwrap_or(otherwise),
            _ => otherwise,
        };
        let target = call.target.as_ref().map_or(Size::UNKNOWN, |a| self.size_or_unknown(a));
        let texts = |ty: &Type| matches!(ty, Type::List(item) if matches!(**item, Type::String | Type::Bytes));
        let compared = |texts: bool| if texts { 2.0 + TRAVERSAL } else { 2.0 };
        let (factor, size) = match call.function.as_str() {
            "slice" => (1.0, Size::fixed(literal(1, target.max).wrapping_sub(literal(0, 0)))),
            "lists.range" => (1.0, Size::fixed(literal(0, u64::MAX))),
            "flatten" if !call.args.is_empty() => (literal(0, u64::MAX) as f64, target),
            "distinct" => (2.0, target.times(target)),
            "sort" => (compared(texts(&overload.args[0])), target.times(target)),
            "@sortByAssociatedKeys" => {
                let keys = call.args.first().map_or(Size::UNKNOWN, |a| self.size_or_unknown(a));
                (compared(texts(&overload.args[1])), keys.times(keys))
            }
            _ => (1.0, target),
        };
        (size.by(factor).add(Cost::fixed(1 + LIST)), Some(size))
    }

    fn comparison(&mut self, call: &Call) -> Cost {
        let (left, right) = (self.size_or_unknown(&call.args[0]), self.size_or_unknown(&call.args[1]));
        let max = left.max.min(right.max);
        Cost { min: u64::from(max > 0), max }.by(TRAVERSAL)
    }

    /// Whether two values of a library are compared, which are small whatever they were made from.
    fn same_library_values(&self, call: &Call) -> bool {
        let [left, right] = call.args.as_slice() else { return false };
        let (left, right) = (self.ty(left), self.ty(right));
        let small = |t: &Type| match t {
            Type::Type => true,
            Type::Opaque(name, _) => &**name != "optional_type" && &**name != "kubernetes.URL",
            _ => false,
        };
        small(left) && left.same(right)
    }

    /// The functions of Kubernetes' libraries.
    fn library(&mut self, call: &Call, overload: &Overload) -> Option<Estimate> {
        let one = Some((Cost::fixed(1), None));
        let target = call.target.as_ref();
        match call.function.as_str() {
            "_==_" => self.same_library_values(call).then_some((Cost::fixed(1), None)),
            "check" => Some((Cost::fixed(CHECK), None)),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                let cost = match self.item_size(target) {
                    Some(item) => self.size_or_unknown(target).times(item),
                    None => self.size_or_unknown(target).by(TRAVERSAL),
                };
                Some((cost, None))
            }
            "url" => Some((self.size_or_unknown(call.args.first()?).by(TRAVERSAL), None)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                let size = self.size_or_unknown(target?);
                Some((size.by(TRAVERSAL), Some(size)))
            }
            "replace" => Some(self.replace(target?, &call.args)),
            "split" => {
                let size = self.size_or_unknown(target?);
                let max = match call.args.get(1).map(|a| &a.kind) {
                    Some(crate::ast::Kind::Int(n)) => u64::try_from(*n).unwrap_or(size.max),
                    _ => size.max,
                };
                Some((size.by(2.0 * TRAVERSAL), Some(Size { min: 0, max })))
            }
            "join" => Some(self.join(target?, &call.args)),
            "find" | "findAll" => {
                let (text, regex) = (self.size_or_unknown(target?), self.size_or_unknown(call.args.first()?));
                let cost = text.add(Size::fixed(1)).by(TRAVERSAL).times(regex.by(REGEX));
                Some((cost, Some(Size { min: 0, max: text.max })))
            }
            "containsIP" | "containsCIDR" => {
                let size = Size { min: 4, max: 16 };
                let mut cost = size.add(size).by(TRAVERSAL);
                if call.function == "containsCIDR" {
                    cost = cost.add(size.by(TRAVERSAL)).add(Cost::fixed(1));
                }
                if matches!(overload.args[1], Type::String) {
                    cost = cost.add(self.size_or_unknown(call.args.first()?).by(TRAVERSAL));
                }
                Some((cost, None))
            }
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub" => one,
            _ => None,
        }
    }

    /// The cost of looking at one item of a list; `None` where the target is no list.
    fn item_size(&mut self, list: &Expr) -> Option<Cost> {
        let Type::List(item) = self.ty(list) else { return None };
        if !matches!(**item, Type::String | Type::Bytes) {
            return Some(Cost::fixed(1));
        }
        let path = self.path(list).map(|mut p| {
            p.push("@items".to_owned());
            p
        });
        let size = self.declared(path.as_deref()).unwrap_or(Size::UNKNOWN);
        Some(Cost::fixed(1).add(size.by(TRAVERSAL)))
    }

    fn replace(&mut self, target: &Expr, args: &[Expr]) -> Estimate {
        let size = self.size_or_unknown(target);
        let sizes: Vec<Size> = args.iter().map(|a| self.size_or_unknown(a)).collect();
        let cost = size.by(2.0 * TRAVERSAL);
        let [from, to, ..] = sizes[..] else { return (cost, None) };
        let up = |a: u64, b: u64| (a as f64 / b as f64).ceil() as u64;
        // Replacing nothing puts the replacement around every character.
        let (most, kept_max) = match from.min {
            0 => (size.max.saturating_add(1), size.max),
            min if to.max <= min => (0, size.max),
            min => (up(size.max, min), 0),
        };
        let (least, kept_min) = match from.max {
            0 => (size.min.saturating_add(1), size.min),
            max if max <= to.min => (0, size.min),
            max => (up(size.min, max), 0),
        };
        let count = Size { min: least, max: most };
        (cost, Some(count.times(to).add(Size { min: kept_min, max: kept_max })))
    }

    fn join(&mut self, target: &Expr, args: &[Expr]) -> Estimate {
        let list = self.size_or_unknown(target);
        let path = self.path(target).map(|mut p| {
            p.push("@items".to_owned());
            p
        });
        let item = self.declared(path.as_deref()).unwrap_or(Size::UNKNOWN);
        let mut size = if matches!(self.ty(target), Type::List(_)) { list.times(item) } else { Size::default() };
        if let Some(separator) = args.first() {
            let between = Size { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
            size = size.add(self.size_or_unknown(separator).times(between));
        }
        (size.by(TRAVERSAL), Some(size))
    }
}

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Entries { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) }),
        (a, b) => a.or(b),
    }
}
