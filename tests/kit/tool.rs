//! Other tools' own programs, as `tests/tools` has installed them. They run without any setting of the developer's, and
//! ask no other host for news of themselves.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    home::{Ran, finish},
    server::variable,
};

/// What a tool is told in its environment, whichever it is: no color, no news, no traces.
const MANNERS: [(&str, &str); 10] = [
    ("CHECKPOINT_DISABLE", "1"),
    ("DO_NOT_TRACK", "1"),
    ("LC_ALL", "C.UTF-8"),
    ("NO_COLOR", "1"),
    ("NO_UPDATE_NOTIFIER", "1"),
    ("PRISMA_HIDE_UPDATE_MESSAGE", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONNOUSERSITE", "1"),
    ("RUBYOPT", "-W0"),
    ("TZ", "UTC"),
];

/// A tool that is installed.
pub struct Tool {
    program: PathBuf,
    home: TempDir,
}

impl Tool {
    /// The tool that `tests/tools` calls so. Where it is not installed this says so and gives none: the test ends then.
    ///
    /// # Panics
    /// When it is not installed and `TENANTRY_TEST_NEED` names it.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let done =
            Command::new(variable("TENANTRY_TEST_TOOLS")).args(["find", name]).output().expect("tests/tools");
        assert!(done.status.success(), "tests/tools find {name}: {}", String::from_utf8_lossy(&done.stderr));
        let path = String::from_utf8(done.stdout).expect("a path");
        if path.is_empty() {
            skip(name);
            return None;
        }
        Some(Self { program: path.trim_end().into(), home: TempDir::new().expect("a directory") })
    }

    /// Where its program is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it in a directory with these words, and with `env` in its environment. It is killed when it takes too long.
    ///
    /// # Panics
    /// When it cannot be started or takes too long.
    #[must_use]
    pub fn run(&self, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
        self.start(&self.program, dir, env, args)
    }

    /// Runs a script for Node.js with the libraries that the tool is made of, in the same way.
    ///
    /// # Panics
    /// When it cannot be started or takes too long.
    #[must_use]
    pub fn run_script(&self, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
        self.start("node".as_ref(), dir, env, args)
    }

    fn start(&self, program: &Path, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).env_clear().envs(MANNERS);
        command.env("PATH", std::env::var("PATH").unwrap_or_default()).env("HOME", self.home.path());
        // Prisma fetches what is not named here, and with its adapters needs none of it.
        command.env("PRISMA_SCHEMA_ENGINE_BINARY", &self.program);
        command.env("PRISMA_QUERY_ENGINE_LIBRARY", &self.program);
        if let Some(modules) = self.program.ancestors().find(|path| path.ends_with("node_modules")) {
            command.env("NODE_PATH", modules);
        }
        command.envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display())))
    }
}

/// Says it past the test harness, which keeps the words of a test that passes to itself.
fn skip(name: &str) {
    let needed = std::env::var("TENANTRY_TEST_NEED").unwrap_or_default();
    assert!(!needed.split_whitespace().any(|need| need == name), "{name} is needed and not found");
    let _ = writeln!(std::io::stderr(), "skipped: {name} not found");
}
