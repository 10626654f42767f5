//! What a request is known by: the caller's own name for it, and the digest of what it asks for.

use super::{Pick, RunSpec, Selection};
use crate::{digest::Digest, tenant::Slug};

/// How many bytes a key may have.
const MAX_KEY: usize = 255;

impl RunSpec {
    /// The digest of what is asked for: alike for the same migrations, version, action, tenants and parent, however
    /// their names are ordered and however the run is to be worked.
    #[must_use]
    pub fn request(&self) -> Digest {
        let action = serde_json::to_string(&self.action).unwrap_or_default();
        let (target, parent) = (self.target.to_string(), self.parent.map(|run| run.to_string()));
        let selection = exactly(&self.selection);
        let parts = [
            ("bundle", self.digest.as_str()),
            ("target", &target),
            ("action", &action),
            ("parent", parent.as_deref().unwrap_or_default()),
        ];
        Digest::of(parts.into_iter().chain(selection.iter().map(|(name, text)| (*name, text.as_str()))))
    }
}

/// A selection with every name in it, where [`Selection::describe`] counts them.
fn exactly(selection: &Selection) -> [(&'static str, String); 5] {
    let (kind, of, tenants) = match &selection.pick {
        Pick::All => ("all", String::new(), String::new()),
        Pick::Tenants(tenants) => ("tenants", String::new(), sorted(tenants)),
        Pick::Labels(selector) => ("labels", selector.to_string(), String::new()),
        Pick::FailedIn { run, fingerprint, tenants } => {
            ("failed", format!("{run} {}", fingerprint.as_deref().unwrap_or_default()), sorted(tenants))
        }
    };
    [
        ("pick", kind.to_owned()),
        ("of", of),
        ("tenants", tenants),
        ("exclude", sorted(&selection.exclude)),
        ("limit", selection.limit.map(|limit| limit.to_string()).unwrap_or_default()),
    ]
}

/// No slug holds a line's end.
fn sorted(slugs: &[Slug]) -> String {
    let mut names: Vec<&str> = slugs.iter().map(Slug::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.join("\n")
}

/// Reads the caller's name for a request.
///
/// # Errors
/// When it is empty, longer than 255 bytes, or holds what cannot be seen.
pub fn parse_key(text: &str) -> Result<String, String> {
    if text.is_empty() || text.trim() != text || text.len() > MAX_KEY || text.chars().any(char::is_control) {
        return Err(format!("a key is 1 to {MAX_KEY} bytes without space around it or control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::RunId,
        run::{Action, ActionKind, Policy},
    };

    fn spec(pick: Pick) -> RunSpec {
        RunSpec {
            digest: Digest::of([("1.sql", "SELECT 1")]),
            target: 1.into(),
            selection: Selection { pick, exclude: vec![], limit: None },
            action: Action::default(),
            central: false,
            policy: Policy::default(),
            parent: None,
            requested_by: "me".into(),
            reason: None,
            key: None,
            overlap: false,
            migrations: vec![],
            retry_failed: false,
        }
    }

    fn named(names: &[&str]) -> Pick {
        Pick::Tenants(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn a_request_is_the_same_in_whichever_order_its_tenants_are_named() {
        assert_eq!(spec(named(&["a", "b", "a"])).request(), spec(named(&["b", "a"])).request());
        let other = RunSpec { requested_by: "you".into(), reason: Some("x".into()), ..spec(Pick::All) };
        assert_eq!(other.request(), spec(Pick::All).request());
    }

    #[test]
    fn requests_of_other_tenants_versions_or_actions_are_others() {
        let run = RunId::new();
        let failed = |tenants| Pick::FailedIn { run, fingerprint: None, tenants };
        let limited = Selection { pick: Pick::All, exclude: vec![], limit: Some(2) };
        let without = Selection { pick: Pick::All, exclude: vec!["a".parse().unwrap()], limit: None };
        let requests = [
            spec(Pick::All),
            spec(named(&["a", "b"])),
            spec(named(&["a", "c"])),
            spec(Pick::Labels("a=b".parse().unwrap())),
            spec(failed(vec![])),
            spec(failed(vec!["a".parse().unwrap()])),
            RunSpec { selection: limited, ..spec(Pick::All) },
            RunSpec { selection: without, ..spec(Pick::All) },
            RunSpec { target: 2.into(), ..spec(Pick::All) },
            RunSpec { parent: Some(run), ..spec(Pick::All) },
            RunSpec { action: Action { kind: ActionKind::Baseline, sets: vec![] }, ..spec(Pick::All) },
        ];
        let digests: std::collections::HashSet<Digest> = requests.iter().map(RunSpec::request).collect();
        assert_eq!(digests.len(), requests.len());
    }

    #[test]
    fn a_key_is_one_word_or_several_that_can_be_seen() {
        assert_eq!(parse_key("deploy 9f2c1e").as_deref(), Ok("deploy 9f2c1e"));
        for wrong in ["", " a", "a ", "a\nb", &"a".repeat(256)] {
            assert!(parse_key(wrong).is_err(), "{wrong:?}");
        }
    }
}
