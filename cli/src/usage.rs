//! Wrong command lines, told in the same shape as every other error.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use mesh_node::api::{ApiError, code};

use crate::output::print_error;

/// Prints help or version where that was asked for, else the error, and returns the exit code.
pub fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe is no failure: the reader has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(code::USAGE.exit);
    }
    let error = translate(error);
    let by_environment = std::env::var("MESH_OUTPUT").is_ok_and(|form| form == "json")
        || std::env::var("MESH_JSON").is_ok_and(|flag| !matches!(&*flag, "" | "0" | "false" | "no" | "off"));
    print_error(&error, by_environment || wants_json(std::env::args()));
    ExitCode::from(error.exit)
}

// The command line did not parse, so that its words are all there is to go by.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.take_while(|arg| arg != "--").collect();
    let separate =
        args.windows(2).any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json");
    separate || args.iter().any(|arg| matches!(arg.as_str(), "--json" | "-ojson" | "--output=json"))
}

fn translate(error: &clap::Error) -> ApiError {
    let text = error.to_string();
    let cause = text.split("\n\n").next().unwrap_or_default();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    let cause = cause.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut told = ApiError::new(&code::USAGE, cause);
    for (kind, value) in error.context() {
        match (kind, value) {
            (
                ContextKind::SuggestedSubcommand | ContextKind::SuggestedArg | ContextKind::SuggestedValue,
                value,
            ) => {
                for word in words(value) {
                    told = told.help(format!("did you mean '{word}'?"));
                }
            }
            (ContextKind::Usage, ContextValue::StyledStr(usage)) => {
                let usage = anstream::adapter::strip_str(&usage.to_string()).to_string();
                told = told.fact("usage", usage.trim_start_matches("Usage:").trim());
            }
            _ => {}
        }
    }
    // The short form of --output, where some look for the file that --out names.
    let is_format = told.message.contains("'--output <");
    if is_format && error.kind() == ErrorKind::InvalidValue {
        told = told.help("for a file: --out FILE");
    }
    if told.help.is_empty() { told.help("add --help for options and examples") } else { told }
}

fn words(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_typo_gets_a_suggestion() {
        for (line, help) in [
            (&["meshctl", "statsu"][..], "did you mean 'status'?"),
            (&["meshctl", "plugin", "instal"], "did you mean 'install'?"),
            (&["meshctl", "peers", "--jsno"], "did you mean '--json'?"),
        ] {
            let error = translate(&Cli::try_parse_from(line).unwrap_err());
            assert_eq!((error.code.as_str(), error.exit), ("MESH-C100", 2));
            assert!(error.help.iter().any(|line| line == help), "{:?}", error.help);
        }
    }

    #[test]
    fn json_is_noticed_on_a_line_that_does_not_parse() {
        let wants = |line: &str| wants_json(line.split(' ').map(str::to_owned));
        assert!(
            wants("meshctl perrs --json") && wants("meshctl -o json x") && wants("meshctl --output=json x")
        );
        assert!(!wants("meshctl send bob -- --json"));
    }
}
