//! Atlas's directives: comments at the top of a file, with an empty line behind them.

/// What the directives of this name say, one for each: what stands behind the name.
pub(super) fn of_file<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    top(text).into_iter().filter_map(|line| directive(line, name)).collect()
}

/// Whether the file's contents do not count in `atlas.sum`.
pub(super) fn is_left_out_of_sums(text: &str) -> bool {
    directive(text.split('\n').next().unwrap_or_default(), "sum") == Some("ignore")
}

/// What ends a statement of the file, where the file itself says so.
pub(super) fn delimiter(text: &str) -> Option<&str> {
    let first = text.split('\n').next().unwrap_or_default();
    directive(first, "delimiter").filter(|_| first.starts_with("-- atlas:"))
}

/// The comments at the top; none where a statement follows them at once, because they are that statement's then.
fn top(text: &str) -> Vec<&str> {
    let (mut comments, mut rest) = (Vec::new(), text);
    while rest.starts_with('#') || rest.starts_with("--") {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        comments.push(line.trim());
        rest = after;
    }
    let apart = rest.is_empty() || rest.trim_start_matches([' ', '\t']).starts_with('\n');
    if apart { comments } else { Vec::new() }
}

fn directive<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (before, after) = line.rsplit_once("atlas:")?;
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    let printable = before.bytes().all(|b| (b' '..=b'~').contains(&b));
    (printable && &after[..end] == name).then(|| after[end..].trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_stand_at_the_top_apart_from_the_statements() {
        let text = "-- atlas:nolint\n--atlas:txmode  none \n\nCREATE TABLE t (id int);\n";
        assert_eq!((of_file(text, "txmode"), of_file(text, "nolint")), (vec!["none"], vec![""]));
        assert!(of_file("-- atlas:txmode none\nSELECT 1;", "txmode").is_empty());
        assert!(of_file("SELECT 1;\n-- atlas:txmode none\n\n", "txmode").is_empty());
        assert_eq!(of_file("# atlas:checkpoint v1", "checkpoint"), ["v1"]);
    }

    #[test]
    fn the_first_line_says_what_counts_and_what_ends_a_statement() {
        assert!(is_left_out_of_sums("-- atlas:sum ignore\nSELECT 1;"));
        assert!(!is_left_out_of_sums("SELECT 1;\n-- atlas:sum ignore\n"));
        assert_eq!(delimiter("-- atlas:delimiter \\n\\n\nSELECT 1"), Some("\\n\\n"));
        assert_eq!(delimiter("\n-- atlas:delimiter //\n"), None);
    }
}
