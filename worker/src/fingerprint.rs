//! What a tenant's schema is after a run has changed it, and what appeared outside of it meanwhile.
//!
//! Nothing here fails a tenant: what cannot be read is logged and left out. What appears outside is found by one look
//! before the changes and one after them, so what a worker had made when it was killed is not told, and what somebody
//! else makes outside at the same time is.

use std::time::Duration;

use tenantry_shared::{
    failure::Failure,
    schema::{Catalog, Fingerprint, Outside, Outsider, appeared},
};

use crate::{
    engine::{Limits, Session},
    orders::Order,
};

/// How long a tenant that has failed already is looked at.
const AFTER_FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// What is outside of a tenant before it is changed, and whether anybody wants to know.
pub struct Surroundings<'a> {
    histories: Vec<&'a str>,
    limits: Limits,
    wanted: bool,
    /// None: not looked at, or it could not be read.
    before: Option<Outside>,
}

impl<'a> Surroundings<'a> {
    /// Nothing is looked at yet.
    #[must_use]
    pub fn of(order: &'a Order, limits: Limits) -> Self {
        let histories = order.bundle.chains().iter().map(|chain| chain.table.as_str()).collect();
        Self { histories, limits, wanted: order.policy.fingerprint, before: None }
    }

    /// The history tables of all tenants, if anybody wants to know.
    #[must_use]
    pub fn wanted(&self) -> Option<Vec<String>> {
        self.wanted.then(|| self.histories.iter().map(|&table| table.to_owned()).collect())
    }

    /// Looks, before the first change of an attempt.
    pub async fn before(&mut self, session: &mut impl Session) {
        if self.wanted && self.before.is_none() {
            self.before = self.outsiders(session).await;
        }
    }

    /// What the tenant has become.
    pub async fn after(&self, session: &mut impl Session) -> Fingerprint {
        if !self.wanted {
            return Fingerprint::default();
        }
        let catalog = self.limits.answered(session.catalog(&self.histories)).await;
        let catalog: Option<Catalog> = catalog.map_err(|e| unread(&e)).ok();
        Fingerprint { catalog, appeared: self.appeared(session).await }
    }

    /// What an attempt that failed has left outside. Its session may be of no more use.
    pub async fn after_failure(&self, session: &mut impl Session) -> Fingerprint {
        let look = tokio::time::timeout(AFTER_FAILURE_LIMIT, self.appeared(session));
        Fingerprint { catalog: None, appeared: look.await.unwrap_or_default() }
    }

    async fn appeared(&self, session: &mut impl Session) -> Vec<Outsider> {
        let Some(before) = &self.before else { return Vec::new() };
        let now = self.outsiders(session).await;
        let new = now.map(|now| appeared(before, now)).unwrap_or_default();
        for outsider in &new {
            tracing::warn!(object = %outsider.object, "appeared outside of the tenant's schema while it was migrated");
        }
        new
    }

    async fn outsiders(&self, session: &mut impl Session) -> Option<Outside> {
        let listed = self.limits.answered(session.outsiders(&self.histories)).await;
        listed.map_err(|e| unread(&e)).ok()
    }
}

fn unread(failure: &Failure) {
    tracing::warn!(error = %failure, "the schema of a tenant could not be read, it has no fingerprint now");
}
