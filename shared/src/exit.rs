//! Exit codes: an API of both binaries. Additive change only.
//!
//! 64 and above follow `sysexits.h`, 100 and above are the verdicts on a run, 124 is GNU `timeout`'s,
//! 130 and 143 are the shell's for SIGINT and SIGTERM. 101 (a Rust panic) and 126 to 128 (the shell) stay free.

/// What a process tells its caller when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done: every selected tenant is at the target version.
    Ok = 0,
    /// An unexpected failure: look at the message.
    Error = 1,
    /// A wrong flag or argument, an unknown name, or a question that needs a terminal.
    Usage = 2,
    /// No tenant matched the selection.
    NothingSelected = 4,
    /// The registry, the queue or a tenant source cannot be reached: run the same step again later.
    Temporary = 75,
    /// The configuration, the key or the migration directory is not valid.
    Config = 78,
    /// The run ended and at least one tenant failed.
    TenantsFailed = 100,
    /// Stopped by a gate, a deadline or an operator: some tenants were not begun. Or: `gate` does not hold.
    Stopped = 102,
    /// Some tenant is behind: from `verify`, and from `status --exit-code`.
    ChangesPending = 103,
    /// Refused before any change: dirty or changed history, a missing or out-of-order migration.
    Refused = 104,
    /// `--timeout` passed; the run goes on.
    WaitTimeout = 124,
    /// Ctrl-C; the run goes on.
    Interrupted = 130,
    /// SIGTERM; the run goes on.
    Terminated = 143,
}

impl Exit {
    /// Every code with its name and its sentence, for the end of `tenantry --help`.
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::Ok, "ok", "every selected tenant is at the target version"),
        (Self::Error, "error", "unexpected failure: look at the message"),
        (Self::Usage, "usage", "wrong flag or argument, unknown name, or a question without a terminal"),
        (Self::NothingSelected, "nothing-selected", "no tenant matched the selection"),
        (Self::Temporary, "temporary", "registry, queue or tenant source unreachable: repeat the step later"),
        (Self::Config, "config", "configuration, key or migration directory not valid"),
        (Self::TenantsFailed, "tenants-failed", "the run ended and at least one tenant failed"),
        (
            Self::Stopped,
            "stopped",
            "stopped by a gate, a deadline or an operator; or the gate asked for does not hold",
        ),
        (
            Self::ChangesPending,
            "changes-pending",
            "some tenant is behind: from verify, and from status --exit-code",
        ),
        (Self::Refused, "refused", "refused before any change: dirty, changed, missing or out of order"),
        (Self::WaitTimeout, "wait-timeout", "--timeout passed; the run goes on"),
        (Self::Interrupted, "interrupted", "Ctrl-C; the run goes on"),
        (Self::Terminated, "terminated", "SIGTERM; the run goes on"),
    ];

    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
