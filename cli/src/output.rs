//! What goes to stdout and stderr: data to the one, everything else to the other.
//!
//! A command makes one value, and [`Output`] prints it: as a table, as the `data` of a JSON envelope, or as
//! bare names. Both forms come from the same value, and `--fields` selects from both.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_node::api::{ApiError, Time, code};
use mesh_proto::NodeId;
use serde::Serialize;
use serde_json::Value;

pub mod bar;
mod command;
mod error;
pub mod human;
mod table;
pub mod undo;

pub use command::Addressee;
pub use error::print_error;
pub use table::{Column, Pair, Rows, View};

use crate::args::Globals;

/// Which form data takes on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    Human,
    /// One JSON object, or one a line for streams.
    Json,
    /// Identifiers only, one a line.
    Name,
}

/// A value that a command prints.
pub trait Show: Serialize {
    /// The schema's name: `peers` for `meshctl.peers/v1`.
    const SCHEMA: &'static str;

    /// Returns what a person sees.
    fn view(&self) -> View;

    /// Returns the identifiers, for `-o name`.
    fn names(&self) -> Vec<String>;
}

/// Where a command prints, and how.
#[derive(Clone, Debug)]
pub struct Output {
    format: Format,
    wide: bool,
    quiet: bool,
    fields: Vec<String>,
    addressee: Addressee,
}

impl Output {
    /// Takes the choices of the command line.
    pub fn new(globals: &Globals) -> Output {
        let format = if globals.json { Format::Json } else { globals.output };
        Output {
            format,
            wide: globals.wide,
            quiet: globals.quiet,
            fields: globals.fields.clone(),
            addressee: Addressee::new(globals.node.as_deref()),
        }
    }

    /// Prints the result of a command; `node` is the one that answered.
    ///
    /// # Errors
    /// `USAGE` for a field that the value does not have.
    pub fn print<T: Show>(&self, node: Option<NodeId>, value: &T) -> Result<(), ApiError> {
        self.print_with(node, value, &[])
    }

    /// Prints the result of a command with warnings, which go to stderr for people.
    ///
    /// # Errors
    /// `USAGE` for a field that the value does not have.
    pub fn print_with<T: Show>(
        &self,
        node: Option<NodeId>,
        value: &T,
        warnings: &[String],
    ) -> Result<(), ApiError> {
        let text = match self.format {
            Format::Json => self.addressee.json(self.envelope(node, value, warnings)? + "\n"),
            Format::Name => value.names().into_iter().map(|name| name + "\n").collect(),
            Format::Human => self.addressee.text(value.view().render(&self.fields, self.width())?),
        };
        if self.format != Format::Json {
            for warning in warnings {
                self.note(format_args!("warning: {warning}"));
            }
        }
        self.data(&text)
    }

    /// Prints one line of a stream: the value with its schema as JSON, or the text.
    ///
    /// # Errors
    /// `INTERNAL` when stdout cannot be written.
    pub fn line(&self, schema: &str, value: &impl Serialize, text: &str) -> Result<(), ApiError> {
        self.data(&self.line_text(schema, value, text)?)
    }

    /// Returns what [`Output::line`] prints, for those who print many at once.
    ///
    /// # Errors
    /// `INTERNAL` for a value that JSON cannot express.
    pub fn line_text(&self, schema: &str, value: &impl Serialize, text: &str) -> Result<String, ApiError> {
        if self.format != Format::Json {
            return Ok(format!("{text}\n"));
        }
        let schema = format!("meshctl.{schema}/v1");
        let line = match self.fields.is_empty() {
            true => to_json(&Line { schema, value }),
            false => to_json(&Line { schema, value: self.present(&to_value(value)?) }),
        };
        Ok(line? + "\n")
    }

    /// Writes to stdout as it is.
    ///
    /// # Errors
    /// `INTERNAL` when stdout cannot be written; a closed pipe ends the process quietly.
    pub fn data(&self, text: &str) -> Result<(), ApiError> {
        let mut out = anstream::stdout().lock();
        write_all(&mut out, text.as_bytes())
    }

    /// Writes bytes to stdout as they are.
    ///
    /// # Errors
    /// As for [`Output::data`].
    pub fn raw(&self, bytes: &[u8]) -> Result<(), ApiError> {
        write_all(&mut io::stdout().lock(), bytes)
    }

    /// Tells a person what goes on, on stderr; nothing with `-q`, and nothing to programs, which expect at
    /// most one error there.
    pub fn note(&self, text: impl std::fmt::Display) {
        let for_a_person = self.format != Format::Json || io::stderr().is_terminal();
        if for_a_person && !self.quiet {
            let text = self.addressee.text(text.to_string());
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        }
    }

    fn envelope<T: Show>(
        &self,
        node: Option<NodeId>,
        value: &T,
        warnings: &[String],
    ) -> Result<String, ApiError> {
        let schema = format!("meshctl.{}/v1", T::SCHEMA);
        let (node, at) = (node.map(|node| node.to_string()), now());
        match self.fields.is_empty() {
            // Straight from the value, so that members come in the order in which they are documented.
            true => to_json(&Envelope { schema, node, at, data: value, warnings }),
            false => to_json(&Envelope { schema, node, at, data: self.select(to_value(value)?)?, warnings }),
        }
    }

    fn select(&self, value: Value) -> Result<Value, ApiError> {
        if self.fields.is_empty() {
            return Ok(value);
        }
        match value {
            Value::Array(rows) => rows.into_iter().map(|row| self.select(row)).collect(),
            Value::Object(mut object) => {
                let known: Vec<String> = object.keys().cloned().collect();
                let pick = |field: &String| match object.remove(field) {
                    Some(value) => Ok((field.clone(), value)),
                    None => Err(no_field(field, &known)),
                };
                Ok(Value::Object(self.fields.iter().map(pick).collect::<Result<_, _>>()?))
            }
            other => Ok(other),
        }
    }

    // A stream has values of several kinds, and what one of them lacks is null.
    fn present(&self, value: &Value) -> Value {
        self.fields.iter().map(|field| (field.clone(), value[field].clone())).collect()
    }

    // Without a terminal nothing is dropped: whoever reads a file or a pipe has no width.
    fn width(&self) -> Option<usize> {
        if self.wide || !io::stdout().is_terminal() {
            return None;
        }
        terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
    }
}

/// Returns the moment as it goes into JSON.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What `--json` prints of every result.
#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: String,
    node: Option<String>,
    at: Time,
    data: T,
    warnings: &'a [String],
}

/// What `--json` prints of everything in a stream.
#[derive(Serialize)]
struct Line<T> {
    schema: String,
    #[serde(flatten)]
    value: T,
}

fn to_json(value: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|error| ApiError::new(&code::INTERNAL, error))
}

fn to_value(value: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::new(&code::INTERNAL, error))
}

fn no_field(field: &str, known: &[String]) -> ApiError {
    ApiError::new(&code::USAGE, format!("there is no field '{field}' here")).fact("fields", known.join(","))
}

fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), ApiError> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // The reader has seen enough, as in `meshctl peers | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(ApiError::new(&code::INTERNAL, error)),
    }
}
