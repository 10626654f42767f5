//! Chains: migrations that share a history, and what one database takes of them.

use std::collections::{HashMap, HashSet};

use crate::{
    command::CommandSpec,
    digest::Digest,
    format::{Applied, Migration, Rules},
    site::Row,
    tenant::Scope,
    version::Version,
};

/// Migrations that share a history table, in the order in which they are applied.
#[derive(Clone, Debug)]
pub struct Chain {
    /// How its files are named and its history is kept.
    pub rules: &'static dyn Rules,
    /// The history table.
    pub table: String,
    /// Which databases it is for.
    pub scope: Scope,
    /// The migrations, each with the sets that it belongs to.
    pub links: Vec<Link>,
    /// The program that applies them; none is our own engine.
    pub command: Option<CommandSpec>,
    pub(super) positions: HashMap<Version, usize>,
}

impl Chain {
    /// What the rows of its history table say was applied.
    #[must_use]
    pub fn history(&self, rows: &[Row]) -> Vec<Applied> {
        let migrations: Vec<&Migration> = self.links.iter().map(|link| &link.migration).collect();
        self.rules.read(rows, &migrations)
    }

    /// Where in the chain the migration of this version is.
    #[must_use]
    pub fn position(&self, version: &Version) -> Option<usize> {
        self.positions.get(version).copied()
    }

    /// Whether the migration at one place must not be applied before that at another one. Places tell it, unless a
    /// migration says itself what it comes after.
    #[must_use]
    pub fn comes_after(&self, later: usize, earlier: usize) -> bool {
        let after = |at: usize| &self.links[at].migration.after;
        if after(later).is_none() && after(earlier).is_none() {
            return later > earlier;
        }
        let (mut left, mut seen) = (vec![later], HashSet::from([later]));
        while let Some(at) = left.pop() {
            let before = after(at).iter().flatten().filter_map(|version| self.position(version));
            left.extend(before.filter(|at| seen.insert(*at)));
        }
        later != earlier && seen.contains(&earlier)
    }
}

/// A migration in a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name in the bundle: the version, and before it the chain's first set where that is not the main chain.
    pub id: Version,
    /// The migration.
    pub migration: Migration,
    /// The sets that it belongs to, by their place in the bundle.
    pub sets: Vec<usize>,
    /// SQL that it begins with.
    pub preamble: Option<String>,
}

impl Link {
    /// What is known of the bytes that it runs, in a database that takes it: its name, its SQL and what that begins with.
    /// None where it is not SQL.
    #[must_use]
    pub fn bytes(&self) -> Option<Digest> {
        let up = self.migration.up.as_ref()?;
        let marked = if up.marked { "marked" } else { "" };
        Some(Digest::of([
            ("id", self.id.as_str()),
            ("up", &up.text),
            ("marked", marked),
            ("preamble", self.preamble.as_deref().unwrap_or_default()),
        ]))
    }
}

/// A chain as one database takes it.
#[derive(Clone, Debug)]
pub struct Taken<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// For each of its links, whether the database takes it.
    pub links: Vec<bool>,
}
