//! Commands for a shell that take back what was written.

use std::path::Path;

/// Returns the command that removes these files.
pub fn rm<'a>(files: impl IntoIterator<Item = &'a Path>) -> String {
    files.into_iter().fold("rm".to_owned(), |command, file| command + " " + &quoted(file))
}

/// Returns a path as one word of a shell, which is no option.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    word(&text)
}

/// Returns text as one word of a shell.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        for (path, want) in [
            ("a/b-1.wasm", "a/b-1.wasm"),
            ("my plugin.wasm", "'my plugin.wasm'"),
            ("$(x);y", "'$(x);y'"),
            ("it's", r"'it'\''s'"),
            ("-rf", "./-rf"),
            ("~", "'~'"),
        ] {
            assert_eq!(quoted(Path::new(path)), want, "{path}");
        }
        assert_eq!(rm([Path::new("a"), Path::new("b c")]), "rm a 'b c'");
    }
}
