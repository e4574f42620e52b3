//! Generates the bindings for C from `wit/`: what `meshctl plugin new --lang c` puts into a project as `sdk/plugin.*`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

/// The slots' packages with the interfaces that get short names: a plugin has one of each.
const PACKAGES: [(&str, &[&str]); 6] = [
    ("routing", &["policy"]),
    ("qos", &["policy"]),
    ("topology", &["policy"]),
    ("admission", &["policy"]),
    ("carry", &["policy"]),
    ("handler", &["events", "log", "kv"]),
];
const VERSION: &str = "0.1.0";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let wit = variable("CARGO_MANIFEST_DIR")?.join("../wit");
    let out = variable("OUT_DIR")?.join("c");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", wit.display());
    for (package, interfaces) in PACKAGES {
        let dir = out.join(package);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in generate(&wit, package, interfaces)?.iter() {
            fs::write(dir.join(name), bytes)?;
        }
    }
    Ok(())
}

fn variable(name: &str) -> Result<PathBuf> {
    Ok(env::var_os(name).ok_or_else(|| format!("cargo sets {name}"))?.into())
}

fn generate(wit: &Path, package: &str, interfaces: &[&str]) -> Result<Files> {
    let mut resolve = Resolve::default();
    resolve.push_dir(wit.join("types"))?;
    let (id, _) = resolve.push_dir(wit.join(package))?;
    let world = resolve.select_world(&[id], None)?;
    let short = |package: &str, interface: &str| {
        (format!("mesh:{package}/{interface}@{VERSION}"), interface.to_owned())
    };
    let names = interfaces.iter().map(|interface| short(package, interface));
    let opts = Opts {
        // `meshctl plugin build` describes the world by itself.
        no_object_file: true,
        rename_world: Some("plugin".into()),
        rename: names.chain([short("types", "common")]).collect(),
        ..Opts::default()
    };
    let mut files = Files::default();
    opts.build().generate(&mut resolve, world, &mut files)?;
    Ok(files)
}
