//! Projects as files: what every language has, and the table of the languages.
//!
//! Each language is one module with one [`Language`]; to add one, write its file beside `rust.rs`, put its
//! templates into `cli/templates/LANGUAGE/` and add it to [`LANGUAGES`]. The manifest and the table cases of a
//! slot are the same for all, so that all implement the same policy and are held to the same answers.

use std::borrow::Cow;
use std::fmt;

use mesh_node::api::{ApiError, code};
use mesh_plugin_host::interfaces::{self, WitPackage};
use mesh_plugin_host::{Kind, Manifest};

use super::{c, js, python, rust};
use crate::commands::plugin::wit;

/// All languages that there are templates for; the first is the default.
pub static LANGUAGES: &[Language] = &[rust::LANGUAGE, js::LANGUAGE, python::LANGUAGE, c::LANGUAGE];

/// A language that a project can be written in.
pub struct Language {
    /// What `--lang` takes, such as `rust`.
    pub name: &'static str,
    /// What must be installed to build it, for people, a line each.
    pub needs: &'static [&'static str],
    /// The program that its command of `[build]` runs, and what installs it.
    pub tool: (&'static str, &'static str),
    /// The memory that its plugins say they need, with whatever the language brings along.
    pub memory: &'static str,
    /// The `[build]` section of the manifest: `command`, `artifact` unless it is cargo's, and `watch`.
    pub build: &'static str,
    /// Says whether a project can have this name in this language.
    pub accepts: fn(&Project) -> Result<(), ApiError>,
    /// Returns the files beside those of [`files`].
    pub files: fn(&Project) -> Vec<File>,
}

/// Returns what installs the program that a command of `[build]` runs; `None` for one of another language.
pub fn installs(command: &str) -> Option<&'static str> {
    let is_run = |language: &&Language| command.split_whitespace().any(|word| word == language.tool.0);
    LANGUAGES.iter().find(is_run).map(|language| language.tool.1)
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a project is called, and what it is for.
#[derive(Clone, Debug)]
pub struct Project {
    /// `author/name`.
    pub plugin: String,
    /// The part behind the stroke.
    pub name: String,
    /// What it implements.
    pub kind: Kind,
}

/// One file of a project.
#[derive(Clone, Debug)]
pub struct File {
    /// Below the project's directory.
    pub path: String,
    /// What is in it.
    pub text: Cow<'static, str>,
}

impl File {
    /// A file with this text.
    pub fn new(path: impl Into<String>, text: impl Into<Cow<'static, str>>) -> File {
        File { path: path.into(), text: text.into() }
    }
}

impl Project {
    /// Reads `NAME` or `AUTHOR/NAME`; the author is `you` when absent.
    ///
    /// # Errors
    /// `BAD_PLUGIN_NAME`.
    pub fn named(text: &str, kind: Kind) -> Result<Project, ApiError> {
        let plugin = if text.contains('/') { text.to_owned() } else { format!("you/{text}") };
        let name = plugin.split_once('/').map(|(_, name)| name.to_owned()).unwrap_or_default();
        let manifest = format!("[plugin]\nname = \"{}\"\nversion = \"0.1.0\"\n", plugin.escape_default());
        match Manifest::parse(manifest.as_bytes()) {
            Ok(_) => Ok(Project { plugin, name, kind }),
            Err(_) => {
                Err(bad_name(text, "a name is NAME or AUTHOR/NAME in lower-case letters, digits and dashes"))
            }
        }
    }

