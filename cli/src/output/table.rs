//! Tables and lists for people. Columns that do not fit are left out, the least important first; nothing is
//! wrapped.

use mesh_node::api::{ApiError, code};
use unicode_width::UnicodeWidthStr;

use super::human::{self, BOLD, DIM, styled};

/// What a person sees of a value.
#[derive(Clone, Debug)]
pub enum View {
    /// Many of the same kind.
    Rows(Rows),
    /// One, with a line for each of its members.
    Pairs(Vec<Pair>),
    /// Parts below each other, with an empty line between them.
    Parts(Vec<View>),
    /// Text as it is.
    Text(String),
}

/// Many of the same kind.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    empty: &'static str,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The member's name in JSON, for `--fields`.
    pub field: &'static str,
    /// The heading.
    pub title: &'static str,
    /// 0 is never left out; higher ones go first.
    pub priority: u8,
    /// Whether it is a number, and so goes to the right.
    pub right: bool,
}

impl Column {
    /// A column of text.
    pub const fn text(field: &'static str, title: &'static str, priority: u8) -> Column {
        Column { field, title, priority, right: false }
    }

    /// A column of numbers.
    pub const fn number(field: &'static str, title: &'static str, priority: u8) -> Column {
        Column { field, title, priority, right: true }
    }
}

/// One member of a value.
#[derive(Clone, Debug)]
pub struct Pair {
    field: &'static str,
    label: &'static str,
    value: String,
}

impl Pair {
    /// A member by its name in JSON, with its label and value.
    pub fn new(field: &'static str, label: &'static str, value: impl std::fmt::Display) -> Pair {
        Pair { field, label, value: value.to_string() }
    }

    /// The member `plugin`, with the version behind its name.
    pub fn plugin(name: &str, version: &str) -> Pair {
        Pair::new("plugin", "plugin", format!("{} {}", human::safe(name), human::safe(version)))
    }
}

impl Rows {
    /// A table without rows; `empty` is what is printed while it has none.
    pub fn new(columns: &[Column], empty: &'static str) -> Rows {
        Rows { columns: columns.to_vec(), rows: Vec::new(), empty }
    }

    /// Appends a row: one cell for each column.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    fn render(&self, fields: &[String], width: Option<usize>) -> Result<String, ApiError> {
        let mut shown = self.chosen(fields)?;
        if self.rows.is_empty() {
            return Ok(format!("{}\n", self.empty));
        }
        if let (true, Some(width)) = (fields.is_empty(), width) {
            self.drop_until(&mut shown, width);
        }
        let bold = |&column: &usize| match self.columns[column].title {
            "" => String::new(),
            title => styled(BOLD, title),
        };
        let titles = shown.iter().map(bold).collect();
        let mut text = self.line(&shown, titles);
        for row in &self.rows {
            text += &self.line(&shown, shown.iter().map(|&column| row[column].clone()).collect());
        }
        Ok(text)
    }

    fn chosen(&self, fields: &[String]) -> Result<Vec<usize>, ApiError> {
        if fields.is_empty() {
            return Ok((0..self.columns.len()).collect());
        }
        let find = |field: &String| {
            let column = self.columns.iter().position(|column| column.field == field);
            column.ok_or_else(|| no_column(field, self.columns.iter().map(|column| column.field)))
        };
        fields.iter().map(find).collect()
    }

    fn drop_until(&self, shown: &mut Vec<usize>, width: usize) {
        let total =
            |shown: &[usize]| shown.iter().map(|&column| self.width_of(column) + GAP.len()).sum::<usize>();
        while total(shown) > width + GAP.len() {
            let least = shown.iter().enumerate().max_by_key(|&(_, &column)| self.columns[column].priority);
            match least {
                Some((place, &column)) if self.columns[column].priority > 0 => shown.remove(place),
                _ => return,
            };
        }
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| visible(&row[column])).max().unwrap_or(0);
        cells.max(visible(self.columns[column].title))
    }

    fn line(&self, shown: &[usize], cells: Vec<String>) -> String {
        let mut line = String::new();
        for (&column, cell) in shown.iter().zip(cells) {
            let pad = " ".repeat(self.width_of(column).saturating_sub(visible(&cell)));
            if !line.is_empty() {
                line += GAP;
            }
            line += &if self.columns[column].right { pad + &cell } else { cell + &pad };
        }
        format!("{}\n", line.trim_end())
    }
}

