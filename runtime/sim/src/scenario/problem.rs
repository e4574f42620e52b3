//! What is wrong with a scenario, and where: file, line, column, and what was probably meant.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the `--set` that it stands in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What was probably meant, or what would be right.
    pub help: Option<String>,
    /// The line itself.
    pub excerpt: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

/// Everything that is wrong with a scenario, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// A text that scenarios are read from, with its name.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    /// Says what is wrong at a byte of the text.
    pub(crate) fn problem(&self, offset: usize, message: String, help: Option<String>) -> Problem {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let excerpt = self.text[start..].lines().next().unwrap_or_default();
        Problem {
            file: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            message,
            help,
            excerpt: excerpt.trim_end().to_owned(),
        }
    }
}

/// Returns the word that `wanted` is most probably a slip of.
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let wanted = plain(wanted);
    let distance = |word: &str| strsim::damerau_levenshtein(&wanted, &plain(word));
    let best = known.into_iter().map(|word| (distance(word), word)).min_by_key(|&(distance, _)| distance);
    best.filter(|&(distance, word)| distance <= (word.len() / 3).max(1)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let source = Source { name: "x.toml".into(), text: "a = 1\nü = b\nc".into() };
        for (offset, line, column, excerpt) in
            [(0, 1, 1, "a = 1"), (6, 2, 1, "ü = b"), (11, 2, 5, "ü = b"), (13, 3, 1, "c"), (14, 3, 2, "c")]
        {
            let problem = source.problem(offset, "no".into(), None);
            assert_eq!(
                (problem.line, problem.column, &*problem.excerpt),
                (line, column, excerpt),
                "{offset}"
            );
        }
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["latency", "loss", "min_links", "at"];
        for (wanted, want) in [
            ("latncy", Some("latency")),
            ("lsos", Some("loss")),
            ("min-links", Some("min_links")),
            ("Loss", Some("loss")),
            ("colour", None),
            ("ta", Some("at")),
        ] {
            assert_eq!(nearest(wanted, known), want, "{wanted}");
        }
    }
}