    /// Returns the slot it is for.
    pub fn slot(&self) -> &'static str {
        self.kind.slot()
    }

    /// Returns a template with its `{{…}}` filled in: `plugin`, `name`, `ident` (with underscores), `slot`,
    /// `kind`, `world` and `host`.
    pub fn fill(&self, template: &str) -> String {
        let ident = self.name.replace('-', "_");
        let values = [
            ("{{plugin}}", self.plugin.as_str()),
            ("{{name}}", &self.name),
            ("{{ident}}", &ident),
            ("{{slot}}", self.slot()),
            ("{{kind}}", self.kind.name()),
            ("{{world}}", self.kind.world()),
            ("{{host}}", env!("CARGO_PKG_VERSION")),
        ];
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Makes the error for a name that cannot be used.
pub fn bad_name(name: &str, why: &str) -> ApiError {
    ApiError::new(&code::BAD_PLUGIN_NAME, format!("'{name}' cannot be used: {why}"))
}

/// Returns all files of a project: manifest, table cases, interfaces, and those of its language.
pub fn files(language: &Language, project: &Project) -> Vec<File> {
    let (manifest, cases) = of_slot(project.kind);
    let manifest = project.fill(manifest).replace("{{memory}}", language.memory);
    let mut files = vec![
        File::new("plugin.toml", manifest + &project.fill(language.build)),
        File::new("tests/cases.toml", cases),
        File::new(".gitignore", include_str!("../../../../templates/gitignore")),
    ];
    files.extend((language.files)(project));
    files
}

fn of_slot(kind: Kind) -> (&'static str, &'static str) {
    macro_rules! of {
        ($slot:literal) => {
            (
                include_str!(concat!("../../../../templates/slots/", $slot, "/plugin.toml")),
                include_str!(concat!("../../../../templates/slots/", $slot, "/cases.toml")),
            )
        };
    }
    match kind {
        Kind::Routing => of!("route"),
        Kind::Qos => of!("qos"),
        Kind::Topology => of!("topology"),
        Kind::Admission => of!("admission"),
        Kind::Carry => of!("carry"),
        Kind::Handler => of!("beacon"),
    }
}

/// Returns the interfaces of the host as files `wit/PACKAGE/PACKAGE.wit`.
pub fn wit_files() -> Vec<File> {
    let file = |package: WitPackage| {
        let name = package.file.trim_end_matches(".wit");
        File::new(format!("wit/{name}/{}", package.file), package.text)
    };
    interfaces::ALL.into_iter().map(file).collect()
}

/// Returns the interface of a slot as tools for other languages look for it: its package in `wit/`, and what that uses
/// below `wit/deps/`.
pub fn wit_dir(kind: Kind) -> Vec<File> {
    let file = |file: wit::File| File::new(format!("wit/{}", file.path.display()), file.text);
    wit::of_slot(kind).into_iter().map(file).collect()
}

/// As [`wit_dir`], for tools that import all that a world offers, used or not: a handler is offered what the template uses,
/// because whoever installs a plugin is asked for each import.
pub fn wit_dir_of_used(kind: Kind) -> Vec<File> {
    const OFFERED: &str = "    import kv;\n";
    const LEFT_OUT: &str =
        "    // import kv;    to use it, here and as one of the [[grants]] of plugin.toml\n";
    let mut files = wit_dir(kind);
    for file in &mut files {
        file.text = file.text.replace(OFFERED, LEFT_OUT).into();
    }
    files
}

/// Languages that have no names of their own for a project take every name.
///
/// # Errors
/// Never.
pub fn any_name(_: &Project) -> Result<(), ApiError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_has_a_right_manifest_and_no_gap() {
        for language in LANGUAGES {
            for kind in Kind::ALL {
                let project = Project::named("acme/my-router", kind).unwrap();

                let files = files(language, &project);

                let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &file.text);
                let manifest = Manifest::parse(text("plugin.toml").unwrap().as_bytes()).unwrap();
                assert_eq!(manifest.plugin.slots, [kind.slot()]);
                assert_eq!(manifest.plugin.world, kind.world());
                assert!(manifest.build.command.is_some() && !manifest.build.watch.is_empty());
                assert!(text("README.md").is_some() && text(".gitignore").is_some());
                // Sources may have braces of their own.
                let is_text = |file: &&File| !file.path.ends_with(".rs");
                let gaps = files.iter().filter(is_text).filter(|file| file.text.contains("{{"));
                assert_eq!(gaps.map(|file| &file.path).collect::<Vec<_>>(), [""; 0]);
            }
        }
    }

    #[test]
    fn names_are_those_that_a_manifest_may_have() {
        for (text, want) in [
            ("my-router", Some("you/my-router")),
            ("acme/fair", Some("acme/fair")),
            ("My", None),
            ("a/b/c", None),
            ("", None),
            ("../x", None),
            ("x\"y", None),
        ] {
            let project = Project::named(text, Kind::Qos);
            assert_eq!(project.ok().map(|project| project.plugin).as_deref(), want, "{text}");
        }
    }
}
