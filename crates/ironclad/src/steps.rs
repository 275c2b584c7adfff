//! Progress for the person at the terminal: steps as they begin and end, on stderr.
//!
//! The server runs in the background and tells its steps through a pipe; whoever started it prints them.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// One remark about progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Remark {
    /// A step begins: `Starting the API server`.
    Begin(String),
    /// It ended well: `API server ready`, and how many milliseconds it took.
    Done(String, u64),
    /// Something to know.
    Warn(String),
    /// Everything is ready.
    Ready,
    /// It failed; nothing follows.
    Failed(Failure),
}

/// Where remarks go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Steps {
    to: Arc<Mutex<Target>>,
}

enum Target {
    Terminal(Style),
    Pipe(File),
    Nowhere,
}

#[derive(Clone, Copy)]
struct Style {
    live: bool,
    colour: bool,
}

impl Style {
    fn of_stderr() -> Self {
        let live = std::io::stderr().is_terminal();
        Self { live, colour: live && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Steps {
    pub(crate) fn terminal() -> Self {
        Self { to: Arc::new(Mutex::new(Target::Terminal(Style::of_stderr()))) }
    }

    pub(crate) fn pipe(file: File) -> Self {
        Self { to: Arc::new(Mutex::new(Target::Pipe(file))) }
    }

    /// Nobody is told.
    pub(crate) fn nowhere() -> Self {
        Self { to: Arc::new(Mutex::new(Target::Nowhere)) }
    }

    /// Begins a step; the answer ends it.
    pub(crate) fn begin(&self, what: &str) -> Step {
        self.tell(Remark::Begin(what.to_owned()));
        Step { steps: self.clone(), began: Instant::now() }
    }

    pub(crate) fn tell(&self, remark: Remark) {
        let mut to = self.to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let over = matches!(remark, Remark::Ready | Remark::Failed(_));
        match &mut *to {
            Target::Terminal(style) => print(*style, &remark),
            Target::Pipe(file) => {
                let line = serde_json::to_string(&remark).unwrap_or_default();
                // Nobody listens any more: whoever started the server went away, the server goes on.
                if writeln!(file, "{line}").is_err() || over {
                    *to = Target::Nowhere;
                }
            }
            Target::Nowhere => {}
        }
    }
}

/// A step that has begun.
pub(crate) struct Step {
    steps: Steps,
    began: Instant,
}

impl Step {
    /// The step ended well.
    pub(crate) fn done(self, what: impl Into<String>) {
        self.steps.tell(Remark::Done(what.into(), self.began.elapsed().as_millis() as u64));
    }
}

/// Prints what comes through the pipe until the server is ready, failed or gone.
pub(crate) fn follow(pipe: File) -> Result<(), Option<Failure>> {
    let style = Style::of_stderr();
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Remark::Ready) => return Ok(()),
            Ok(Remark::Failed(failure)) => return Err(Some(failure)),
            Ok(remark) => print(style, &remark),
            Err(_) => eprintln!("{line}"),
        }
    }
    Err(None)
}

fn print(style: Style, remark: &Remark) {
    let mut err = std::io::stderr().lock();
    // A terminal that is gone is no reason to stop.
    let _ = match remark {
        Remark::Begin(what) if style.live => write!(err, " {} {what} ...", style.paint("36", "•")),
        Remark::Begin(what) => writeln!(err, " • {what}"),
        Remark::Done(what, millis) => {
            let again = if style.live { "\r\x1b[K" } else { "" };
            let seconds = *millis as f64 / 1000.0;
            writeln!(err, "{again} {} {what} ({seconds:.1}s)", style.paint("32", "✓"))
        }
        Remark::Warn(what) => {
            let again = if style.live { "\r\x1b[K" } else { "" };
            writeln!(err, "{again} {} {what}", style.paint("33", "!"))
        }
        Remark::Ready => Ok(()),
        Remark::Failed(failure) => {
            drop(err);
            complain(failure);
            return;
        }
    };
    let _ = err.flush();
}

/// Shows a failure.
pub(crate) fn complain(failure: &Failure) {
    let style = Style::of_stderr();
    let again = if style.live { "\r\x1b[K" } else { "" };
    eprintln!("{again} {} {}: {}", style.paint("31", "✗"), failure.id.name(), failure.cause);
    if !failure.help.is_empty() {
        eprintln!("   {}", failure.help);
    }
}
