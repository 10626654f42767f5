//! A program that migrates a tenant in place of our own engine: what is run, with what around it. Pure.
//!
//! The tenant's URL and its parts are given in the environment, never as arguments, which every user of the machine
//! can read. `{…}` in arguments and values stands for a part of the tenant that is no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the configuration says of a command, completed by its preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CommandSpec {
    /// Well-known settings to begin with: one of [`PRESETS`].
    pub preset: Option<String>,
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Its working directory, on the worker's machine.
    pub directory: Option<String>,
    /// The longest it may run, in milliseconds; 0 is without limit.
    pub timeout_ms: u64,
    /// More variables.
    pub env: BTreeMap<String, String>,
    /// What exit codes mean; those that are not here are failures, and 0 is success.
    pub exit_codes: BTreeMap<String, Meaning>,
}

/// What an exit code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meaning {
    /// It did what it should.
    Success,
    /// It may heal: the tenant is tried again.
    Retry,
    /// It will not heal by itself.
    Fail,
}

/// A program whose way is known.
#[derive(Debug)]
pub struct Preset {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The program and its arguments.
    pub run: &'static [&'static str],
    /// The format whose history it keeps.
    pub format: &'static str,
    /// Variables beside those that every command has.
    pub env: &'static [(&'static str, &'static str)],
}

/// Every preset.
pub const PRESETS: [Preset; 6] = [
    Preset {
        name: "alembic",
        run: &["alembic", "-x", "tenant={tenant}", "upgrade", "head"],
        format: "alembic",
        env: &[("PYTHONUNBUFFERED", "1")],
    },
    Preset {
        name: "django",
        run: &["python3", "manage.py", "migrate", "--noinput"],
        format: "django",
        env: &[("PYTHONUNBUFFERED", "1")],
    },
    Preset {
        name: "laravel",
        run: &["php", "artisan", "migrate", "--force", "--no-interaction"],
        format: "laravel",
        env: &[],
    },
    Preset {
        name: "prisma",
        run: &["npx", "--no-install", "prisma", "migrate", "deploy"],
        format: "prisma",
        env: &[("PRISMA_HIDE_UPDATE_MESSAGE", "1"), ("CHECKPOINT_DISABLE", "1")],
    },
    Preset {
        name: "rails",
        run: &["bin/rails", "db:migrate"],
        format: "rails",
        env: &[("RAILS_ENV", "production"), ("DISABLE_DATABASE_ENVIRONMENT_CHECK", "1")],
    },
    Preset {
        name: "sequelize-cli",
        run: &["npx", "--no-install", "sequelize-cli", "db:migrate"],
        format: "sequelize-cli",
        env: &[("NODE_ENV", "production")],
    },
];

/// Why a command cannot be used. Each is the end of a sentence that begins with the set's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such preset.
    #[error("there is no preset '{0}' (known: {known})", known = names())]
    UnknownPreset(String),
    /// Neither a program nor a preset is given.
    #[error("its command says neither what to run nor a preset (known: {known})", known = names())]
    Nothing,
    /// An exit code that is none.
    #[error("'{0}' is not an exit code (0 to 255)")]
    ExitCode(String),
    /// A name in braces that stands for nothing.
    #[error("'{{{0}}}' stands for nothing (known: {known}; secrets are in the environment)", known = PARTS.join(", "))]
    Part(String),
}

/// What `{…}` may stand for.
pub const PARTS: [&str; 6] = ["tenant", "host", "port", "user", "database", "schema"];

fn names() -> String {
    PRESETS.each_ref().map(|preset| preset.name).join(", ")
}

impl CommandSpec {
    /// Completes it by its preset; what is given wins. Gives the format that the preset keeps its history in, too.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn completed(mut self) -> Result<(Self, Option<&'static str>), CommandError> {
        let preset = match &self.preset {
            None => None,
            Some(name) => {
                let found = PRESETS.iter().find(|preset| preset.name == name);
                Some(found.ok_or_else(|| CommandError::UnknownPreset(name.clone()))?)
            }
        };
        if let Some(preset) = preset {
            if self.run.is_empty() {
                self.run = preset.run.iter().map(ToString::to_string).collect();
            }
            for (name, value) in preset.env {
                self.env.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
            }
        }
        if self.run.is_empty() {
            return Err(CommandError::Nothing);
        }
        if let Some(code) = self.exit_codes.keys().find(|code| code.parse::<u8>().is_err()) {
            return Err(CommandError::ExitCode(code.clone()));
        }
        for text in self.run.iter().chain(self.env.values()) {
            filled(text, |part| PARTS.contains(&part).then(String::new))?;
        }
        Ok((self, preset.map(|preset| preset.format)))
    }

    /// What an exit code means.
    #[must_use]
    pub fn meaning(&self, code: i32) -> Meaning {
        let otherwise = if code == 0 { Meaning::Success } else { Meaning::Fail };
        self.exit_codes.get(&code.to_string()).copied().unwrap_or(otherwise)
    }
}

/// A text with `{part}` replaced by what it stands for; `{{` is a brace.
///
/// # Errors
/// [`CommandError::Part`] for one that stands for nothing.
pub fn filled(text: &str, part: impl Fn(&str) -> Option<String>) -> Result<String, CommandError> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            out.push('{');
            rest = after;
            continue;
        }
        let Some(end) = rest.find('}') else {
            out.push('{');
            break;
        };
        let name = &rest[..end];
        out.push_str(&part(name).ok_or_else(|| CommandError::Part(name.to_owned()))?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_completed_and_what_is_given_wins() {
        let spec = CommandSpec {
            preset: Some("rails".into()),
            env: [("RAILS_ENV".to_owned(), "staging".to_owned())].into(),
            ..CommandSpec::default()
        };
        let (spec, format) = spec.completed().unwrap();
        assert_eq!(
            (spec.run.as_slice(), format),
            (["bin/rails", "db:migrate"].map(String::from).as_slice(), Some("rails"))
        );
        assert_eq!(spec.env["RAILS_ENV"], "staging");
    }

    #[test]
    fn a_command_that_cannot_be_used_is_told() {
        let run = |word: &str| CommandSpec { run: vec![word.into()], ..CommandSpec::default() };
        assert_eq!(CommandSpec::default().completed(), Err(CommandError::Nothing));
        let unknown = CommandSpec { preset: Some("maven".into()), ..CommandSpec::default() };
        assert_eq!(unknown.completed(), Err(CommandError::UnknownPreset("maven".into())));
        assert_eq!(run("--url={password}").completed(), Err(CommandError::Part("password".into())));
        let code = CommandSpec { exit_codes: [("x".to_owned(), Meaning::Retry)].into(), ..run("true") };
        assert_eq!(code.completed(), Err(CommandError::ExitCode("x".into())));
    }

    #[test]
    fn braces_stand_for_parts_of_the_tenant() {
        let part = |name: &str| (name == "tenant").then(|| "acme".to_owned());
        assert_eq!(filled("-x={tenant} {{a", part).as_deref(), Ok("-x=acme {a"));
        assert_eq!(filled("{x}", part), Err(CommandError::Part("x".into())));
    }

    #[test]
    fn exit_codes_mean_what_is_said() {
        let spec = CommandSpec {
            exit_codes: [("3".to_owned(), Meaning::Retry), ("4".to_owned(), Meaning::Success)].into(),
            ..CommandSpec::default()
        };
        let meanings = [0, 1, 3, 4].map(|code| spec.meaning(code));
        assert_eq!(meanings, [Meaning::Success, Meaning::Fail, Meaning::Retry, Meaning::Success]);
    }
}
