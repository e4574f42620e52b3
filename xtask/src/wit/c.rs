//! The bindings for C, as projects in C get them: cli/templates/c/bindings.

use std::path::{Path, PathBuf};

use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use crate::process::{Failure, Result, root};

/// The slots' packages with the interfaces that get short names: a plugin has one of each.
const WORLDS: [(&str, &[(&str, &str)]); 4] = [
    ("routing", &[("mesh:routing/policy@0.1.0", "policy")]),
    ("qos", &[("mesh:qos/policy@0.1.0", "policy")]),
    ("topology", &[("mesh:topology/policy@0.1.0", "policy")]),
    (
        "handler",
        &[
            ("mesh:handler/events@0.1.0", "events"),
            ("mesh:handler/log@0.1.0", "log"),
            ("mesh:handler/kv@0.1.0", "kv"),
        ],
    ),
];
const TYPES: (&str, &str) = ("mesh:types/common@0.1.0", "common");

/// Returns each file of the bindings, below the project's root, with what should be in it.
pub fn files() -> Result<Vec<(PathBuf, String)>> {
    let mut out = Vec::new();
    for (package, interfaces) in WORLDS {
        let dir = Path::new("cli/templates/c/bindings").join(package);
        for (name, bytes) in
            generate(package, interfaces).map_err(|error| Failure::new(format!("{error:#}")))?
        {
            out.push((dir.join(name), bytes));
        }
    }
    Ok(out)
}

fn generate(
    package: &str,
    interfaces: &[(&str, &str)],
) -> std::result::Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit/types"))?;
    let (id, _) = resolve.push_dir(root().join("wit").join(package))?;
    let world = resolve.select_world(&[id], None)?;
    let names = interfaces.iter().chain([&TYPES]);
    let opts = Opts {
        // `meshctl plugin build` describes the world by itself.
        no_object_file: true,
        rename_world: Some("plugin".into()),
        rename: names.map(|(long, short)| ((*long).to_owned(), (*short).to_owned())).collect(),
        ..Opts::default()
    };
    let mut files = Files::default();
    opts.build().generate(&mut resolve, world, &mut files)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(files.iter().map(|(name, bytes)| (name.to_owned(), text(bytes))).collect())
}
