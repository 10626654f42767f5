//! What a run would do, for a person and as `tenantry.plan/v1`. Fields are only ever added.

mod document;
mod text;
mod would;

use std::{cmp::Reverse, sync::Arc};

use tenantry_shared::{
    bundle::{Bundle, Link},
    exit::Exit,
    version::Version,
};
use tenantry_worker::preview::Step;

pub(crate) use self::{
    text::waves_line,
    would::{Group, Known, Would},
};
use super::plural;

/// What a run would do to whom.
pub(crate) struct PlanView {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) target: Version,
    /// Which tenants were asked for; none for one dedicated database.
    pub(crate) selection: Option<String>,
    pub(crate) central: Option<Would>,
    pub(crate) groups: Vec<Group>,
    /// Whether the SQL is to be printed.
    pub(crate) sql: bool,
    /// Whether pending migrations make an exit code of their own.
    pub(crate) exit_code: bool,
    /// How many tenants are in each wave; empty without waves.
    pub(crate) waves: Vec<u64>,
}

impl PlanView {
    /// What is pending first, then what is current, then what would fail; the largest group of each first.
    pub(crate) fn sorted(mut self) -> Self {
        self.groups.sort_by_key(|group| (group.name.clone(), group.rank(), Reverse(group.tenants.count)));
        self
    }

    /// What the process ends with: the worst that would happen.
    pub(crate) fn exit(&self) -> Exit {
        let all = self.groups.iter().map(|group| &group.would).chain(&self.central).map(Would::exit);
        let found: Vec<Exit> = all.collect();
        let worst = [Exit::TenantsFailed, Exit::Refused, Exit::ChangesPending];
        match worst.into_iter().find(|exit| found.contains(exit)).unwrap_or(Exit::Ok) {
            Exit::ChangesPending if !self.exit_code => Exit::Ok,
            exit => exit,
        }
    }

    fn count(&self, state: &str) -> u64 {
        self.groups.iter().filter(|group| group.would.state() == state).map(|group| group.tenants.count).sum()
    }

    /// The last line, where not everything would go well.
    pub(super) fn verdict(&self) -> Option<String> {
        if matches!(&self.central, Some(Would::Fail(_))) {
            return Some("central would fail: no tenant would be started".into());
        }
        let total: u64 = self.groups.iter().map(|group| group.tenants.count).sum();
        match self.count("refused") + self.count("failed") + self.count("held") {
            0 => None,
            _ if self.selection.is_none() => Some("it would not be migrated".into()),
            bad => Some(format!("{bad} of {} would not be migrated", plural(total, "tenant"))),
        }
    }

    /// What a migration runs: the settings that it begins with, and its own text.
    fn script(&self, step: &Step) -> String {
        let Some(link) = self.bundle.link(&step.id) else { return String::new() };
        let text = link.migration.up.as_ref().map(|script| script.text.as_str()).unwrap_or_default();
        match &link.preamble {
            Some(preamble) => format!("{};\n{text}", preamble.trim_end().trim_end_matches(';')),
            None => text.to_owned(),
        }
    }

    /// The program that applies a migration in place of our own engine.
    fn command(&self, id: &Version) -> Option<String> {
        let mut chains = self.bundle.chains().iter();
        let chain = chains.find(|chain| chain.links.iter().any(|link| link.id == *id))?;
        chain.command.as_ref().map(|command| command.run.join(" "))
    }

    fn file(&self, step: &Step) -> String {
        let Some(link) = self.bundle.link(&step.id) else { return step.id.to_string() };
        let again = if link.migration.repeatable { "repeatable " } else { "" };
        match self.bundle.sets() {
            [_] => format!("{again}{}", link.migration.file),
            _ => format!("{} {again}{}", self.sets(link).join("+"), link.migration.file),
        }
    }

    fn sets(&self, link: &Link) -> Vec<&str> {
        let sets = link.sets.iter().map(|set| &self.bundle.sets()[*set]);
        sets.filter(|set| set.chosen).map(|set| set.spec.name.as_str()).collect()
    }
}
