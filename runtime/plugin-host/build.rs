//! Builds the built-in plugins.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
