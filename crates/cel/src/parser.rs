//! From source to tree, by recursive descent; macros are expanded on the way.
//!
//! Invariant: nesting, and with it the depth of the tree, is bounded, so that what walks the tree may recurse.

use crate::ast::{Ast, Call, Entry, Expr, Kind};
use crate::error::{CompileError, Issue};
use crate::lexer::{Spanned, Token, lex};
use crate::{library, macros};

/// Longest source, in characters.
const MAX_SOURCE: usize = 100_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 250;
/// Most nodes after macros were expanded: nested macros multiply what they are given.
const MAX_NODES: usize = 1_000_000;

const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                      BYTES, IDENTIFIER}";
/// How tightly operators bind.
const OR: u8 = 0;
const AND: u8 = 1;
const RELATION: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 4;

/// Words that are no identifiers.
pub const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Parsing stopped; why stands in the issues.
#[derive(Debug)]
pub(crate) struct Stop;

type Parsed<T = Expr> = Result<T, Stop>;

pub(crate) struct Parser {
    tokens: Vec<Spanned>,
    next: usize,
    ids: usize,
    depth: usize,
    issues: Vec<Issue>,
    /// Whether there is `cel.bind`.
    pub(crate) bindings: bool,
}

/// Parses an expression.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Ast, CompileError> {
    let chars: Vec<char> = source.chars().collect();
    let too_long = |size: usize| {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {MAX_SOURCE}");
        CompileError::new("", vec![Issue { at: 0, message }])
    };
    if chars.len() > MAX_SOURCE {
        return Err(too_long(chars.len()));
    }
    let (tokens, issues) = lex(&chars);
    let mut parser = Parser { tokens, next: 0, ids: 0, depth: 0, issues, bindings };
    let root = parser.whole();
    match root {
        Ok(root) if parser.issues.is_empty() => Ok(Ast { root, ids: parser.ids }),
        _ => Err(CompileError::new(source, parser.issues)),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn is(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(o) if *o == op)
    }

    fn advance(&mut self) -> Spanned {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, op: &str) -> bool {
        let found = self.is(op);
        if found {
            self.advance();
        }
        found
    }

    /// Notes a mistake and stops.
    pub(crate) fn fail<T>(&mut self, at: usize, message: impl Into<String>) -> Parsed<T> {
        self.issues.push(Issue { at, message: message.into() });
        Err(Stop)
    }

    fn unexpected<T>(&mut self, expecting: &str) -> Parsed<T> {
        self.note(expecting);
        Err(Stop)
    }

    /// Notes that another token should stand here.
    fn note(&mut self, expecting: &str) {
        let token = self.tokens[self.next].clone();
        // Stock says so when leaving the one token out would mend the expression.
        let last = matches!(self.tokens.get(self.next + 1).map(|t| &t.token), Some(Token::End));
        let what = if token.token != Token::End && last && expecting == "<EOF>" { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {what} input '{}' expecting {expecting}", token.text);
        self.issues.push(Issue { at: token.at, message });
    }

    fn expect(&mut self, op: &str) -> Parsed<usize> {
        let at = self.at();
        if self.take(op) { Ok(at) } else { self.unexpected(&format!("'{op}'")) }
    }

    pub(crate) fn node(&mut self, at: usize, kind: Kind) -> Expr {
        self.ids += 1;
        Expr { id: self.ids - 1, at, kind }
    }

    pub(crate) fn call(&mut self, at: usize, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let func = library::find(function);
        self.node(at, Kind::Call(Box::new(Call { function: function.to_owned(), target, args, func })))
    }

    pub(crate) fn ident(&mut self, at: usize, name: &str) -> Expr {
        self.node(at, Kind::Ident(name.to_owned()))
    }

    /// The same tree with ids of its own, for macros that use an argument twice.
    pub(crate) fn copy(&mut self, e: &Expr) -> Expr {
        let mut e = e.clone();
        self.renumber(&mut e);
        e
    }

    fn renumber(&mut self, e: &mut Expr) {
        e.id = self.ids;
        self.ids += 1;
        match &mut e.kind {
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call(call) => call.target.iter_mut().chain(&mut call.args).for_each(|e| self.renumber(e)),
            Kind::List { items, .. } => items.iter_mut().for_each(|e| self.renumber(e)),
            Kind::Map(entries) => entries.iter_mut().for_each(|e| {
                self.renumber(&mut e.key);
                self.renumber(&mut e.value);
            }),
            Kind::Struct { fields, .. } => fields.iter_mut().for_each(|(_, e, _)| self.renumber(e)),
            Kind::Fold(f) => {
                for e in [&mut f.range, &mut f.init, &mut f.condition, &mut f.step, &mut f.result] {
                    self.renumber(e);
                }
            }
            _ => {}
        }
    }

    fn whole(&mut self) -> Parsed {
        let e = self.expr()?;
        if *self.peek() == Token::End { Ok(e) } else { self.unexpected("<EOF>") }
    }

    /// Runs `f` one level deeper.
    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(self.at(), format!("expression recursion limit exceeded: {MAX_DEPTH}"));
        }
        if self.ids > MAX_NODES {
            return self.fail(self.at(), format!("expression node limit exceeded: {MAX_NODES}"));
        }
        let out = f(self);
        self.depth -= 1;
        out
    }

    pub(crate) fn expr(&mut self) -> Parsed {
        self.deeper(Self::conditional)
    }

    fn conditional(&mut self) -> Parsed {
        let condition = self.operators(OR)?;
        let at = self.at();
        if !self.take("?") {
            return Ok(condition);
        }
        let yes = self.operators(OR)?;
        self.expect(":")?;
        let no = self.expr()?;
        Ok(self.call(at, "_?_:_", None, vec![condition, yes, no]))
    }

    /// The binary operator that stands next: how tightly it binds, and its function.
    fn operator(&self) -> Option<(u8, &'static str)> {
        Some(match self.peek() {
            Token::Op("||") => (OR, "_||_"),
            Token::Op("&&") => (AND, "_&&_"),
            Token::Op("==") => (RELATION, "_==_"),
            Token::Op("!=") => (RELATION, "_!=_"),
            Token::Op("<") => (RELATION, "_<_"),
            Token::Op("<=") => (RELATION, "_<=_"),
            Token::Op(">") => (RELATION, "_>_"),
            Token::Op(">=") => (RELATION, "_>=_"),
            Token::Ident(word) if word == "in" => (RELATION, "@in"),
            Token::Op("+") => (SUM, "_+_"),
            Token::Op("-") => (SUM, "_-_"),
            Token::Op("*") => (PRODUCT, "_*_"),
            Token::Op("/") => (PRODUCT, "_/_"),
            Token::Op("%") => (PRODUCT, "_%_"),
            _ => return None,
        })
    }

    /// Operands joined by operators that bind at least as tightly as `level`.
    fn operators(&mut self, level: u8) -> Parsed {
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some((tightness, function)) = self.operator().filter(|(t, _)| *t >= level) {
            if tightness <= AND {
                left = self.logic(left, tightness, function)?;
                continue;
            }
            let at = self.advance().at;
            self.link(&mut chain)?;
            let right = self.operators(tightness + 1)?;
            left = self.call(at, function, None, vec![left, right]);
        }
        Ok(left)
    }

    /// A chain of `&&` or `||` as a balanced tree.
    fn logic(&mut self, first: Expr, tightness: u8, function: &str) -> Parsed {
        let mut terms = vec![Some(first)];
        let mut places = Vec::new();
        while self.operator().is_some_and(|(t, _)| t == tightness) {
            places.push(self.advance().at);
            terms.push(Some(self.operators(tightness + 1)?));
        }
        Ok(self.balance(function, &mut terms, &places))
    }

    fn balance(&mut self, function: &str, terms: &mut [Option<Expr>], places: &[usize]) -> Expr {
        if places.is_empty() {
            return terms[0].take().expect("each term is taken once");
        }
        let middle = places.len() / 2;
        let (before, after) = terms.split_at_mut(middle + 1);
        let left = self.balance(function, before, &places[..middle]);
        let right = self.balance(function, after, &places[middle + 1..]);
        self.call(places[middle], function, None, vec![left, right])
    }

    /// Counts a link of a chain that makes the tree one level deeper.
    fn link(&mut self, chain: &mut usize) -> Parsed<()> {
        *chain += 1;
        if self.depth + *chain > MAX_DEPTH {
            return self.fail(self.at(), format!("expression recursion limit exceeded: {MAX_DEPTH}"));
        }
        Ok(())
    }

    fn unary(&mut self) -> Parsed {
        let (at, op) = (self.at(), self.peek().clone());
        let Token::Op(sign @ ("!" | "-")) = op else { return self.member() };
        let mut count = 0;
        while self.take(sign) {
            count += 1;
        }
        // A minus before a number is part of the number.
        if sign == "-" && count == 1 && matches!(self.peek(), Token::Int(_) | Token::Double(_) | Token::MinInt) {
            let negative = match self.advance().token {
                Token::Int(i) => Kind::Int(-i),
                Token::Double(d) => Kind::Double(-d),
                _ => Kind::Int(i64::MIN),
            };
            let literal = self.node(at, negative);
            return self.suffixes(literal);
        }
        let inner = self.deeper(Self::member)?;
        let function = if sign == "!" { "!_" } else { "-_" };
        // Two signs cancel out.
        if count % 2 == 0 { Ok(inner) } else { Ok(self.call(at, function, None, vec![inner])) }
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut e: Expr) -> Parsed {
        let mut chain = 0;
        loop {
            let at = self.at();
            if self.take(".") {
                self.link(&mut chain)?;
                let optional = self.take("?");
                let (name_at, name) = self.name()?;
                let open = self.at();
                if !optional && self.take("(") {
                    let args = self.args(")")?;
                    e = macros::member(self, open, e, &name, args)?;
                } else if optional {
                    let key = self.node(name_at, Kind::Text(name.into()));
                    e = self.call(at, "_?._", None, vec![e, key]);
                } else {
                    e = self.node(at, Kind::Select { operand: Box::new(e), field: name, test: false });
                }
            } else if self.take("[") {
                self.link(&mut chain)?;
                let function = if self.take("?") { "_[?_]" } else { "_[_]" };
                let index = self.expr()?;
                self.expect("]")?;
                e = self.call(at, function, None, vec![e, index]);
            } else {
                return Ok(e);
            }
        }
    }

    fn name(&mut self) -> Parsed<(usize, String)> {
        match self.peek().clone() {
            Token::Ident(name) if !["in", "true", "false", "null"].contains(&name.as_str()) => {
                Ok((self.advance().at, name))
            }
            // Behind a dot stock's reader looks two tokens ahead.
            Token::End if matches!(self.next.checked_sub(1).map(|i| &self.tokens[i].token), Some(Token::Op("."))) => {
                self.fail(self.at(), "Syntax error: no viable alternative at input '.'")
            }
            _ => self.unexpected("IDENTIFIER"),
        }
    }

    fn args(&mut self, close: &str) -> Parsed<Vec<Expr>> {
        let mut out = Vec::new();
        if self.take(close) {
            return Ok(out);
        }
        if close == ")" && *self.peek() == Token::End {
            return self.unexpected(&STARTS.replacen("'(', ", "'(', ')', ", 1));
        }
        loop {
            out.push(self.expr()?);
            if self.take(close) {
                return Ok(out);
            }
            self.expect(",")?;
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let kind = match self.peek().clone() {
            Token::Int(i) => Kind::Int(i),
            Token::Uint(u) => Kind::Uint(u),
            Token::Double(d) => Kind::Double(d),
            Token::Text(text) => Kind::Text(text),
            Token::Bytes(bytes) => Kind::Bytes(bytes),
            Token::MinInt => return self.fail(at, "invalid int literal"),
            Token::Ident(word) => match word.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "null" => Kind::Null,
                _ => return self.identifier(at),
            },
            Token::Op("(") => {
                self.advance();
                let e = self.expr()?;
                self.expect(")")?;
                return Ok(e);
            }
            Token::Op("[") => return self.list(at),
            Token::Op("{") => return self.map(at),
            Token::Op(".") => {
                self.advance();
                return self.identifier(at);
            }
            // An operator without what stands before it: what stands behind it is looked at all the same.
            _ if self.operator().is_some() => {
                self.note(STARTS);
                return Ok(self.node(at, Kind::Null));
            }
            _ => return self.unexpected(STARTS),
        };
        self.advance();
        Ok(self.node(at, kind))
    }

    fn identifier(&mut self, at: usize) -> Parsed {
        let (_, name) = self.name()?;
        let open = self.at();
        if self.take("(") {
            let args = self.args(")")?;
            return macros::global(self, open, &name, args);
        }
        if let Some(literal) = self.structure(&name)? {
            return Ok(literal);
        }
        if RESERVED.contains(&name.as_str()) {
            return self.fail(at, format!("reserved identifier: {name}"));
        }
        Ok(self.ident(at, &name))
    }

    /// `Name.Inner{field: value}`, if the dotted name ends at a brace.
    fn structure(&mut self, first: &str) -> Parsed<Option<Expr>> {
        let mut name = first.to_owned();
        let mut ahead = self.next;
        let token = |p: &Self, i: usize| p.tokens.get(i).map_or(Token::End, |t| t.token.clone());
        while let (Token::Op("."), Token::Ident(part)) = (token(self, ahead), token(self, ahead + 1)) {
            name = format!("{name}.{part}");
            ahead += 2;
        }
        if token(self, ahead) != Token::Op("{") {
            return Ok(None);
        }
        self.next = ahead;
        let at = self.advance().at;
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let (_, field) = self.name()?;
            self.expect(":")?;
            fields.push((field, self.expr()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Some(self.node(at, Kind::Struct { name, fields })))
    }

    fn list(&mut self, at: usize) -> Parsed {
        self.advance();
        let (mut items, mut optional) = (Vec::new(), Vec::new());
        while !self.take("]") {
            optional.push(self.take("?"));
            items.push(self.expr()?);
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.node(at, Kind::List { items, optional }))
    }

    fn map(&mut self, at: usize) -> Parsed {
        self.advance();
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.node(at, Kind::Map(entries)))
    }
}
