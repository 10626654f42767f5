//! What several formats read in the same way: names of files, and their lines.

use std::ops::Range;

/// The digits that a name begins with, if there are any.
pub(super) fn leading_digits(name: &str) -> Option<&str> {
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    Some(&name[..end]).filter(|digits| !digits.is_empty())
}

/// Whether a line is blank or a comment.
pub(super) fn is_silent(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("--")
}

/// The lines of a text, each with its number, counted from 1, and where it begins and the next one does, in bytes.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (u32, Range<usize>, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').zip(1..).map(move |(line, number)| {
        let at = start..start + line.len();
        start = at.end;
        (number, at, line.trim_end_matches(['\r', '\n']))
    })
}

/// Endings of files that other runners execute as migrations.
const CODE: [&str; 13] =
    ["cjs", "cs", "cts", "go", "java", "js", "kt", "mjs", "mts", "php", "py", "rb", "ts"];

/// Whether a file's name ends like a program's.
pub(super) fn is_code(name: &str) -> bool {
    !name.ends_with(".d.ts")
        && name.rsplit_once('.').is_some_and(|(_, e)| CODE.contains(&e.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_keep_their_place() {
        let text = "-- a\r\nSELECT 1;\n\n-- b\n";
        let numbered: Vec<_> = lines(text).map(|(number, at, line)| (number, at.start, line)).collect();
        assert_eq!(numbered, [(1, 0, "-- a"), (2, 6, "SELECT 1;"), (3, 16, ""), (4, 17, "-- b")]);
    }
}
