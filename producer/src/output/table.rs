//! Tables without borders: aligned columns, upper-case heading, cut to the width of a terminal and never elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use comfy_table::{Table as Grid, presets::NOTHING};
use console::Term;

/// Rows under a heading.
pub(crate) struct Table {
    grid: Grid,
    /// The width of the terminal, where there is one.
    width: Option<usize>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(NOTHING).set_header(heading.iter().map(|name| name.to_uppercase()));
        let terminal = std::io::stdout().is_terminal().then(Term::stdout);
        let width = terminal.and_then(|terminal| terminal.size_checked()).map(|(_, width)| width.into());
        Self { grid, width }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.grid.add_row(cells);
    }

    pub(crate) fn text(&self) -> String {
        self.grid.lines().map(|line| self.cut(line.trim()) + "\n").collect()
    }

    fn cut(&self, line: &str) -> String {
        self.width
            .map_or_else(|| line.to_owned(), |width| console::truncate_str(line, width, "…").into_owned())
    }
}

/// The text, or a dash for none.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}

/// So many of a thing.
pub(crate) fn plural(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// How long ago a time was, both in milliseconds since 1970.
pub(crate) fn ago(now: i64, then: i64) -> String {
    let seconds = u64::try_from(now - then).unwrap_or(0) / 1000;
    match seconds {
        0..=9 => "just now".into(),
        10..=119 => format!("{seconds}s ago"),
        120..=7_199 => format!("{}m ago", seconds / 60),
        7_200..=172_799 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A duration as people say it: `840ms`, `12.3s`, `2m 58s`.
pub(crate) fn short_duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms}ms"),
        1_000..=59_999 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!([840, 12_340, 178_000].map(short_duration), ["840ms", "12.3s", "2m 58s"]);
        assert_eq!(ago(200_000, 50_000), "2m ago");
    }

    #[test]
    fn lines_are_cut_to_the_width_of_a_terminal() {
        let mut table = Table { width: Some(11), ..Table::new(&["run", "state"]) };
        table.row(vec!["412".into(), "failed".into()]);
        table.row(vec!["413".into(), "succeeded".into()]);
        assert_eq!(table.text(), "RUN  STATE\n412  failed\n413  succe…\n");
    }

    #[test]
    fn columns_are_aligned_under_their_heading() {
        let mut table = Table::new(&["run", "state"]);
        table.row(vec!["412".into(), "failed".into()]);
        assert_eq!(table.text(), "RUN  STATE\n412  failed\n");
    }
}
