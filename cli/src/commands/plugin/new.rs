//! `meshctl plugin new`: a project to start from. The templates are compiled in; nothing is fetched.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_plugin_host::Kind;
use serde::Serialize;

use super::Context;
use crate::output::human;
use crate::output::{Pair, Show, View, undo};

mod c;
mod js;
mod lock;
mod python;
mod rust;
mod sdk;
mod template;

pub use template::{File, LANGUAGES, Language, Project, installs};

/// Make a project for a plugin, with a small policy that works.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin new my-router
  meshctl plugin new acme/fair --slot qos
  meshctl plugin new notes --slot beacon --dir /tmp/notes
  meshctl plugin new my-router --dry-run            name the files and write nothing

Then: cd my-router && meshctl plugin run")]
pub struct New {
    /// Its name, as NAME or AUTHOR/NAME: lower-case letters, digits and dashes.
    name: String,
    #[arg(
        long,
        default_value = "route",
        value_parser = slot,
        help = concat!("The slot it is for: ", slots!(), ". The names of the kinds do as well")
    )]
    slot: Kind,
    /// The language it is written in.
    #[arg(long, default_value = "rust", value_parser = language)]
    lang: &'static Language,
    /// Where the project goes; a directory with its name when absent.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What was made.
#[derive(Debug, Serialize)]
struct NewReport {
    plugin: String,
    slot: &'static str,
    lang: &'static str,
    dir: PathBuf,
    files: Vec<String>,
    needs: &'static [&'static str],
    dry_run: bool,
    undo: Option<String>,
}

impl New {
    /// Writes the project and says what to do next.
    ///
    /// # Errors
    /// `BAD_PLUGIN_NAME`, `PROJECT_EXISTS`, or `FILE_FAILED`.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let project = Project::named(&self.name, self.slot)?;
        (self.lang.accepts)(&project)?;
        let dir = self.dir.unwrap_or_else(|| PathBuf::from(&project.name));
        require_free(&dir)?;
        let files = template::files(self.lang, &project);
        let dry_run = context.globals.dry_run;
        let existed = dir.exists();
        if !dry_run {
            for file in &files {
                write(&dir, file).map_err(|error| failed(&dir.join(&file.path), &error))?;
            }
        }
        let inside = if existed { "/*" } else { "" };
        let undo = format!("rm -r {}{inside}", undo::quoted(&dir));
        let report = NewReport {
            plugin: project.plugin.clone(),
            slot: project.slot(),
            lang: self.lang.name,
            files: files.into_iter().map(|file| file.path).collect(),
            dir,
            needs: self.lang.needs,
            dry_run,
            undo: (!dry_run).then_some(undo),
        };
        context.out.print(None, &report)
    }
}

fn slot(text: &str) -> Result<Kind, String> {
    let fits = |kind: &Kind| text == kind.slot() || text == kind.name();
    Kind::ALL.into_iter().find(fits).ok_or_else(|| {
        let slots = Kind::ALL.map(Kind::slot).join(", ");
        format!("the slots are {slots}")
    })
}

fn language(text: &str) -> Result<&'static Language, String> {
    LANGUAGES.iter().find(|language| language.name == text).ok_or_else(|| {
        let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
        format!("there are templates for {}", names.join(", "))
    })
}

// An empty directory may be there: somebody has made it for this.
fn require_free(dir: &Path) -> Result<(), ApiError> {
    let is_free = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(dir, &error)),
    };
    if is_free {
        return Ok(());
    }
    let error = ApiError::new(&code::PROJECT_EXISTS, "the directory is there and not empty");
    Err(error.fact("directory", dir.display()).help("meshctl plugin new NAME --dir OTHER"))
}

// `create_new` so that nothing of anybody is overwritten, also what came a moment ago.
fn write(dir: &Path, file: &File) -> io::Result<()> {
    let path = dir.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(file.text.as_bytes())
}

fn failed(path: &Path, error: &io::Error) -> ApiError {
    ApiError::new(&code::FILE_FAILED, error).fact("path", path.display())
}

impl Show for NewReport {
    const SCHEMA: &'static str = "plugin-new";

    fn view(&self) -> View {
        let dir = human::safe(&self.dir.display().to_string());
        let label = if self.dry_run { "would write" } else { "files" };
        let mut pairs = vec![
            Pair::new("plugin", "plugin", &self.plugin),
            Pair::new("slot", "slot", self.slot),
            Pair::new("lang", "language", self.lang),
            Pair::new("dir", "directory", &dir),
            Pair::new("files", label, self.shown_files()),
        ];
        pairs.extend(self.needs.iter().map(|need| Pair::new("needs", "needs", need)));
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", human::safe(undo)));
        }
        let next = match self.dry_run {
            true => "nothing was written\n".to_owned(),
            false => format!("next: cd {dir} && meshctl plugin run\n"),
        };
        View::Parts(vec![View::Pairs(pairs), View::Text(next)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.dir.display().to_string()]
    }
}

impl NewReport {
    // Those that an author opens; the others are counted.
    fn shown_files(&self) -> String {
        let is_own = |path: &&String| !path.starts_with("sdk/") && !path.starts_with("wit/");
        let own: Vec<&str> = self.files.iter().filter(is_own).map(String::as_str).collect();
        format!("{}; {} of the SDK", own.join(" "), self.files.len() - own.len())
    }
}
