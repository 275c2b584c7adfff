//! Flags of the API server and of controllers that last: what was given once counts at every later start, until
//! something else is given or it is forgotten.
//!
//! Invariant: what is given now always wins, over kept values of the same flag and over kept flags that exclude it.

use crate::cli::api::{ApiFlags, ControllerFlags};
use crate::cli::{Cli, Flags, Server};
use crate::cluster::Cluster;
use crate::failure::{Failure, Id, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

const ALL: &str = "all";

/// Reads the command line, and for a server also the flags that its cluster keeps.
pub(crate) fn read() -> Result<Cli> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let command = Cli::command();
    let matches = command.clone().get_matches_from(&given);
    let server = match matches.subcommand() {
        Some(("server", server)) => server,
        Some(("up", up)) => {
            let mut cli = of(&matches)?;
            cli.keep(explicit(up));
            return Ok(cli);
        }
        _ => return of(&matches),
    };
    let dir: Option<&PathBuf> = server.get_one("data_dir");
    let known = dir.map(|dir| Cluster::load(dir)).transpose()?.flatten().map(|c| c.flags).unwrap_or_default();
    let now = explicit(server);
    let forgotten: Vec<String> = server.get_many("forget").into_iter().flatten().cloned().collect();
    let flags = merged(&known, &now, &forgotten);
    let more = flags.iter().filter(|(name, _)| !now.contains_key(*name));
    let more = more.flat_map(|(name, values)| values.iter().map(move |v| format!("--{name}={v}").into()));
    let all = given.into_iter().chain(more);
    let matches = command.try_get_matches_from(all).map_err(|error| {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let cause = format!("the flags that the cluster keeps ({}) do not go with these: {error}", names.join(", "));
        Failure::new(Id::Internal, cause, "Say --forget FLAG (or --forget all) to start without a kept one.")
    })?;
    let mut cli = of(&matches)?;
    cli.keep(flags);
    Ok(cli)
}

fn of(matches: &ArgMatches) -> Result<Cli> {
    Cli::from_arg_matches(matches).map_err(|e| Failure::internal("cannot read the command line", e))
}

/// The flags that last.
fn lasting() -> Command {
    ControllerFlags::augment_args(ApiFlags::augment_args(Command::new("lasting")))
}

/// Checks the name of a flag that lasts.
pub(crate) fn name(text: &str) -> std::result::Result<String, String> {
    let text = text.trim_start_matches("--");
    let command = lasting();
    let known = text == ALL || command.get_arguments().any(|a| a.get_long() == Some(text));
    if known { Ok(text.to_owned()) } else { Err(format!("there is no lasting flag --{text}")) }
}

/// What was given on the command line, with relative paths made whole: they mean what they meant where they were given.
pub(crate) fn explicit(matches: &ArgMatches) -> Flags {
    let mut out = Flags::new();
    for arg in lasting().get_arguments() {
        let id = arg.get_id().as_str();
        let Some(long) = arg.get_long() else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        let values = values.map(|v| if is_path(arg) { whole(v.into()) } else { v.to_string_lossy().into_owned() });
        out.insert(long.to_owned(), values.collect());
    }
    out
}

/// The flags of this process with their values, given or not, as `/flagz` shows them; `kept` are those of its cluster.
pub(crate) fn in_force(given: impl IntoIterator<Item = OsString>, kept: &Flags) -> BTreeMap<String, String> {
    let command = Cli::command();
    let mut all: BTreeMap<String, String> =
        kept.iter().map(|(name, values)| (name.clone(), values.join(","))).collect();
    // A program that has this one in it has a command line of its own.
    let Ok(matches) = command.clone().try_get_matches_from(given) else { return all };
    let Some((name, matches)) = matches.subcommand() else { return all };
    for arg in command.find_subcommand(name).into_iter().flat_map(Command::get_arguments) {
        let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) else { continue };
        let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        let values: Vec<_> = values.map(|v| v.to_string_lossy()).collect();
        if !values.is_empty() || !all.contains_key(long) {
            all.insert(long.to_owned(), values.join(","));
        }
    }
    all
}

fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

fn whole(path: PathBuf) -> String {
    if path.as_os_str() == "-" {
        return "-".to_owned();
    }
    let absolute = std::path::absolute(&path).unwrap_or(path);
    absolute.to_string_lossy().into_owned()
}

