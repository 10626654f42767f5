//! How a person names a run.

use std::{fmt, str::FromStr};

use crate::id::RunId;

/// How a person names a run: its number, its UUID, `latest` or `latest-failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRef {
    /// The newest run.
    Latest,
    /// The newest run that failed, or was stopped.
    LatestFailed,
    /// By number.
    Number(i64),
    /// By identity.
    Id(RunId),
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "latest-failed" => Ok(Self::LatestFailed),
            _ => text
                .trim_start_matches('#')
                .parse()
                .map(Self::Number)
                .or_else(|_| text.parse().map(Self::Id))
                .map_err(|_| format!("'{text}' is not a run (a number, a UUID, latest or latest-failed)")),
        }
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::LatestFailed => f.write_str("latest-failed"),
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_number_uuid_or_word() {
        let id = RunId::new();
        assert_eq!("412".parse(), Ok(RunRef::Number(412)));
        assert_eq!("#412".parse(), Ok(RunRef::Number(412)));
        assert_eq!(id.to_string().parse(), Ok(RunRef::Id(id)));
        assert_eq!("latest-failed".parse(), Ok(RunRef::LatestFailed));
        assert!("newest".parse::<RunRef>().is_err());
    }
}
