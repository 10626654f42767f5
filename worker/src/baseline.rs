//! One attempt at taking a tenant over as it is: its migrations are recorded and not run.

use std::time::Duration;

use tenantry_shared::{
    failure::Failure,
    format::Entry,
    job::{Direction, Step},
    place::Engine,
    plan::{Pending, baseline::baseline},
    site::Site,
};

use crate::{
    attempt::{Found, Trail, Way, Work, proven},
    change::entry,
    engine::{Seen, Session},
};

impl Work<'_> {
    pub(crate) async fn recorded(
        &self,
        session: &mut impl Session,
        seen: Result<Seen, Failure>,
        trail: &mut Trail,
    ) -> Result<Way, Failure> {
        let target = &self.order.target;
        let before = self.found(session, seen, trail).await?;
        if baseline(&self.taken, &before.histories, self.untold(session, &before), target)
            .is_ok_and(|unrecorded| unrecorded.is_empty())
        {
            return Ok(Way::There);
        }

        let Found { histories, progress, .. } = self.held(session, before, trail).await?;
        let unrecorded = baseline(&self.taken, &histories, progress.as_ref(), target)?;
        if let Some(first) = unrecorded.first() {
            let site = session.site(&first.chain.table);
            let (create, records) = statements(&site, &unrecorded);
            // There, a table that is made ends the transaction: the rows have one of their own.
            if site.engine == Engine::MySql {
                session.write(&[], std::slice::from_ref(&create)).await?;
                session.write(&[], &records).await?;
            } else {
                let selects = [first.chain.rules.select(&site)];
                session.write(&selects, &[vec![create], records].concat()).await?;
            }
            trail.steps.extend(unrecorded.iter().map(step));
        }

        let after = self.look(session, trail).await?;
        let left = baseline(&self.taken, &after, None, target)?;
        proven(&left, "was recorded and its history row is not there")
    }
}

/// What makes the history, and what is written into it. All is of one chain.
fn statements(site: &Site, unrecorded: &[Pending<'_>]) -> (String, Vec<String>) {
    let Some(rules) = unrecorded.first().map(|first| first.chain.rules) else { return Default::default() };
    let entries: Vec<Entry<'_>> = unrecorded.iter().map(entry).collect();
    let each = || entries.iter().map(|entry| rules.record(site, *entry, Duration::ZERO, false)).collect();
    let records = rules.baseline(site, &entries).map_or_else(each, |sql| vec![sql]);
    (rules.create(site), records)
}

fn step(pending: &Pending<'_>) -> Step {
    Step {
        direction: Direction::Record,
        version: pending.link.id.clone(),
        file: pending.link.migration.file.clone(),
        duration_ms: 0,
    }
}
