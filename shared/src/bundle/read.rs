//! Reading a bundle: out of directories, or out of the registry.

use super::{
    Bundle, BundleError, Chain, Digest, File, MANIFEST, ONLY_SET, Scope, Set, SetFiles, SetSpec,
    arrange::{chains, fits, ignored, rules_of, stored_files, without_doubles},
};
use crate::{
    format::Rules,
    selector::{Selector, SelectorError},
};

impl Bundle {
    /// Reads files into a bundle of one set, whose format is found out. Files that are no migrations are not part of it.
    ///
    /// # Errors
    /// As [`Self::of_sets`].
    pub fn new(files: Vec<File>) -> Result<Self, BundleError> {
        let spec = SetSpec { name: ONLY_SET.into(), ..SetSpec::default() };
        Self::of_sets(vec![SetFiles { spec, files }])
    }

    /// Reads sets into a bundle. Files that are no migrations are not part of it.
    ///
    /// # Errors
    /// A [`BundleError`] that names the set or the file.
    pub fn of_sets(mut given: Vec<SetFiles>) -> Result<Self, BundleError> {
        let sets = given.iter_mut().map(completed).collect::<Result<Vec<_>, _>>()?;
        let mut chains = chains(&given)?;
        let main = chains.iter().position(|chain| chain.scope == Scope::Tenants);
        let main = main.ok_or(BundleError::NoTenants)?;
        name_links(&mut chains, main, &sets);
        let files = stored_files(&given);
        let digest = Digest::of(files.iter().map(|f| (f.name.as_str(), f.content.as_str())));
        Ok(Self { digest, files, ignored: ignored(&given), sets, chains, main })
    }

    /// Reads the files of [`Self::files`] again. Files without an arrangement are one set.
    ///
    /// # Errors
    /// As [`Self::of_sets`], or when they are damaged.
    pub fn stored(files: Vec<File>) -> Result<Self, BundleError> {
        let Some(manifest) = files.iter().find(|file| file.name == MANIFEST) else {
            return Self::new(files);
        };
        let specs: Vec<SetSpec> =
            serde_json::from_str(&manifest.content).map_err(|_| BundleError::Manifest)?;
        let files_of = |spec: &SetSpec| {
            let below = format!("{}/", spec.name);
            let file = |file: &File| {
                let name = file.name.strip_prefix(&below)?.to_owned();
                Some(File { name, content: file.content.clone() })
            };
            files.iter().filter_map(file).collect()
        };
        let given = specs.into_iter().map(|spec| SetFiles { files: files_of(&spec), spec });
        Self::of_sets(given.collect())
    }
}

/// Finds out what a set does not say itself, its format and its table, and leaves out the files that are not its own.
fn completed(set: &mut SetFiles) -> Result<Set, BundleError> {
    without_doubles(&mut set.files);
    if let Some(command) = set.spec.command.take() {
        let unusable = |source| BundleError::Command { set: set.spec.name.clone(), source };
        let (command, format) = command.completed().map_err(unusable)?;
        set.spec.command = Some(command);
        set.spec.format = set.spec.format.take().or_else(|| format.map(str::to_owned));
    }
    if let Some(pattern) = &set.spec.files {
        set.files.retain(|file| fits(pattern, &file.name));
    }
    let rules = rules_of(set)?;
    no_file_is_twice(set, rules)?;
    set.spec.format = Some(rules.name().to_owned());
    // Commands without a history have nothing in common.
    let table = if rules.proves() { rules.table() } else { &set.spec.name };
    set.spec.table.get_or_insert_with(|| table.to_owned());
    let when = set.spec.when.as_deref().map(str::parse::<Selector>).transpose();
    let wrong =
        |e: SelectorError| BundleError::Condition { set: set.spec.name.clone(), reason: e.to_string() };
    Ok(Set { spec: set.spec.clone(), when: when.map_err(wrong)?, chosen: true })
}

fn no_file_is_twice(set: &SetFiles, rules: &dyn Rules) -> Result<(), BundleError> {
    match set.files.windows(2).find(|f| f[0].name == f[1].name && rules.keeps(&f[0].name)) {
        Some(twice) => Err(BundleError::Twice { set: set.spec.name.clone(), file: twice[0].name.clone() }),
        None => Ok(()),
    }
}

/// Migrations are known by their versions in the main chain, and by their chain's first set and their versions in others.
fn name_links(chains: &mut [Chain], main: usize, sets: &[Set]) {
    for (at, chain) in chains.iter_mut().enumerate() {
        let first = chain.links.first().and_then(|link| link.sets.first()).copied().unwrap_or_default();
        for link in &mut chain.links {
            let version = &link.migration.version;
            let qualified = || format!("{}/{version}", sets[first].spec.name).into();
            link.id = if at == main { version.clone() } else { qualified() };
        }
    }
}