/// What counts from now on.
fn merged(known: &Flags, now: &Flags, forgotten: &[String]) -> Flags {
    let command = lasting();
    let excluded: Vec<&str> = command
        .get_arguments()
        .flat_map(|a| command.get_arg_conflicts_with(a).into_iter().map(move |b| (a, b)))
        .filter_map(|(a, b)| Some((a.get_long()?, b.get_long()?)))
        .flat_map(|(a, b)| [(a, b), (b, a)])
        .filter(|(a, b)| now.contains_key(*a) && !now.contains_key(*b))
        .map(|(_, b)| b)
        .collect();
    let stays = |name: &String| !forgotten.iter().any(|f| f == ALL || f == name) && !excluded.contains(&name.as_str());
    let mut out: Flags = known.iter().filter(|(name, _)| stays(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    out.extend(now.iter().map(|(n, v)| (n.clone(), v.clone())));
    out
}

/// A failure of a start, with a word about flags that nobody gave this time.
pub(crate) fn explained(mut failure: Failure, server: &Server) -> Failure {
    if !server.kept.is_empty() {
        let all: Vec<String> = server.kept.iter().map(|(name, values)| shown(name, values)).collect();
        let space = if failure.help.is_empty() { "" } else { " " };
        failure.help += &format!("{space}Its flags are {}; leave out a kept one with --forget FLAG.", all.join(" "));
    }
    failure
}

/// What was given to `up` although the cluster runs without it.
pub(crate) fn ignored(given: &Flags, running: &Flags) -> Vec<String> {
    given.iter().filter(|(name, values)| running.get(*name) != Some(values)).map(|(n, v)| shown(n, v)).collect()
}

/// One flag as it is typed.
pub(crate) fn shown(name: &str, values: &[String]) -> String {
    values.iter().map(|v| format!("--{name}={v}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &[(&str, &str)]) -> Flags {
        list.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
    }

    fn parsed(args: &[&str]) -> Flags {
        let args = ["ironclad", "server"].iter().chain(args);
        let matches = Cli::command().try_get_matches_from(args).unwrap();
        explicit(matches.subcommand().unwrap().1)
    }

    #[test]
    fn flags_in_force_are_those_of_the_process_and_of_its_cluster() {
        let args = ["ironclad", "apiserver", "--data-dir=/x", "--profiling=false"].map(OsString::from);
        let found = in_force(args, &flags(&[("goaway-chance", "0.01")]));
        let of = |name: &str| found.get(name).map(String::as_str);
        assert_eq!((of("data-dir"), of("profiling"), of("goaway-chance")), (Some("/x"), Some("false"), Some("0.01")));
        assert_eq!((of("help"), of("audit-log-path")), (None, Some("")));
    }

    #[test]
    fn only_what_is_given_is_kept_and_paths_are_whole() {
        assert_eq!(parsed(&["--name", "a", "--api-port", "7"]), Flags::new(), "the layout is kept elsewhere");
        let kept = parsed(&[
            "--audit-policy-file",
            "p.yaml",
            "--audit-log-path=-",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth",
        ]);
        let here = std::env::current_dir().unwrap().join("p.yaml");
        assert_eq!(kept["audit-policy-file"], [here.to_str().unwrap()]);
        assert_eq!(kept["audit-log-path"], ["-"]);
        assert_eq!(kept["authorization-mode"], ["Node", "RBAC"]);
        assert_eq!(kept["anonymous-auth"], ["true"]);
        assert_eq!(kept.len(), 4);
    }

    #[test]
    fn what_is_given_now_wins() {
        let known = flags(&[("authorization-mode", "RBAC"), ("audit-log-path", "/a"), ("anonymous-auth", "false")]);
        let again = merged(&known, &Flags::new(), &[]);
        assert_eq!(again, known, "nothing given, nothing lost");
        let other = merged(&known, &flags(&[("audit-log-path", "/b")]), &[]);
        assert_eq!(other["audit-log-path"], ["/b"]);
        let config = merged(&known, &flags(&[("authorization-config", "/c")]), &[]);
        assert!(!config.contains_key("authorization-mode"), "they exclude each other: {config:?}");
        let back = merged(&config, &flags(&[("authorization-mode", "Node")]), &[]);
        assert!(!back.contains_key("authorization-config"), "{back:?}");
        assert_eq!(merged(&known, &Flags::new(), &["anonymous-auth".to_owned()]).len(), 2);
        assert_eq!(merged(&known, &Flags::new(), &["all".to_owned()]), Flags::new());
    }

    #[test]
    fn flags_that_a_running_cluster_does_not_have_are_told() {
        let running = flags(&[("a", "1"), ("b", "2")]);
        assert!(ignored(&flags(&[("a", "1")]), &running).is_empty());
        assert_eq!(ignored(&flags(&[("a", "2"), ("c", "3")]), &running), ["--a=2", "--c=3"]);
    }

    #[test]
    fn only_lasting_flags_can_be_forgotten() {
        assert_eq!(name("--audit-log-path").as_deref(), Ok("audit-log-path"));
        assert_eq!(name("all").as_deref(), Ok("all"));
        assert!(name("api-port").is_err());
    }
}
