//! `meshctl plugin wit`: the interfaces that this program was built with, or those of a component.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_plugin_host::Kind;
use mesh_plugin_host::interfaces::{self, WitPackage};
use serde::Serialize;

use super::{Context, local};
use crate::output::{Pair, Show, View, undo};

/// Print the WIT of a slot or of a component.
#[derive(Debug, Args)]
pub struct Wit {
    #[arg(
        value_name = "SLOT|FILE",
        help = concat!("A slot (", slots!(), "), a component, a package, or built-in/NAME; all slots when absent")
    )]
    of: Option<String>,
    /// Write files there instead, as build tools expect them: the slot's package, and what it uses in deps/.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// WIT files.
#[derive(Debug, Serialize)]
struct WitReport {
    files: Vec<File>,
    /// Whether they were written, or only printed.
    written: bool,
    dry_run: bool,
    undo: Option<String>,
}

/// One file: where it goes below `--out`, and what it says.
#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Wit {
    /// Prints or writes.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut files = self.files()?;
        let dry_run = context.globals.dry_run;
        let mut new = Vec::new();
        if let Some(out) = &self.out {
            for file in &mut files {
                file.path = out.join(&file.path);
                check(file)?;
            }
            new = files.iter().filter(|file| !file.path.exists()).map(|file| file.path.clone()).collect();
            if !dry_run {
                files.iter().try_for_each(write)?;
            }
        }
        let written = self.out.is_some() && !dry_run;
        let undo = (written && !new.is_empty()).then(|| undo::rm(new.iter().map(PathBuf::as_path)));
        context.out.print(None, &WitReport { files, written, dry_run: dry_run && self.out.is_some(), undo })
    }

    fn files(&self) -> Result<Vec<File>, ApiError> {
        let Some(of) = self.of.as_deref() else {
            return Ok(interfaces::ALL.iter().map(|package| File::of(package, &own_dir(package))).collect());
        };
        match Kind::ALL.into_iter().find(|kind| of == kind.slot() || of == kind.name()) {
            Some(kind) => Ok(of_slot(kind)),
            None => {
                let component = local::component(of).map_err(|error| {
                    let is_missing = error.is(&code::NO_SUCH_PLUGIN);
                    let slots = Kind::ALL.map(Kind::slot).join(", ");
                    if is_missing { error.help(format!("or a slot: {slots}")) } else { error }
                })?;
                let text = interfaces::of_component(&component)
                    .map_err(|error| ApiError::new(&code::NOT_A_COMPONENT, error).fact("file", of))?;
                Ok(vec![File { path: "component.wit".into(), text }])
            }
        }
    }
}

/// The package of a slot where build tools look for it, and what it uses below `deps`.
pub(super) fn of_slot(kind: Kind) -> Vec<File> {
    let types = File::of(&interfaces::TYPES, &Path::new("deps").join(own_dir(&interfaces::TYPES)));
    vec![File::of(&interfaces::of_kind(kind), Path::new("")), types]
}

fn own_dir(package: &WitPackage) -> PathBuf {
    PathBuf::from(package.file.trim_end_matches(".wit"))
}

impl File {
    fn of(package: &WitPackage, dir: &Path) -> File {
        File { path: dir.join(package.file), text: package.text.to_owned() }
    }
}

// Another file in its place is somebody's work, and stays.
fn check(file: &File) -> Result<(), ApiError> {
    match fs::read(&file.path) {
        Ok(there) if there != file.text.as_bytes() => {
            let message = "another file stands there";
            Err(ApiError::new(&code::FILE_FAILED, message)
                .fact("file", file.path.display())
                .help("give another --out, or move the file away"))
        }
        _ => Ok(()),
    }
}

fn write(file: &File) -> Result<(), ApiError> {
    let dir = file.path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&file.path, &file.text))
        .map_err(|error| ApiError::new(&code::FILE_FAILED, error).fact("file", file.path.display()))
}

impl Show for WitReport {
    const SCHEMA: &'static str = "plugin-wit";

    fn view(&self) -> View {
        if !self.written && !self.dry_run {
            let texts: Vec<&str> = self.files.iter().map(|file| file.text.as_str()).collect();
            return View::Text(texts.join("\n"));
        }
        let label = if self.dry_run { "would write" } else { "written" };
        let mut pairs: Vec<Pair> =
            self.files.iter().map(|file| Pair::new("files", label, file.path.display())).collect();
        pairs.extend(self.undo.as_ref().map(|undo| Pair::new("undo", "undo", undo)));
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.path.display().to_string()).collect()
    }
}
