//! docs/plugins/tutorial.md does what it says: its commands run in their order, its changes are made, and they work.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Place, Ran};

const TUTORIAL: &str = include_str!("../../../docs/plugins/tutorial.md");

/// A block of code: what stands behind its opening fence, and its lines.
struct Block {
    kind: &'static str,
    lines: Vec<&'static str>,
}

fn blocks(text: &'static str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            blocks.push(Block { kind, lines: lines.by_ref().take_while(|line| *line != "```").collect() });
        }
    }
    blocks
}

/// A reader with a shell: where they are, and what they have.
struct Reader {
    place: Place,
    dir: PathBuf,
}

impl Reader {
    fn new() -> Reader {
        let place = Place::with_toolchain();
        Reader { dir: place.path().to_owned(), place }
    }

    fn runs(&mut self, line: &str) -> Ran {
        if let Some(dir) = line.strip_prefix("cd ") {
            self.dir.push(dir);
            return Ran { code: Some(0), stdout: String::new(), stderr: String::new() };
        }
        // The environment of the harness, with the program in PATH.
        let mut shell = self.place.command(&[]);
        let envs: Vec<_> = shell.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        shell = std::process::Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.dir).env_clear().stdin(std::process::Stdio::null());
        shell.envs(envs.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let meshctl = Path::new(env!("CARGO_BIN_EXE_meshctl")).parent().unwrap();
        shell.env("PATH", format!("{}:{}", meshctl.display(), std::env::var("PATH").unwrap()));
        Ran::of(shell.output().unwrap())
    }

    /// Makes a change of `src/lib.rs` as it is shown: lines that stay, and lines that are new.
    fn changes(&self, lines: &[&str]) {
        let path = self.dir.join("src/lib.rs");
        let text = fs::read_to_string(&path).unwrap();
        let with = |marks: &[char]| -> String {
            let lines = lines.iter().filter(|line| line.starts_with(marks));
            lines.map(|line| format!("{}\n", &line[1..])).collect()
        };
        let (before, after) = (with(&[' ', '-']), with(&[' ', '+']));
        assert_eq!(
            text.matches(&before).count(),
            1,
            "src/lib.rs of a new project has other lines than\n{before}"
        );
        fs::write(path, text.replace(&before, &after)).unwrap();
    }

    fn appends(&self, lines: &[&str]) {
        let path = self.dir.join("tests/cases.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\n{}\n", lines.join("\n"))).unwrap();
    }

    fn does(&mut self, block: &Block) {
        match block.kind {
            "diff" => self.changes(&block.lines),
            "toml" => self.appends(&block.lines),
            "console" | "console exact" => self.follows(block),
            other => panic!("what is a reader to do with a block of {other}?"),
        }
    }

    fn follows(&mut self, block: &Block) {
        let mut printed = String::new();
        for line in block.lines.iter().filter_map(|line| line.strip_prefix("$ ")) {
            let ran = self.runs(line);
            assert_eq!(ran.code, Some(0), "$ {line}\n{}{}", ran.stdout, ran.stderr);
            printed += &ran.stdout;
        }
        if block.kind == "console exact" {
            let shown = block.lines.iter().filter(|line| !line.starts_with("$ "));
            assert_eq!(printed, shown.map(|line| format!("{line}\n")).collect::<String>());
        }
    }
}

impl Drop for Reader {
    /// Also after a failure no node stays behind.
    fn drop(&mut self) {
        let _ = self.place.command(&["-N", "alice", "down"]).output();
    }
}

#[test]
fn the_tutorial_works_from_the_first_command_to_the_last() {
    let mut reader = Reader::new();

    for block in blocks(TUTORIAL) {
        reader.does(&block);
    }
}
