//! Where runs and targets are in their lives.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every state, in the order of a life.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the ledger and in every output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|s| s.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
                    format!("'{text}' is not a state ({})", all.join(", "))
                })
            }
        }
    };
}

states!(
    /// Where a run is in its life.
    RunState {
        /// Written; no worker has looked at it yet.
        Pending = "pending",
        /// Workers take its targets.
        Running = "running",
        /// Ended: every target was proven to be at the run's version.
        Succeeded = "succeeded",
        /// Ended: at least one target failed.
        Failed = "failed",
        /// Ended before its time: stopped by a gate, by its deadline or by an operator.
        Halted = "halted",
    }
);

impl RunState {
    /// Whether it can change no more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Halted)
    }
}

states!(
    /// Where a target is in its life.
    TargetState {
        /// Not worked on yet.
        Pending = "pending",
        /// A worker holds its lease.
        Running = "running",
        /// Waits for its next attempt.
        Retryable = "retryable",
        /// Migrations were applied, and its history proves that it is at the run's version.
        Applied = "applied",
        /// Nothing was to be done: its history proves that it was at the run's version.
        Current = "current",
        /// It will not be tried again in this run.
        Failed = "failed",
        /// Never begun, because what had to come first failed, or the run was stopped.
        Skipped = "skipped",
    }
);

impl TargetState {
    /// Whether it can change no more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Applied | Self::Current | Self::Failed | Self::Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in TargetState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert!("done".parse::<TargetState>().is_err());
    }
}
