//! What can be wrong with an expression, worded as the stock server words it.

use crate::library::authorizer::Check;
use std::fmt;

/// One mistake in the source of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Offset in characters.
    pub(crate) at: usize,
    /// What is wrong.
    pub message: String,
}

/// Why an expression does not compile; shown with the line and a mark below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    source: String,
    /// Every mistake, in the order of the source.
    pub issues: Vec<Issue>,
}

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|i| i.at);
        Self { source: source.to_owned(), issues }
    }
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, issue) in self.issues.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            let (mut line, mut column) = (0, 0);
            for c in self.source.chars().take(issue.at) {
                if c == '\n' {
                    (line, column) = (line + 1, 0);
                } else {
                    column += 1;
                }
            }
            // The end of nothing stands before the first column.
            let shown = if self.source.is_empty() { 0 } else { column + 1 };
            write!(f, "ERROR: <input>:{}:{shown}: {}", line + 1, issue.message)?;
            if let Some(text) = self.source.split('\n').nth(line).filter(|_| !self.source.is_empty()) {
                write!(f, "\n | {}\n | {}^", text.replace('\t', " "), ".".repeat(column))?;
            }
        }
        Ok(())
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The expression failed: a missing key, a division by zero, an overflow.
    #[error("{0}")]
    Eval(String),
    /// The budget was used up.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    /// The decision of an authorization check is needed: answer it in the activation and evaluate again.
    #[error("authorization check is not answered yet")]
    Pending(Box<Check>),
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Eval(message.into())
    }

    pub(crate) fn overload() -> Self {
        Self::new("no such overload")
    }

    pub(crate) fn key(key: impl fmt::Display) -> Self {
        Self::Eval(format!("no such key: {key}"))
    }

    /// Whether no other operand can make up for it.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Eval(_))
    }
}
