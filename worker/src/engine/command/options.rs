//! The `options` of a PostgreSQL URL for a program that is to work in a tenant's schema. Those of a URL win over the
//! variable `PGOPTIONS`, so both say the same: the tenant's schema first, then the schemas that the URL names.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const KEY: &str = "options=";
const PATH: &str = "search_path=";

/// What `PGOPTIONS` is to be.
pub(super) fn in_schema(url: &str, schema: &str) -> String {
    let own = escaped(schema);
    let given = pairs(url).find_map(|pair| pair.strip_prefix(KEY)).unwrap_or_default();
    let given = percent_decode_str(given).decode_utf8_lossy();
    match given.split_once(PATH) {
        None if given.is_empty() => format!("-c {PATH}{own}"),
        None => format!("{given} -c {PATH}{own}"),
        Some((before, shared)) if shared.is_empty() || shared.starts_with(' ') => {
            format!("{before}{PATH}{own}{shared}")
        }
        Some((before, shared)) => format!("{before}{PATH}{own},{shared}"),
    }
}

/// A URL with these in place of its own, if it has any.
pub(super) fn replaced(url: &str, schema: &str) -> String {
    let Some((start, query)) = url.split_once('?').filter(|_| pairs(url).any(|pair| pair.starts_with(KEY)))
    else {
        return url.to_owned();
    };
    let options = in_schema(url, schema);
    let pair = |pair: &str| match pair.starts_with(KEY) {
        true => format!("{KEY}{}", utf8_percent_encode(&options, NON_ALPHANUMERIC)),
        false => pair.to_owned(),
    };
    format!("{start}?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
}

fn pairs(url: &str) -> impl Iterator<Item = &str> {
    url.split_once('?').map(|(_, query)| query).unwrap_or_default().split('&')
}

/// A name as the value of an option, which a blank would end.
fn escaped(schema: &str) -> String {
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    quoted.replace('\\', "\\\\").replace(' ', "\\ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_s_schema_is_in_front_of_those_that_the_url_names() {
        for (given, options) in [
            ("", "-c search_path=\"a\\ b\""),
            ("?sslmode=require", "-c search_path=\"a\\ b\""),
            ("?options=-c%20search_path%3Dshared%2Cmore", "-c search_path=\"a\\ b\",shared,more"),
            ("?x=1&options=--search_path=shared%20-c%20a=b", "--search_path=\"a\\ b\",shared -c a=b"),
            ("?options=-c%20search_path%3D", "-c search_path=\"a\\ b\""),
            ("?options=-c%20a%3Db", "-c a=b -c search_path=\"a\\ b\""),
        ] {
            let url = format!("postgres://u@h/d{given}");
            assert_eq!(in_schema(&url, "a b"), options);
            let again = replaced(&url, "a b");
            let kept = pairs(&again)
                .find_map(|pair| pair.strip_prefix(KEY))
                .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
            assert_eq!(kept, given.contains(KEY).then(|| options.to_owned()));
            assert_eq!(again.contains("x=1"), given.contains("x=1"));
        }
    }
}
