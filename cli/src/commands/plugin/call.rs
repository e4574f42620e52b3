//! `meshctl plugin call`: one function of a component, with arguments as text, in the sandbox of a slot.

use clap::Args;
use mesh_node::api::{ApiError, Setting, code};
use mesh_plugin_host::call::{Answer, Call as Spoken, CallError, Called, Function, call, functions};
use serde::Serialize;

use super::{Context, local, setting};
use crate::output::human::{self, DIM, styled};
use crate::output::{Show, View};

/// Calls of one command, at most.
const MAX_CALLS: usize = 64;

/// Call a function of a component, in the real host.
#[derive(Debug, Args)]
pub struct Call {
    /// A component, a package, or built-in/NAME.
    plugin: String,
    /// The function, such as decide; without one, the functions are listed.
    function: Option<String>,
    /// A value for each parameter in WAVE: 7, "text", [1, 2], {rtt-us: 500}, some(3), ok.
    #[arg(allow_negative_numbers = true)]
    args: Vec<String>,
    /// A call to make before, in the same instance; may be repeated.
    #[arg(long = "first", value_name = "FUNCTION(VALUES)")]
    first: Vec<String>,
    /// A setting of the plugin.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, Setting)>,
}

/// What came of the calls.
#[derive(Debug, Serialize)]
struct CallReport {
    plugin: String,
    version: String,
    calls: Vec<One>,
}

/// One call and its answer.
#[derive(Debug, Serialize)]
struct One {
    function: String,
    answer: Option<Answer>,
    /// The answer in WAVE.
    text: Option<String>,
    took_us: f64,
}

/// What can be called.
#[derive(Debug, Serialize)]
struct Functions(Vec<Callable>);

#[derive(Debug, Serialize)]
struct Callable {
    interface: String,
    function: String,
    params: Vec<Param>,
    answer: Option<String>,
}

#[derive(Debug, Serialize)]
struct Param {
    name: String,
    r#type: String,
}

impl Call {
    /// Calls and prints the answer.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let component = local::component(&self.plugin)?;
        let loaded = local::loaded(&local::engine()?, &component)?;
        let Some(function) = &self.function else {
            let all = functions(&loaded).into_iter().map(Callable::from).collect();
            return context.out.print(None, &Functions(all));
        };
        let settings = local::settings(&loaded, &self.settings)?;
        let mut calls = self.first.iter().map(|text| spoken(text)).collect::<Result<Vec<Spoken>, _>>()?;
        calls.push(Spoken { function: function.clone(), args: self.args.clone() });
        if calls.len() > MAX_CALLS {
            return Err(ApiError::new(
                &code::BAD_VALUE,
                format!("one command makes at most {MAX_CALLS} calls"),
            ));
        }
        let called = call(&loaded, &settings, &calls).map_err(|error| self.failed(&error))?;
        let revision = loaded.revision();
        let report = CallReport {
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            calls: called.into_iter().map(One::from).collect(),
        };
        context.out.print(None, &report)
    }

    fn failed(&self, error: &CallError) -> ApiError {
        match error {
            CallError::NoFunction { functions, .. } => {
                let told = ApiError::new(&code::NO_SUCH_FUNCTION, error);
                let told = functions.iter().fold(told, |told, function| told.fact(&function.name, function));
                told.help(format!("meshctl plugin call {}", self.plugin))
            }
            CallError::Count { function, .. } => {
                ApiError::new(&code::BAD_ARGUMENT, error).fact("function", function)
            }
            CallError::Argument(wrong) => ApiError::new(&code::BAD_ARGUMENT, error)
                .fact("type", &wrong.r#type)
                .fact("argument", &wrong.text)
                .fact("at", pointer(wrong.at)),
            CallError::Settings(_) => ApiError::new(&code::SETTINGS_REFUSED, error)
                .help(format!("meshctl plugin inspect {}", self.plugin)),
            CallError::Failed { .. } => ApiError::new(&code::CALL_FAILED, error),
        }
    }
}

/// Points at a place in the line above, counted from 1.
fn pointer(at: usize) -> String {
    " ".repeat(at.saturating_sub(1)) + "^" + &format!(" character {at}")
}

fn spoken(text: &str) -> Result<Spoken, ApiError> {
    text.parse().map_err(|error: mesh_plugin_host::call::CallTextError| {
        ApiError::new(&code::BAD_ARGUMENT, &error)
            .fact("call", text)
            .fact("at", pointer(error.at))
            .help("write it as FUNCTION(VALUE, VALUE), such as 'divide(7, {sent-bytes: [], queued-bytes: [], dropped: []})'")
    })
}

impl From<Called> for One {
    fn from(called: Called) -> One {
        One {
            function: called.function.name,
            text: called.answer.as_ref().map(|answer| answer.text().to_owned()),
            answer: called.answer,
            took_us: called.took.as_nanos() as f64 / 1e3,
        }
    }
}

impl From<Function> for Callable {
    fn from(function: Function) -> Callable {
        let params = function.params.into_iter().map(|(name, ty)| Param { name, r#type: ty }).collect();
        Callable { interface: function.interface, function: function.name, params, answer: function.answer }
    }
}

impl Show for CallReport {
    const SCHEMA: &'static str = "plugin-call";

    fn view(&self) -> View {
        let mut text = String::new();
        for one in &self.calls {
            // A guest's text may be anything, and the terminal is the user's.
            let answer = one.text.as_deref().map_or_else(|| styled(DIM, "no answer"), human::safe);
            if self.calls.len() > 1 {
                text += &styled(DIM, format!("{}: ", one.function));
            }
            text += &format!("{answer}\n");
        }
        View::Text(text)
    }

    fn names(&self) -> Vec<String> {
        self.calls.iter().filter_map(|one| one.text.as_deref().map(human::safe)).collect()
    }
}

impl Show for Functions {
    const SCHEMA: &'static str = "plugin-functions";

    fn view(&self) -> View {
        let mut text = String::new();
        let mut interface = None;
        for one in &self.0 {
            if interface != Some(&one.interface) {
                text += &format!("{}\n", styled(DIM, &one.interface));
                interface = Some(&one.interface);
            }
            let params: Vec<String> =
                one.params.iter().map(|param| format!("{}: {}", param.name, param.r#type)).collect();
            let answer = one.answer.as_ref().map(|answer| format!(" -> {answer}")).unwrap_or_default();
            text += &format!("  {}({}){answer}\n", one.function, params.join(", "));
        }
        View::Text(text)
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|one| one.function.clone()).collect()
    }
}
