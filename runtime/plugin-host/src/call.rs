//! Calls functions of a component with arguments as text: what an author tries by hand.
//!
//! The component runs in the sandbox of a slot, in an instance of its own. Knows no slot, no fallback and no strike.

use std::fmt;
use std::time::{Duration, Instant};

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Func, Instance, InstancePre, Type, Val};
use wasmtime::{AsContextMut, Store};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits;
use crate::load::{Kind, Loaded, World};
use crate::sandbox::{self, Host};
use crate::settings::{Settings, Value, clip};

mod answer;
mod text;

pub use answer::Answer;
pub use text::{Call, CallTextError, WrongArgument};

/// A function that a component exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The interface that it is part of, with its version; empty when it stands by itself.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Its parameters, name and type.
    pub params: Vec<(String, String)>,
    /// The type of its answer, unless it has none.
    pub answer: Option<String>,
}

/// What came of one call.
#[derive(Clone, Debug)]
pub struct Called {
    /// What was called.
    pub function: Function,
    /// The answer, unless the function has none.
    pub answer: Option<Answer>,
    /// How long it took, lowering and lifting included.
    pub took: Duration,
    /// Instructions that it ran, where calls are bounded by them.
    pub fuel: Option<u64>,
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The component exports no function of this name.
    #[error("it exports no function {name:?}")]
    NoFunction {
        /// What was asked for.
        name: String,
        /// What it exports.
        functions: Vec<Function>,
    },
    /// More or fewer arguments than parameters.
    #[error("{} takes {} arguments, and {given} were given", function.name, function.params.len())]
    Count {
        /// The function.
        function: Box<Function>,
        /// How many arguments there were.
        given: usize,
    },
    /// An argument is not of its parameter's type.
    #[error(transparent)]
    Argument(Box<WrongArgument>),
    /// It refused its settings, so nothing was called.
    #[error("it refused its settings: {0}")]
    Settings(String),
    /// It failed; on a node the native built-in would have answered.
    #[error("{function} failed: {fault}")]
    Failed {
        /// The function's name.
        function: String,
        /// How.
        fault: Fault,
    },
}

/// Returns the functions that a component exports, in its order.
pub fn functions(loaded: &Loaded) -> Vec<Function> {
    exported(loaded).into_iter().map(|(function, _)| function).collect()
}

/// Makes `calls` in order in one fresh instance and returns what came of each; stops at the first that fails.
///
/// `configure` is called before them with `settings`, unless one of them is `configure`: that is what a slot does.
/// Every call has the deadline and the limits that it has in a slot.
///
/// # Errors
/// When a function does not exist, an argument does not fit, the settings are refused, or a call fails.
pub fn call(loaded: &Loaded, settings: &Settings, calls: &[Call]) -> Result<Vec<Called>, CallError> {
    call_within(loaded, settings, calls, &|function| deadline(loaded.kind(), function))
}

/// As [`call`] with other deadlines, by the function's name: for those who count what a call takes.
pub(crate) fn call_within(
    loaded: &Loaded,
    settings: &Settings,
    calls: &[Call],
    deadline: &dyn Fn(&str) -> Duration,
) -> Result<Vec<Called>, CallError> {
    let plans: Vec<Plan> = calls.iter().map(|call| Plan::of(loaded, call)).collect::<Result<_, _>>()?;
    let mut run = Run::start(loaded, deadline)?;
    if !plans.iter().any(|plan| plan.function.name == CONFIGURE) {
        run.configure(settings)?;
    }
    plans.into_iter().map(|plan| run.call(plan)).collect()
}

const CONFIGURE: &str = "configure";

/// A call whose function exists and whose arguments fit.
struct Plan {
    function: Function,
    args: Vec<Val>,
    has_answer: bool,
}

impl Plan {
    fn of(loaded: &Loaded, call: &Call) -> Result<Plan, CallError> {
        let (function, of) = find(loaded, &call.function)?;
        let params: Vec<(String, Type)> = of.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
        if params.len() != call.args.len() {
            return Err(CallError::Count { function: Box::new(function), given: call.args.len() });
        }
        let pairs = params.iter().zip(&call.args);
        let args = pairs.map(|((name, ty), text)| text::argument(&function.name, name, ty, text));
        Ok(Plan { args: args.collect::<Result<_, _>>()?, has_answer: of.results().len() > 0, function })
    }
}

/// An instance and what has to be thrown away with it.
struct Run<'a> {
    loaded: &'a Loaded,
    deadline: &'a dyn Fn(&str) -> Duration,
    store: Option<Store<Host>>,
    instance: Instance,
}

