//! Arguments of every command that starts a run: who comes first in it, and what stops it.

use std::time::Duration;

use clap::Args;
use tenantry_shared::{
    clock::millis,
    config::{self, parse_duration},
    fault::Fault,
    wave::{Canary, OrNone, Rollout, Share, Waves},
};

// Who comes first, and what stops the run. Each wins over what is configured.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Waves, and what stops the run")]
pub(crate) struct RolloutArgs {
    /// First so many tenants, such a share of them (1%), or those with such labels (tier=beta); the others when all of
    /// these are done; none takes a configured canary back
    #[arg(long, value_name = "N|P%|EXPR", requires = "pick")]
    pub(crate) canary: Option<OrNone<Canary>>,
    /// Where the waves end, each with all before it: 1%,10%,100%; none takes configured ones back
    #[arg(long, value_name = "SHARES", requires = "pick")]
    waves: Option<OrNone<Waves>>,
    /// How long a wave that went well is watched before the next one opens [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "pick")]
    soak: Option<Duration>,
    /// Stop when more tenants of a wave fail [default, and none: 0 with waves, without them no limit]
    #[arg(long, value_name = "N|P%", requires = "pick")]
    max_failures: Option<OrNone<Share>>,
    /// Stop after the first failure: the same as --max-failures 0
    #[arg(long, requires = "pick", conflicts_with = "max_failures")]
    fail_fast: bool,
    /// Stop when so many tenants failed for good with one cause and none succeeded, 0 for never [default: 5]
    #[arg(long, value_name = "K", requires = "pick")]
    halt_same_cause: Option<u32>,
    /// Stop after this long; none takes a configured deadline back
    #[arg(long, value_name = "DURATION", value_parser = parse_deadline, requires = "pick")]
    deadline: Option<OrNone<Duration>>,
}

fn parse_deadline(text: &str) -> Result<OrNone<Duration>, String> {
    if text == "none" {
        Ok(OrNone(None))
    } else {
        config::parse_deadline(text).map(|after| OrNone(Some(after)))
    }
}

impl RolloutArgs {
    /// What is asked for, with what is configured where nothing is.
    ///
    /// # Errors
    /// For a soak without any wave to be watched.
    pub(crate) fn over(self, configured: &Rollout) -> Result<Rollout, Fault> {
        let fast = self.fail_fast.then_some(OrNone(Some(Share::Count(0))));
        let deadline = self.deadline.map(|deadline| OrNone(deadline.0.map(millis)));
        let rollout = Rollout {
            canary: said(self.canary, configured.canary.as_ref()),
            waves: said(self.waves, configured.waves.as_ref()),
            soak_ms: self.soak.map_or(configured.soak_ms, millis),
            max_failures: said(fast.or(self.max_failures), configured.max_failures.as_ref()),
            same_cause: self.halt_same_cause.unwrap_or(configured.same_cause),
            deadline_ms: said(deadline, configured.deadline_ms.as_ref()),
        };
        if self.soak.is_some_and(|soak| !soak.is_zero()) && !rollout.has_waves() {
            let fault = Fault::usage("--soak has no wave to watch");
            return Err(fault.with_hint("say which tenants are first: --canary or --waves"));
        }
        Ok(rollout)
    }
}

fn said<T: Clone>(said: Option<OrNone<T>>, configured: Option<&T>) -> Option<T> {
    said.map_or_else(|| configured.cloned(), |said| said.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> Rollout {
        Rollout {
            canary: Some("5".parse().unwrap()),
            waves: Some("10%".parse().unwrap()),
            soak_ms: 1_000,
            max_failures: Some(Share::Count(3)),
            same_cause: 7,
            deadline_ms: Some(9),
        }
    }

    #[test]
    fn what_is_not_said_is_as_configured_and_none_takes_it_back() {
        assert_eq!(RolloutArgs::default().over(&configured()).unwrap(), configured());
        let none = RolloutArgs {
            canary: Some(OrNone(None)),
            waves: Some(OrNone(None)),
            max_failures: Some(OrNone(None)),
            deadline: Some(OrNone(None)),
            ..RolloutArgs::default()
        };
        let rest = Rollout { soak_ms: 1_000, same_cause: 7, ..Rollout::default() };
        assert_eq!(none.over(&configured()).unwrap(), rest);
        let fast = RolloutArgs { fail_fast: true, ..RolloutArgs::default() };
        assert_eq!(fast.over(&configured()).unwrap().max_failures, Some(Share::Count(0)));
    }

    #[test]
    fn a_soak_needs_a_wave_from_somewhere() {
        let soak = || RolloutArgs { soak: Some(Duration::from_secs(2)), ..RolloutArgs::default() };
        assert!(soak().over(&Rollout::default()).is_err());
        assert_eq!(soak().over(&configured()).unwrap().soak_ms, 2_000);
    }
}
