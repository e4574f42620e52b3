//! Makes an enum of the files of `wat/`, so that a test that matches on it does not compile when one is missing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const SHAPES: [(&str, &str); 7] = [
    ("routing", "Routing"),
    ("qos", "Qos"),
    ("topology", "Topology"),
    ("admission", "Admission"),
    ("carry", "Carry"),
    ("handler", "Handler"),
    ("component", "Component"),
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("wat");
    println!("cargo::rerun-if-changed=wat");
    let mut files: Vec<(String, &str, PathBuf)> = Vec::new();
    for (dir, shape) in SHAPES {
        println!("cargo::rerun-if-changed=wat/{dir}");
        for entry in fs::read_dir(root.join(dir)).expect("the directory of a shape") {
            let path = entry.expect("it can be listed").path();
            files.push((name_of(&path), shape, path));
        }
    }
    files.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("hostile.rs");
    fs::write(out, generate(&files)).expect("it can be written");
}

fn name_of(path: &Path) -> String {
    path.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

fn generate(files: &[(String, &str, PathBuf)]) -> String {
    let mut variants = String::new();
    let mut rows = String::new();
    for (name, shape, path) in files {
        let variant = camel(name);
        let text = expanded(&fs::read_to_string(path).expect("it is text"));
        let about =
            text.lines().next().and_then(|line| line.strip_prefix(";; ")).expect("it says what it does");
        writeln!(variants, "    /// {about}\n    {variant},").expect("strings take all");
        writeln!(
            rows,
            "    Row {{ plugin: Hostile::{variant}, name: {name:?}, shape: Shape::{shape}, text: {text:?} }},"
        )
        .expect("strings take all");
    }
    format!(
        "/// A plugin that tries to break the host.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]\n\
         pub enum Hostile {{\n{variants}}}\n\nconst ROWS: &[Row] = &[\n{rows}];\n"
    )
}

/// A line `;; repeat COUNT LINE` stands for as many lines, with their numbers from 0 in place of `{n}`.
fn expanded(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let Some(repeated) = line.trim_start().strip_prefix(";; repeat ") else {
            writeln!(out, "{line}").expect("strings take all");
            continue;
        };
        let (count, line) = repeated.split_once(' ').expect("a count, and what is repeated");
        for n in 0..count.parse::<u32>().expect("the count is a number") {
            writeln!(out, "{}", line.replace("{n}", &n.to_string())).expect("strings take all");
        }
    }
    out
}

fn camel(name: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('-').map(capital).collect()
}
