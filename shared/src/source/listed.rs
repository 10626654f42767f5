//! What a source lists: a tenant as values, and many of them in little room.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    place::{DatabaseUrl, Place},
    registry::NewTenant,
    tenant::{Labels, Slug, Status},
};

const PACKED: &str = "what was packed here";

/// A tenant as a source lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub slug: Slug,
    /// Its URL.
    pub url: DatabaseUrl,
    /// Where that points.
    pub place: Place,
    /// Whether runs should take it.
    pub status: Status,
    /// The labels that the source speaks of; none: it says that the tenant has no such label.
    pub labels: BTreeMap<String, Option<String>>,
}

impl Listed {
    /// It as a new tenant of the registry.
    #[must_use]
    pub fn into_new(self) -> NewTenant {
        let labels: Labels =
            self.labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        NewTenant { slug: self.slug, url: self.url, place: self.place, status: self.status, labels }
    }
}

/// Tenants of a source, each once, in the order of their names. Each is kept as one text, and is made of it again when it is
/// looked at: as values it would take five times as much memory.
#[derive(Debug, Default)]
pub struct Tenants(BTreeMap<Slug, SecretString>);

impl Tenants {
    /// One more.
    ///
    /// # Errors
    /// That it is there already.
    pub(super) fn add(&mut self, listed: Listed) -> Result<(), String> {
        let text = packed(&listed);
        match self.0.entry(listed.slug) {
            Entry::Occupied(taken) => Err(format!("tenant '{}' is there twice", taken.key())),
            Entry::Vacant(free) => {
                free.insert(text);
                Ok(())
            }
        }
    }

    /// The tenant of this name, which is then no longer among them.
    pub(super) fn take(&mut self, slug: &Slug) -> Option<Listed> {
        self.0.remove_entry(slug).map(|(slug, text)| unpacked(slug, &text))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Listed> {
        self.0.iter().map(|(slug, text)| unpacked(slug.clone(), text))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Slug> {
        self.0.keys()
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn contains(&self, slug: &Slug) -> bool {
        self.0.contains_key(slug)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn packed(listed: &Listed) -> SecretString {
    let values = (listed.url.expose(), &listed.place.schema, listed.status, &listed.labels);
    serde_json::to_string(&values).expect("texts").into()
}

fn unpacked(slug: Slug, text: &SecretString) -> Listed {
    let (url, schema, status, labels): (String, Option<String>, _, _) =
        serde_json::from_str(text.expose_secret()).expect(PACKED);
    // A path that was read once is absolute.
    let url = DatabaseUrl::parse(&url, Path::new("/")).expect(PACKED);
    let place = url.place(schema.as_deref()).expect(PACKED);
    Listed { slug, url, place, status, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, url: &str, schema: Option<&str>) -> Listed {
        let url = DatabaseUrl::parse(url, Path::new("/base")).unwrap();
        let place = url.place(schema).unwrap();
        let labels = BTreeMap::from([("plan".into(), Some("\"p\u{e9}".into())), ("region".into(), None)]);
        Listed { slug: id.parse().unwrap(), url, place, status: Status::Suspended, labels }
    }

    #[test]
    fn a_tenant_is_given_back_as_it_was_kept() {
        let all = [
            listed("a", "postgres://u:p%40%22@h/d?sslmode=require", Some("Ac\"me")),
            listed("b", "mysql://h/x", None),
            listed("c", "sqlite:files/c %25.db?mode=rw", None),
        ];
        let mut tenants = Tenants::default();
        all.iter().cloned().for_each(|listed| tenants.add(listed).unwrap());
        assert_eq!(tenants.iter().count(), 3);
        for expected in all {
            let found = tenants.take(&expected.slug).unwrap();
            assert_eq!(found.url.expose(), expected.url.expose());
            assert_eq!(found.place, expected.place);
            assert_eq!((found.status, found.labels), (expected.status, expected.labels));
        }
        assert!(tenants.is_empty());
    }

    #[test]
    fn a_tenant_is_kept_once_and_its_url_is_not_shown() {
        let mut tenants = Tenants::default();
        tenants.add(listed("a", "mysql://u:hush@h/x", None)).unwrap();
        let again = tenants.add(listed("a", "mysql://u:hush@h/y", None)).unwrap_err();
        assert_eq!((again.as_str(), tenants.len()), ("tenant 'a' is there twice", 1));
        assert!(!format!("{tenants:?}").contains("hush"));
    }
}
