//! What a run does to its tenants.

use serde::{Deserialize, Serialize};

use crate::{id::RunId, version::Version};

/// What a run does to its tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its kind.
    #[serde(flatten)]
    pub kind: ActionKind,
    /// Only these sets of the bundle are worked; none named is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<String>,
}

/// The kinds of actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ActionKind {
    /// Applies migrations up to the run's version.
    #[default]
    Apply,
    /// Reverts migrations, the newest first.
    Rollback {
        /// How far.
        #[serde(flatten)]
        back: Back,
    },
    /// Records the migrations up to the run's version as applied, without running them.
    Baseline,
}

/// How far a rollback goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Back {
    /// So many migrations, from the newest on.
    Steps(u32),
    /// To this migration, which stays; none is back to nothing.
    To(Option<Version>),
    /// What this run applied, tenant by tenant.
    Run(RunId),
    /// These migrations: what steps and runs come to for one tenant.
    Exactly(Vec<Version>),
}

impl ActionKind {
    /// What became of a tenant that was changed.
    #[must_use]
    pub fn done(&self) -> &'static str {
        match self {
            Self::Apply => "applied",
            Self::Rollback { .. } => "reverted",
            Self::Baseline => "recorded",
        }
    }

    /// Whether it is for the newest version to be applied, so that a fleet without it is behind.
    #[must_use]
    pub fn goes_forward(&self) -> bool {
        matches!(self, Self::Apply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_kept_as_it_was_before_there_were_sets() {
        assert_eq!(serde_json::to_string(&Action::default()).unwrap(), r#"{"kind":"apply"}"#);
        let some = Action { sets: vec!["shop".into()], ..Action::default() };
        let kept = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<Action>(&kept).unwrap(), some);
    }

    #[test]
    fn actions_are_kept_as_flat_objects() {
        let run = RunId::new();
        let to = |to: Option<i64>| ActionKind::Rollback { back: Back::To(to.map(Version::from)) };
        for (kind, text) in [
            (ActionKind::Apply, r#"{"kind":"apply"}"#.to_owned()),
            (ActionKind::Baseline, r#"{"kind":"baseline"}"#.to_owned()),
            (ActionKind::Rollback { back: Back::Steps(2) }, r#"{"kind":"rollback","steps":2}"#.to_owned()),
            (to(Some(7)), r#"{"kind":"rollback","to":"7"}"#.to_owned()),
            (to(None), r#"{"kind":"rollback","to":null}"#.to_owned()),
            (
                ActionKind::Rollback { back: Back::Run(run) },
                format!(r#"{{"kind":"rollback","run":"{run}"}}"#),
            ),
        ] {
            let action = Action { kind, ..Action::default() };
            assert_eq!(serde_json::to_string(&action).unwrap(), text);
            assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), action);
        }
    }
}
