//! What is wrong with the clauses of a text that is formatted with a list that stands beside it.

use crate::types::Type;

/// A mistake: at which argument, or at the call itself, and what.
pub(crate) type Mistake = (Option<usize>, String);

/// The first mistake in `text.format([args])`, as far as types tell.
pub(crate) fn mistake(text: &str, args: &[Type]) -> Option<Mistake> {
    let mut rest = text.chars().peekable();
    let mut next = 0;
    while let Some(c) = rest.next() {
        if c != '%' || rest.next_if_eq(&'%').is_some() {
            continue;
        }
        let Some(arg) = args.get(next) else { return Some((None, format!("index {next} out of range"))) };
        if rest.next_if_eq(&'.').is_some() {
            while rest.next_if(char::is_ascii_digit).is_some() {}
        }
        let parse = |why: String| Some((None, format!("could not parse formatting clause: {why}")));
        let Some(clause) = rest.next() else { return parse("unexpected end of string".to_owned()) };
        let Some((name, wanted, fits)) = clause_of(clause) else {
            return parse(format!("unrecognized formatting clause \"{clause}\""));
        };
        if !arg.is_dyn() && !matches!(arg, Type::Error | Type::Param(_)) && !fits(arg) {
            let given = arg.to_string();
            let given = given.split('(').next().unwrap_or_default();
            let why = format!("error during formatting: {name} clause can only be used on {wanted}, was given {given}");
            return Some((Some(next), why));
        }
        next += 1;
    }
    let (seen, given) = (next, args.len());
    let why = format!("too many arguments supplied to string.format (expected {seen}, got {given})");
    (given > seen).then_some((None, why))
}

/// What a clause is called, what it is for, and whether a type is that.
fn clause_of(clause: char) -> Option<(&'static str, &'static str, fn(&Type) -> bool)> {
    let whole: fn(&Type) -> bool = |t| matches!(t, Type::Int | Type::Uint);
    let broken: fn(&Type) -> bool = |t| matches!(t, Type::Double | Type::String);
    Some(match clause {
        's' => ("string", "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps", |t| {
            !matches!(t, Type::Opaque(..) | Type::Object(_) | Type::Struct(_))
        }),
        'd' => ("decimal", "integers", whole),
        'f' => ("fixed-point", "doubles", broken),
        'e' => ("scientific", "doubles", broken),
        'b' => ("binary", "integers and bools", |t| matches!(t, Type::Int | Type::Uint | Type::Bool)),
        'x' | 'X' => ("hex", "integers, byte buffers, and strings", |t| {
            matches!(t, Type::Int | Type::Uint | Type::String | Type::Bytes)
        }),
        'o' => ("octal", "integers", whole),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_held_against_their_arguments() {
        let table: &[(&str, &[Type], Option<&str>)] = &[
            ("%s %d %% %.2f", &[Type::String, Type::Int, Type::Double], None),
            ("%s", &[], Some("index 0 out of range")),
            ("%d", &[Type::Dyn], None),
            (
                "%d",
                &[Type::String],
                Some("error during formatting: decimal clause can only be used on integers, was given string"),
            ),
            ("%z", &[Type::Int], Some("could not parse formatting clause: unrecognized formatting clause \"z\"")),
            ("a", &[Type::Int], Some("too many arguments supplied to string.format (expected 0, got 1)")),
        ];
        for (text, args, want) in table {
            assert_eq!(mistake(text, args).map(|m| m.1).as_deref(), *want, "{text}");
        }
    }
}
