//! Behaviour of the simulator, seen from outside. Names in doc comments (MN-.., N.., G..) are rows of the feature
//! and fault catalogues.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod guests;
mod parsing;
mod playing;
mod plugins;
mod shipped;

use std::ops::ControlFlow;
use std::path::Path;

use mesh_sim::{Outcome, Plugins, Scenario, library, run};

/// Runs a text with these overrides.
#[track_caller]
fn play(text: &str, overrides: &[&str]) -> Outcome {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::parse("test.toml", text, &overrides).unwrap_or_else(|error| panic!("{error}"));
    let plugins = Plugins::load(&scenario, Path::new(".")).unwrap();
    run::run(&scenario, &plugins, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Runs a shipped scenario with these overrides.
#[track_caller]
fn play_shipped(name: &str, overrides: &[&str]) -> Outcome {
    play(library::find(name).unwrap().text, overrides)
}
