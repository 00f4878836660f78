//! Tables on the terminal and in Markdown.

/// Rows of text under a head; the first column is flush left, the others flush right.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&cell| cell.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                self.lines().map(|line| line.get(column).map_or(0, |cell| cell.chars().count())).max()
            })
            .map(Option::unwrap_or_default)
            .collect();
        let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("  ");
        let mut text = String::new();
        for (at, line) in self.lines().enumerate() {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
            if at == 0 {
                text.push_str(&rule);
                text.push('\n');
            }
        }
        text
    }

    /// For documents.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (at, line) in self.lines().enumerate() {
            text.push_str(&format!("| {} |\n", line.join(" | ")));
            if at == 0 {
                let rule: Vec<&str> =
                    (0..line.len()).map(|column| if column == 0 { "---" } else { "--:" }).collect();
                text.push_str(&format!("|{}|\n", rule.join("|")));
            }
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }
}

/// 1234567 as "1,234,567".
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["client", "ops/s"]);
        table.row(["Rust".into(), "353,000".into()]);
        assert_eq!(table.text(), "client    ops/s\n------  -------\nRust    353,000\n");
    }
}
