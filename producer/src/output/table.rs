//! Tables without borders: aligned columns, upper-case heading, cut to the width of a terminal and never elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use comfy_table::{ContentArrangement, Table as Grid, presets::NOTHING};

/// Rows under a heading.
pub(crate) struct Table(Grid);

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(NOTHING).set_header(heading.iter().map(|name| name.to_uppercase()));
        if std::io::stdout().is_terminal() {
            grid.set_content_arrangement(ContentArrangement::Dynamic);
        }
        Self(grid)
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells);
    }

    pub(crate) fn text(&self) -> String {
        self.0.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned() + "\n").collect()
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
    fn columns_are_aligned_under_their_heading() {
        let mut table = Table::new(&["run", "state"]);
        table.row(vec!["412".into(), "failed".into()]);
        assert_eq!(table.text(), "RUN  STATE\n412  failed\n");
    }
}
