//! Questions to a person; never to a program.

use std::io::{self, IsTerminal, Write};

use mesh_node::api::{ApiError, code};

use crate::commands::Context;

/// Asks, and returns whether the answer is yes. Enter means no. Without a person to ask (no terminal,
/// `--no-input`, `--yes`) the answer is yes, and stderr says what it was given to.
///
/// # Errors
/// `INTERNAL` when the terminal cannot be read.
pub fn agrees(question: &str, context: &Context) -> Result<bool, ApiError> {
    let globals = &context.globals;
    let somebody = io::stdin().is_terminal() && io::stderr().is_terminal();
    if globals.yes || globals.no_input || !somebody {
        context.out.note(format_args!("{question} yes"));
        return Ok(true);
    }
    let failed = |error: io::Error| ApiError::new(&code::INTERNAL, error);
    write!(io::stderr(), "{question} [y/N] ").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_and_anything_unclear_mean_no() {
        for (answer, yes) in [("\n", false), ("Y\n", true), ("yes\n", true), ("n\n", false), ("ny\n", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