const GAP: &str = "  ";

impl View {
    /// Returns the text. A table wider than `width` loses columns.
    ///
    /// # Errors
    /// `USAGE` for a field that is not there.
    pub fn render(&self, fields: &[String], width: Option<usize>) -> Result<String, ApiError> {
        match self {
            View::Rows(rows) => rows.render(fields, width),
            View::Pairs(pairs) => pairs_text(pairs, fields),
            View::Text(text) => Ok(text.clone()),
            // A field belongs to the first part, which is the value itself; the others explain it.
            View::Parts(parts) if !fields.is_empty() => match parts.first() {
                Some(first) => first.render(fields, width),
                None => Ok(String::new()),
            },
            View::Parts(parts) => {
                let texts =
                    parts.iter().map(|part| part.render(&[], width)).collect::<Result<Vec<_>, _>>()?;
                Ok(texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

fn pairs_text(pairs: &[Pair], fields: &[String]) -> Result<String, ApiError> {
    let all: Vec<&Pair> = pairs.iter().collect();
    let find = |field: &String| {
        let pair = pairs.iter().find(|pair| pair.field == field);
        pair.ok_or_else(|| no_column(field, pairs.iter().map(|pair| pair.field)))
    };
    let shown = if fields.is_empty() { all } else { fields.iter().map(find).collect::<Result<_, _>>()? };
    let width = shown.iter().map(|pair| visible(pair.label)).max().unwrap_or(0);
    let line = |pair: &&Pair| {
        let pad = " ".repeat(width - visible(pair.label));
        format!("{}{pad}   {}\n", styled(DIM, pair.label), pair.value)
    };
    Ok(shown.iter().map(line).collect())
}

fn no_column<'a>(field: &str, known: impl Iterator<Item = &'a str>) -> ApiError {
    let known: Vec<_> = known.filter(|field| !field.is_empty()).collect();
    ApiError::new(&code::USAGE, format!("there is no field '{field}' here")).fact("fields", known.join(","))
}

fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> View {
        let mut rows = Rows::new(
            &[
                Column::text("name", "NAME", 0),
                Column::number("rtt_s", "RTT", 1),
                Column::text("addr", "ADDR", 2),
            ],
            "no neighbours yet",
        );
        rows.push(["bob".into(), "0.41 ms".into(), "127.0.0.1:4747".into()]);
        rows.push([styled(BOLD, "søren"), "38 µs".into(), "–".into()]);
        View::Rows(rows)
    }

    fn plain(view: &View, fields: &[&str], width: Option<usize>) -> String {
        let fields: Vec<String> = fields.iter().map(|&field| field.into()).collect();
        anstream::adapter::strip_str(&view.render(&fields, width).unwrap()).to_string()
    }

    #[test]
    fn a_table_aligns_text_left_and_numbers_right() {
        let want = "NAME       RTT  ADDR\nbob    0.41 ms  127.0.0.1:4747\nsøren    38 µs  –\n";
        assert_eq!(plain(&table(), &[], None), want);
        assert_eq!(plain(&table(), &[], Some(30)), want);
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_columns() {
        assert_eq!(plain(&table(), &[], Some(29)), "NAME       RTT\nbob    0.41 ms\nsøren    38 µs\n");
        assert_eq!(plain(&table(), &[], Some(2)), "NAME\nbob\nsøren\n");
    }

    #[test]
    fn fields_select_columns_in_the_order_given() {
        assert_eq!(
            plain(&table(), &["addr", "name"], Some(2)),
            "ADDR            NAME\n127.0.0.1:4747  bob\n–               søren\n"
        );
        let error = table().render(&["speed".to_owned()], None).unwrap_err();
        assert_eq!(error.facts, [("fields".to_owned(), "name,rtt_s,addr".to_owned())]);
    }

    #[test]
    fn an_empty_table_says_so() {
        let view = View::Rows(Rows::new(&[Column::text("name", "NAME", 0)], "no neighbours yet"));
        assert_eq!(plain(&view, &[], None), "no neighbours yet\n");
    }

    #[test]
    fn pairs_align_their_values() {
        let view = View::Pairs(vec![Pair::new("node", "identity", "ab"), Pair::new("pid", "pid", 7)]);
        assert_eq!(plain(&view, &[], None), "identity   ab\npid        7\n");
        assert_eq!(plain(&view, &["pid"], None), "pid   7\n");
    }
}
