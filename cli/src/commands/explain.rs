//! `meshctl explain`: what an error code means, offline.

use clap::Args;
use mesh_node::api::{ApiError, Code, code};
use serde::Serialize;

use super::Context;
use crate::output::human::{BOLD, styled};
use crate::output::{Column, Rows, Show, View};

/// What an error code means.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl explain MESH-N101
  meshctl explain p107                    any case, with or without the prefix
  meshctl explain                         all codes")]
pub struct Explain {
    /// The code, as printed in an error; all codes when absent.
    code: Option<String>,
}

/// One code with its explanation.
#[derive(Debug, Serialize)]
struct Explanation {
    code: &'static str,
    exit: u8,
    title: &'static str,
    text: &'static str,
}

impl Explain {
    /// Looks it up and prints it.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let Some(wanted) = self.code else {
            return context
                .out
                .print(None, &code::ALL.iter().map(|code| Explanation::of(code)).collect::<Vec<_>>());
        };
        let Some(found) = code::find(&wanted) else {
            let message = format!("no error has the code '{wanted}'");
            return Err(ApiError::new(&code::NO_SUCH_CODE, message).help("meshctl explain"));
        };
        context.out.print(None, &Explanation::of(found))
    }
}

impl Explanation {
    fn of(code: &Code) -> Explanation {
        Explanation { code: code.id, exit: code.exit, title: code.title, text: code.text }
    }
}

impl Show for Explanation {
    const SCHEMA: &'static str = "explanation";

    fn view(&self) -> View {
        let head = styled(BOLD, format!("{}: {}", self.code, self.title));
        View::Text(format!("{head}\n\n{}\n\nThe exit code is {}.\n", self.text, self.exit))
    }

    fn names(&self) -> Vec<String> {
        vec![self.code.to_owned()]
    }
}

impl Show for Vec<Explanation> {
    const SCHEMA: &'static str = "explanations";

    fn view(&self) -> View {
        let columns = [
            Column::text("code", "CODE", 0),
            Column::number("exit", "EXIT", 1),
            Column::text("title", "TITLE", 0),
        ];
        let mut rows = Rows::new(&columns, "no code is known");
        for one in self {
            rows.push([one.code.to_owned(), one.exit.to_string(), one.title.to_owned()]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|one| one.code.to_owned()).collect()
    }
}
