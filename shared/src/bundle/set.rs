//! Sets: files with what belongs to them.

use serde::{Deserialize, Serialize};

use crate::{command::CommandSpec, format::File, selector::Selector, tenant::Scope};

/// What belongs to a set of migrations beside its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SetSpec {
    /// Its name.
    pub name: String,
    /// Its format; none is found out from its files.
    pub format: Option<String>,
    /// Which files of its directories are its own: a name in which `*` is any text. None is all.
    pub files: Option<String>,
    /// Its history table; none is the format's own.
    pub table: Option<String>,
    /// Which databases it is for.
    pub scope: Scope,
    /// Only tenants whose labels match take it.
    pub when: Option<String>,
    /// SQL that every migration of it begins with: settings of the session.
    pub preamble: Option<String>,
    /// The program that migrates in place of our own engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
}

/// A set's files with what belongs to them.
#[derive(Clone, Debug)]
pub struct SetFiles {
    /// What belongs to them.
    pub spec: SetSpec,
    /// Every file of its directories.
    pub files: Vec<File>,
}

/// A set of migrations as a bundle holds it.
#[derive(Clone, Debug)]
pub struct Set {
    /// What it was given with; format and table are always there.
    pub spec: SetSpec,
    /// Which tenants take it; none is all.
    pub when: Option<Selector>,
    /// Whether it is worked: see [`Bundle::only`](super::Bundle::only).
    pub chosen: bool,
}
