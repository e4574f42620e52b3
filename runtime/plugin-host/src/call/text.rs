//! Arguments as text, in WAVE, the component model's own notation for values.

use std::ops::Range;

use wasmtime::component::wasm_wave::parser::{Parser, ParserError};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::DisplayType;
use wasmtime::component::{Type, Val};

use super::CallError;
use crate::settings::clip;

/// A function and its arguments as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `decide`, or with its interface `mesh:routing/policy#decide`.
    pub function: String,
    /// One value for each parameter, in WAVE; `name: value` names the parameter as well.
    pub args: Vec<String>,
}

/// Why a text is no call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call is wrong at character {at}: {reason}")]
pub struct CallTextError {
    /// The character where it is wrong, from 1.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

/// An argument that is not of its parameter's type.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("argument {param:?} of {function} is wrong at character {at}: {reason}")]
pub struct WrongArgument {
    /// The function's name.
    pub function: String,
    /// The parameter's name.
    pub param: String,
    /// The parameter's type.
    pub r#type: String,
    /// The argument as it was given.
    pub text: String,
    /// The character where it is wrong, from 1.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

impl std::str::FromStr for Call {
    type Err = CallTextError;

    /// Reads `function(value, value)`.
    ///
    /// ```
    /// let call: mesh_plugin_host::call::Call = "divide(7, {load: [1, 2]})".parse().unwrap();
    /// assert_eq!(call.args, ["7", "{load: [1, 2]}"]);
    /// ```
    fn from_str(text: &str) -> Result<Call, CallTextError> {
        let wrong =
            |error: &ParserError| CallTextError { at: at(text, &error.span()), reason: reason(error) };
        let call = UntypedFuncCall::parse(text).map_err(|error| wrong(&error))?;
        let args = match call.params_node() {
            None => Vec::new(),
            Some(params) => {
                let nodes = params.as_tuple().map_err(|error| wrong(&error))?;
                nodes.map(|node| text.get(node.span()).unwrap_or_default().to_owned()).collect()
            }
        };
        Ok(Call { function: call.name().to_owned(), args })
    }
}

/// Reads an argument of a type.
pub(super) fn argument(function: &str, param: &str, ty: &Type, text: &str) -> Result<Val, CallError> {
    // `size: 1200` says the same as `1200`, and which parameter is meant.
    let value = text.trim_start().strip_prefix(param).and_then(|rest| rest.trim_start().strip_prefix(':'));
    let value = value.unwrap_or(text);
    let skipped = text.len() - value.len();
    let mut parser = Parser::new(value);
    let read = parser.parse_value(ty).and_then(|value| parser.finish().map(|()| value));
    let wrong = |at: usize, reason: String| {
        CallError::Argument(Box::new(WrongArgument {
            function: function.to_owned(),
            param: param.to_owned(),
            r#type: of_type(ty),
            text: text.to_owned(),
            at,
            reason,
        }))
    };
    let value = read.map_err(|error| {
        let span = error.span();
        wrong(at(text, &(span.start + skipped..span.end + skipped)), reason(&error))
    })?;
    match ragged(&value) {
        None => Ok(value),
        Some(lengths) => {
            Err(wrong(at(text, &(skipped..skipped)), format!("its columns differ in length: {lengths}")))
        }
    }
}

/// Returns the lengths of columns that do not belong together. A record of nothing but lists is a table, and a host
/// never shows a table in which a row lacks a cell.
fn ragged(value: &Val) -> Option<String> {
    let Val::Record(fields) = value else { return None };
    let len = |(name, value): &(String, Val)| match value {
        Val::List(cells) => Some((name.clone(), cells.len())),
        _ => None,
    };
    let columns: Vec<(String, usize)> = fields.iter().map(len).collect::<Option<_>>()?;
    let is_even = columns.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let shown = columns.iter().map(|(name, len)| format!("{name} {len}"));
    (!is_even).then(|| shown.collect::<Vec<_>>().join(", "))
}

/// Returns a type as WIT writes it, with everything that is inside spelt out.
pub(super) fn of_type(ty: &Type) -> String {
    DisplayType(ty).to_string()
}

fn at(text: &str, span: &Range<usize>) -> usize {
    text.char_indices().take_while(|(offset, _)| *offset < span.start).count() + 1
}

fn reason(error: &ParserError) -> String {
    match (std::error::Error::source(error), error.detail()) {
        (Some(source), _) => clip(format!("{}: {source}", error.kind())),
        (None, Some(detail)) => clip(format!("{}: {detail}", error.kind())),
        (None, None) => clip(error.kind().to_string()),
    }
}