impl<'a> Run<'a> {
    fn start(loaded: &'a Loaded, deadline: &'a dyn Fn(&str) -> Duration) -> Result<Run<'a>, CallError> {
        let engine = &loaded.0.engine;
        let mut store = sandbox::store(engine, loaded.revision());
        let pre = pre(loaded);
        let instance = sandbox::call(engine, &mut store, limits::SETUP, |store| pre.instantiate(store));
        match instance {
            Ok(instance) => Ok(Run { loaded, deadline, store: Some(store), instance }),
            Err(fault) => {
                engine.discard(store);
                Err(CallError::Failed { function: "start".into(), fault })
            }
        }
    }

    fn configure(&mut self, settings: &Settings) -> Result<(), CallError> {
        let Ok((function, of)) = find(self.loaded, CONFIGURE) else { return Ok(()) };
        let args = match self.loaded.kind() {
            Kind::Handler => vec![somebody(), settings_value(settings)],
            _ => vec![settings_value(settings)],
        };
        // Another shape than the slot's was refused when it was loaded.
        let plan = Plan { function, args, has_answer: of.results().len() > 0 };
        match self.call(plan)?.answer {
            Some(answer) if answer.is_error() => Err(CallError::Settings(clip(answer.text().to_owned()))),
            _ => Ok(()),
        }
    }

    fn call(&mut self, plan: Plan) -> Result<Called, CallError> {
        let Plan { function, args, has_answer } = plan;
        let limit = (self.deadline)(&function.name);
        let engine = self.loaded.0.engine.clone();
        let store = self.store.as_mut().expect("taken only when this is dropped");
        let instance = self.instance;
        store.data_mut().wasi.begin(number(&function, &args, "now-ms"), number(&function, &args, "seed"));
        let mut results = vec![Val::Bool(false); usize::from(has_answer)];
        let begun = Instant::now();
        let called = sandbox::call(&engine, store, limit, |store| {
            func(store, &instance, &function)?.call(store, &args, &mut results)
        });
        let took = begun.elapsed();
        called.map_err(|fault| CallError::Failed { function: function.name.clone(), fault })?;
        let fuel = store.get_fuel().ok().map(|left| {
            let given = limit.as_millis() as u64 * limits::FUEL_PER_MS;
            given.saturating_sub(left)
        });
        Ok(Called { answer: results.pop().map(Answer::new), function, took, fuel })
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            self.loaded.0.engine.discard(store);
        }
    }
}

/// The argument of a parameter that every slot has, for the guests that see it as their clock and randomness.
fn number(function: &Function, args: &[Val], name: &str) -> u64 {
    let pair = function.params.iter().zip(args).find(|((param, _), _)| param == name);
    match pair {
        Some((_, Val::U64(number))) => *number,
        _ => 0,
    }
}

fn func(store: &mut Store<Host>, instance: &Instance, function: &Function) -> wasmtime::Result<Func> {
    let mut store = store.as_context_mut();
    let missing = || wasmtime::format_err!("the function {} has gone", function.name);
    let parent = match function.interface.as_str() {
        "" => None,
        name => Some(instance.get_export_index(&mut store, None, name).ok_or_else(missing)?),
    };
    let index = instance.get_export_index(&mut store, parent.as_ref(), &function.name).ok_or_else(missing)?;
    instance.get_func(&mut store, index).ok_or_else(missing)
}

fn pre(loaded: &Loaded) -> &InstancePre<Host> {
    match &loaded.0.world {
        World::Routing(pre) => pre.instance_pre(),
        World::Qos(pre) => pre.instance_pre(),
        World::Topology(pre) => pre.instance_pre(),
        World::Admission(pre) => pre.instance_pre(),
        World::Carry(pre) => pre.instance_pre(),
        World::Handler(pre) => pre.instance_pre(),
    }
}

/// As in a slot: what runs off the hot path has the time of the set-up.
fn deadline(kind: Kind, function: &str) -> Duration {
    match (function, kind) {
        (CONFIGURE | "save" | "load-state", _) => limits::SETUP,
        (_, Kind::Handler) => limits::HANDLER_CALL,
        _ => limits::POLICY_CALL,
    }
}

fn find(loaded: &Loaded, name: &str) -> Result<(Function, ComponentFunc), CallError> {
    let (interface, bare) = name.split_once('#').unwrap_or(("", name));
    let all = exported(loaded);
    let is_it = |f: &Function| f.name == bare && (interface.is_empty() || f.interface.starts_with(interface));
    match all.iter().position(|(function, _)| is_it(function)) {
        Some(at) => Ok(all.into_iter().nth(at).expect("found above")),
        None => {
            let functions = all.into_iter().map(|(function, _)| function).collect();
            Err(CallError::NoFunction { name: name.to_owned(), functions })
        }
    }
}

fn exported(loaded: &Loaded) -> Vec<(Function, ComponentFunc)> {
    let engine: &wasmtime::Engine = Engine::wasm(&loaded.0.engine);
    let component = pre(loaded).component().component_type();
    let mut out = Vec::new();
    for (name, item) in component.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(of) => out.push((Function::new("", name, &of), of)),
            ComponentItem::ComponentInstance(instance) => {
                for (function, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(of) = item.ty {
                        out.push((Function::new(name, function, &of), of));
                    }
                }
            }
            _ => {}
        }
    }
    out
}

impl Function {
    fn new(interface: &str, name: &str, of: &ComponentFunc) -> Function {
        Function {
            interface: interface.to_owned(),
            name: name.to_owned(),
            params: of.params().map(|(name, ty)| (name.to_owned(), text::of_type(&ty))).collect(),
            answer: of.results().next().map(|ty| text::of_type(&ty)),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<String> = self.params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        write!(f, "{}({})", self.name, params.join(", "))?;
        self.answer.as_ref().map_or(Ok(()), |answer| write!(f, " -> {answer}"))
    }
}

fn settings_value(settings: &Settings) -> Val {
    let one = |(name, value): (&String, &Value)| {
        let (case, value) = match value {
            Value::Flag(flag) => ("flag", Val::Bool(*flag)),
            Value::Integer(integer) => ("integer", Val::S64(*integer)),
            Value::Number(number) => ("number", Val::Float64(*number)),
            Value::Text(text) => ("text", Val::String(text.clone())),
        };
        let value = Val::Variant(case.into(), Some(Box::new(value)));
        Val::Record(vec![("name".into(), Val::String(name.clone())), ("value".into(), value)])
    };
    Val::List(settings.iter().map(one).collect())
}

/// The node that a handler is told it runs on.
fn somebody() -> Val {
    let node = Val::List(vec![Val::U8(7); 32]);
    Val::Record(vec![("node".into(), node), ("name".into(), Val::String("somebody".into()))])
}
