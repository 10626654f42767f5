//! A bundle: an immutable arrangement of migrations, named by the digest of its files, so that every worker on every
//! machine applies the same bytes.
//!
//! Its files are arranged in *sets*: directories with what belongs to them (a format, a history table, which tenants
//! take it). Sets that keep their history in one table are one *chain*: a sequence of migrations in the order of
//! their format, whichever set each came from. Chains follow each other in the order in which the sets are given.

mod arrange;
mod chain;
mod error;
mod read;
mod set;

#[cfg(test)]
mod tests;

pub use self::{
    arrange::format_of,
    chain::{Chain, Link, Taken},
    error::BundleError,
    set::{Set, SetFiles, SetSpec},
};
pub use crate::{digest::Digest, tenant::Scope};
use crate::{
    format::{File, Migration},
    tenant::Labels,
    version::Version,
};

/// The name of the only set where none are configured.
pub const ONLY_SET: &str = "main";

/// How the arrangement is written down among the bundle's files.
const MANIFEST: &str = "tenantry-sets.json";

/// An immutable arrangement of migrations. It holds at least one for tenants.
#[derive(Clone, Debug)]
pub struct Bundle {
    digest: Digest,
    files: Vec<File>,
    ignored: Vec<Ignored>,
    sets: Vec<Set>,
    chains: Vec<Chain>,
    main: usize,
}

/// A file that ends like SQL and is no migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub file: String,
    /// The format by whose rules it is none.
    pub format: &'static str,
}

impl Bundle {
    /// The same bundle, of which only these sets are worked; no names are all sets. What the others applied is known
    /// still, and the digest stays: it names the files.
    ///
    /// The main chain is then the first one for tenants that is worked, or else the first.
    ///
    /// # Errors
    /// [`BundleError::UnknownSet`] when one of them is not there.
    pub fn only(mut self, names: &[String]) -> Result<Self, BundleError> {
        let known: Vec<&str> = self.sets.iter().map(|set| set.spec.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(BundleError::UnknownSet { set: unknown.clone(), known: known.join(", ") });
        }
        for set in &mut self.sets {
            set.chosen = names.is_empty() || names.contains(&set.spec.name);
        }
        let worked = |scope: Option<Scope>| {
            let of_scope = |chain: &Chain| scope.is_none_or(|scope| chain.scope == scope);
            self.chains.iter().position(|chain| of_scope(chain) && self.works(chain))
        };
        self.main = worked(Some(Scope::Tenants)).or_else(|| worked(None)).unwrap_or(self.main);
        Ok(self)
    }

    fn works(&self, chain: &Chain) -> bool {
        chain.links.iter().flat_map(|link| &link.sets).any(|set| self.sets[*set].chosen)
    }

    /// Whether a run of it begins with the central database.
    #[must_use]
    pub fn has_central(&self) -> bool {
        self.chains.iter().any(|chain| chain.scope == Scope::Central && self.works(chain))
    }

    /// Whether the versions of the main chain are those that tenants are known by: not so where only other sets are
    /// worked.
    #[must_use]
    pub fn tells_versions(&self) -> bool {
        self.chains.iter().position(|chain| chain.scope == Scope::Tenants) == Some(self.main)
    }

    /// Whether all of its sets are worked.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sets.iter().all(|set| set.chosen)
    }

    /// Its name.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All that it was made of, under the names that the digest is of.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The SQL files beside it that it leaves out. A bundle that was stored has none.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Its sets, in the order given.
    #[must_use]
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Its chains, in the order in which they are worked.
    #[must_use]
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The chains for databases of a scope, whether a given one takes them or not.
    #[must_use]
    pub fn chains_of(&self, scope: Scope) -> Vec<&Chain> {
        self.chains.iter().filter(|chain| chain.scope == scope).collect()
    }

    /// The chain whose versions a run and a tenant are known by: the first one for tenants.
    #[must_use]
    pub fn main(&self) -> &Chain {
        &self.chains[self.main]
    }

    /// The migrations of the main chain, in order.
    pub fn migrations(&self) -> impl DoubleEndedIterator<Item = &Migration> + Clone {
        self.main().links.iter().map(|link| &link.migration)
    }

    /// The migration of this name, in whichever chain it is.
    #[must_use]
    pub fn get(&self, id: &Version) -> Option<&Migration> {
        self.link(id).map(|link| &link.migration)
    }

    /// The versioned migration of this name in a chain for tenants.
    #[must_use]
    pub fn of_tenants(&self, id: &Version) -> Option<&Migration> {
        let mut links =
            self.chains.iter().filter(|chain| chain.scope == Scope::Tenants).flat_map(|c| &c.links);
        links.find(|link| link.id == *id && !link.migration.repeatable).map(|link| &link.migration)
    }

    /// The migration of this name in its chain, whichever that is.
    #[must_use]
    pub fn link(&self, id: &Version) -> Option<&Link> {
        self.chains.iter().flat_map(|chain| &chain.links).find(|link| link.id == *id)
    }

    /// The bytes of all migrations that a tenant may take on its way to a version of the main chain.
    #[must_use]
    pub fn bytes_to(&self, target: &Version) -> Vec<Digest> {
        let end = self.main().position(target);
        let within = |chain: &Chain, at: usize| {
            !std::ptr::eq(chain, self.main())
                || chain.links[at].migration.repeatable
                || end.is_some_and(|end| at <= end)
        };
        let taken = |link: &Link| link.sets.iter().any(|set| self.sets[*set].chosen);
        let of_tenants = self.chains.iter().filter(|chain| chain.scope == Scope::Tenants);
        let links = of_tenants.flat_map(|chain| {
            chain.links.iter().enumerate().filter(move |(at, _)| within(chain, *at)).map(|(_, link)| link)
        });
        links.filter(|link| taken(link)).filter_map(Link::bytes).collect()
    }

    /// The migration of this version in the main chain.
    #[must_use]
    pub fn find(&self, version: &Version) -> Option<&Migration> {
        self.main().position(version).map(|at| &self.main().links[at].migration)
    }

    /// The newest versioned migration of the main chain.
    #[must_use]
    pub fn latest(&self) -> &Migration {
        let links = &self.main().links;
        let versioned = links.iter().rev().find(|link| !link.migration.repeatable);
        &versioned.unwrap_or(&links[links.len() - 1]).migration
    }

    /// Whether any set is only for some tenants.
    #[must_use]
    pub fn asks_for_labels(&self) -> bool {
        self.sets.iter().any(|set| set.when.is_some())
    }

    /// The chains that a database takes, each with whether each of its links is for it.
    #[must_use]
    pub fn taken_by(&self, scope: Scope, labels: &Labels) -> Vec<Taken<'_>> {
        let takes = |set: &Set| set.chosen && set.when.as_ref().is_none_or(|when| when.matches(labels));
        let sets: Vec<bool> = self.sets.iter().map(takes).collect();
        let of_scope = self.chains.iter().filter(|chain| chain.scope == scope);
        of_scope
            .map(|chain| Taken {
                chain,
                links: chain.links.iter().map(|link| link.sets.iter().any(|set| sets[*set])).collect(),
            })
            .filter(|taken| taken.links.contains(&true))
            .collect()
    }
}
