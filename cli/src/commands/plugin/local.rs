//! Plugins in this process, without a node: read, checked and compiled as a node would. Binds nothing.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use mesh_node::api::{ApiError, Setting, code};
use mesh_plugin_host::{
    Cache, Compiler, Engine, Grants, LoadError, Loaded, Package, Settings, Value, builtin, inspect, load,
    package,
};

use super::read_plugin;
use super::source::{Network, Source};

/// Where plugins that come with the program are named.
const BUILT_IN: &str = "built-in/";

/// Returns the program that compiles what strangers wrote, in a process of its own; `None` where the running
/// program cannot be found.
pub fn compiler() -> Option<Compiler> {
    // The running program itself, also when its file has been replaced since.
    let program =
        if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    program.ok().map(|program| Compiler::new(program, ["plugin", "compile-stdin"]))
}

/// Returns where this user's nodes keep compiled code; `None` without a home directory.
pub fn cache_dir() -> Option<PathBuf> {
    Some(etcetera::base_strategy::Xdg::new().ok()?.cache_dir().join("mesh"))
}

/// Returns an engine that compiles as a node does and shares the compile cache of this user's nodes.
///
/// # Errors
/// `INTERNAL` when this machine cannot run WebAssembly.
pub fn engine() -> Result<Engine, ApiError> {
    let cache = cache_dir().and_then(|dir| Cache::open(dir).ok());
    let engine = Engine::new(cache).map_err(|error| ApiError::new(&code::INTERNAL, error))?;
    Ok(match compiler() {
        Some(compiler) => engine.with_compiler(compiler),
        None => engine,
    })
}

/// Returns the component that `plugin` names: a file, a package, or `built-in/NAME` with or without its version.
///
/// # Errors
/// `NO_SUCH_PLUGIN` when there is neither, `BAD_PACKAGE` for a damaged package.
pub fn component(plugin: &str) -> Result<Vec<u8>, ApiError> {
    if let Some(name) = plugin.strip_prefix(BUILT_IN) {
        return built_in(name).map(<[u8]>::to_vec).ok_or_else(|| no_built_in(plugin));
    }
    let bytes = read_plugin(Path::new(plugin)).map_err(|error| {
        let is_missing = error.is(&code::NO_SUCH_PLUGIN);
        let help = "give a component, a package, or built-in/NAME";
        if is_missing { error.help(help) } else { error }
    })?;
    if !package::is_package(&bytes) {
        return Ok(bytes);
    }
    let package = Package::decode(&bytes).map_err(|error| ApiError::new(&code::BAD_PACKAGE, error))?;
    Ok(package.component.to_vec())
}

/// Returns the component that 'plugin build' has left in the project of this directory.
///
/// # Errors
/// `NO_PROJECT` when there is none, `NO_SUCH_PLUGIN` when it has not been built.
pub fn built_here() -> Result<PathBuf, ApiError> {
    let source = Source::open(Path::new("."), Network::Forbidden)?;
    let name = source.component().file_name().map(PathBuf::from).unwrap_or_default();
    match name.is_file() {
        true => Ok(name),
        false => {
            let message = format!("the project here has not been built: there is no {}", name.display());
            Err(ApiError::new(&code::NO_SUCH_PLUGIN, message).help("meshctl plugin build"))
        }
    }
}

/// Loads a component with everything granted that a plugin can be granted: what it does stays in this process.
///
/// # Errors
/// The code of the check that it does not pass.
pub fn loaded(engine: &Engine, component: &[u8]) -> Result<Loaded, ApiError> {
    load(engine, component, Grants::ALL).map_err(|error| refused(&error))
}

/// Says why a component is not loaded, as a node says it.
pub fn refused(error: &LoadError) -> ApiError {
    ApiError::new(code::find(error.code()).unwrap_or(&code::INTERNAL), error).help(error.hint())
}

/// Checks settings against the plugin's manifest, as a node does before it hands them on.
///
/// # Errors
/// `SETTINGS_REFUSED` with the setting that does not fit.
pub fn settings(loaded: &Loaded, given: &[(String, Setting)]) -> Result<Settings, ApiError> {
    let given: Settings = given.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
    match loaded.manifest() {
        Some(manifest) => {
            manifest.check_settings(&given).map_err(|error| ApiError::new(&code::SETTINGS_REFUSED, error))
        }
        None => Ok(given),
    }
}

fn value_of(setting: &Setting) -> Value {
    match setting {
        Setting::Flag(flag) => Value::Flag(*flag),
        Setting::Integer(integer) => Value::Integer(*integer),
        Setting::Number(number) => Value::Number(*number),
        Setting::Text(text) => Value::Text(text.clone()),
    }
}

fn built_in(name: &str) -> Option<&'static [u8]> {
    builtin::ALL.into_iter().find(|bytes| {
        let names = names_of(bytes);
        names.is_some_and(|[bare, versioned]| name == bare || name == versioned)
    })
}

fn names_of(bytes: &[u8]) -> Option<[String; 2]> {
    let plugin = inspect(bytes).ok()?.manifest?.plugin;
    let bare = plugin.name.strip_prefix(BUILT_IN)?.to_owned();
    Some([bare.clone(), format!("{bare}@{}", plugin.version)])
}

fn no_built_in(plugin: &str) -> ApiError {
    let names = builtin::ALL.into_iter().filter_map(names_of).map(|[_, name]| format!("{BUILT_IN}{name}"));
    let names: Vec<String> = names.collect();
    ApiError::new(&code::NO_SUCH_PLUGIN, format!("'{plugin}' does not come with this program"))
        .fact("built in", names.join(", "))
}
