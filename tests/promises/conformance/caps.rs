//! The contract of caps and limits of servers. The servers are made up: nobody connects to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tenantry_shared::{
    failure::{Class, Failure},
    job::{Claim, Next, Verdict},
    ledger::ServerRow,
};
use tenantry_tests::{Home, wait::until};

use super::{
    LEASE,
    bench::{Bench, handler},
};
use crate::site::Stranger;

const FULL: &str = "full:5432";

impl Bench {
    /// Puts the tenants with these slugs on a server.
    async fn put_on(&self, address: &str, slugs: &str) {
        let server = format!("SELECT id FROM servers WHERE address = '{address}'");
        self.sql
            .execute(&format!("INSERT INTO servers (engine, address) VALUES ('postgres', '{address}')"))
            .await;
        self.sql.execute(&format!("UPDATE tenants SET server_id = ({server}) WHERE slug {slugs}")).await;
    }

    async fn cap(&self, cap: Option<u32>) {
        let server = self.ledger.set_cap(FULL, cap, "a test").await.expect("a cap");
        assert_eq!(server.cap, cap.map(i64::from));
    }

    async fn server(&self) -> ServerRow {
        let servers = self.ledger.servers().await.expect("servers");
        servers.into_iter().find(|server| server.address == FULL).expect("the server")
    }

    /// What another process that has seen nothing yet would take: all that it can.
    async fn take_all(&self, owner: &str) -> Vec<Claim> {
        let other = self.elsewhere();
        let mut all = Vec::new();
        loop {
            let claims = other.take(50, owner, LEASE).await;
            if claims.is_empty() {
                return all;
            }
            all.extend(claims);
        }
    }

    async fn refuse(&self, claim: &Claim) {
        let refused = Failure::new(Class::Transient, "53300", "sorry, too many clients already");
        assert!(self.record(claim, Verdict::Failed(refused), Next::SparedIn(Duration::ZERO)).await);
    }

    /// Lets so many milliseconds go by for the servers.
    async fn later(&self, ms: u32) {
        let sql =
            format!("UPDATE servers SET refused_at = refused_at - {ms}, stepped_at = stepped_at - {ms}");
        self.sql.execute(&sql).await;
    }
}

pub(super) async fn a_cap_holds_for_all_consumers_together(bench: Bench) {
    bench.put_on(FULL, "< 't30'").await;
    bench.cap(Some(3)).await;
    bench.enqueue().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let served: Vec<_> = ["a", "b", "c", "d"]
        .map(|owner| {
            let own = bench.elsewhere();
            let (at, now, most) = (own.clone(), now.clone(), most.clone());
            let work = handler(move |claim| {
                let (bench, now, most) = (at.clone(), now.clone(), most.clone());
                async move {
                    let there = format!("tenant_id = '{}' AND server_id > 0", claim.job.tenant);
                    let capped = usize::from(bench.targets(&there).await == 1);
                    most.fetch_max(now.fetch_add(capped, SeqCst) + capped, SeqCst);
                    assert!(bench.targets("state = 'running' AND server_id > 0").await <= 3);
                    now.fetch_sub(capped, SeqCst);
                    assert!(bench.succeed(&claim).await);
                }
            });
            own.serve(owner, 8, LEASE, work)
        })
        .into();
    until("all have ended", || async { bench.targets("state = 'applied'").await == 40 }).await;
    for consumer in served {
        consumer.drain().await;
    }
    assert!((1..=3).contains(&most.load(SeqCst)), "{} at once", most.load(SeqCst));
    assert_eq!(bench.targets("attempt = 1 AND uncounted = 0 AND lapses = 0").await, 40);
}

pub(super) async fn what_is_due_on_a_full_server_holds_up_nobody_else(bench: Bench) {
    bench.put_on(FULL, "< 't20'").await;
    bench.put_on("other:5432", "IN ('t20', 't21', 't22', 't23', 't24')").await;
    bench.cap(Some(1)).await;
    bench.enqueue().await;
    bench.sql.execute("UPDATE targets SET due_at = due_at + 1 WHERE tenant_id IN (SELECT id FROM tenants WHERE slug >= 't20')").await;
    assert_eq!(bench.take_all("a").await.len(), 1 + 5 + 2);
    assert_eq!(bench.server().await.running, 1);
    let slot = format!("state = 'running' AND server_id = {}", bench.server().await.id);
    assert_eq!(bench.targets(&slot).await, 1);
    bench.sql.execute(&format!("UPDATE targets SET due_at = 1 WHERE {slot}")).await;
    assert_eq!(bench.take_all("b").await.len(), 1, "one for the one whose lease has lapsed");
}

pub(super) async fn a_claim_that_lapsed_holds_no_slot_of_its_server(bench: Bench) {
    bench.put_on(FULL, "< 't99'").await;
    bench.cap(Some(2)).await;
    bench.enqueue().await;
    let claims = bench.take_all("a").await;
    assert_eq!(claims.len(), 2);
    assert!(bench.ledger.renew(&claims[0], Duration::ZERO).await.expect("an answer"));
    let next = bench.queue.take(&bench.ledger, 5, "b", LEASE).await.expect("claims");
    assert_eq!(next.len(), 1, "before anybody rescues it");
    assert!(claims.iter().all(|claim| claim.job != next[0].job));
    assert_eq!(bench.take_all("c").await.len(), 0);
    assert!(bench.succeed(&next[0]).await);
    assert_eq!(bench.take_all("c").await.len(), 1);
}

pub(super) async fn a_new_cap_holds_for_the_next_claim(bench: Bench) {
    bench.put_on(FULL, "< 't99'").await;
    bench.enqueue().await;
    let claims = bench.take(3, "a", LEASE).await;
    assert_eq!(claims.len(), 3);
    bench.cap(Some(1)).await;
    assert_eq!(bench.take(3, "a", LEASE).await, [], "by the process that has seen no cap");
    assert_eq!(bench.take_all("b").await, []);
    for claim in &claims {
        assert!(bench.succeed(claim).await);
    }
    assert_eq!(bench.take_all("b").await.len(), 1);
    bench.cap(None).await;
    assert_eq!(bench.take_all("b").await.len(), 6);
    assert_eq!(bench.targets("attempt = 1 AND uncounted = 0").await, 10);
}

pub(super) async fn what_was_sent_before_its_server_got_a_cap_costs_no_attempt(bench: Bench) {
    bench.put_on(FULL, "< 't10'").await;
    bench.enqueue().await;
    bench.conduct().await;
    bench.cap(Some(2)).await;
    assert_eq!(bench.take_all("a").await.len(), 2 + 10);
    let waiting = "state = 'pending' AND attempt = 0 AND uncounted = 0 AND sent_at IS NULL";
    assert_eq!(bench.targets(waiting).await, 8);
    assert_eq!(bench.queue.depth().await.expect("a depth").unwrap_or(0), 0, "they are not sent to and fro");
    assert_eq!(bench.targets("due_at IS NULL").await, 0);
}

pub(super) async fn a_server_that_refuses_gets_a_limit_that_grows_until_it_is_off(bench: Bench) {
    bench.put_on(FULL, "< 't99'").await;
    bench.enqueue().await;
    let claims = bench.take(8, "a", LEASE).await;
    bench.refuse(&claims[0]).await;
    bench.refuse(&claims[1]).await;
    let limit = async || bench.server().await.limit;
    assert_eq!(limit().await, Some(4), "half of eight, and one refusal after the other is one");
    for claim in &claims[2..6] {
        assert!(bench.succeed(claim).await);
    }
    assert_eq!(bench.take_all("b").await, [], "nothing is begun for a while");
    bench.later(2_000).await;
    let more = bench.take_all("b").await;
    assert_eq!(more.len(), 2, "four, of which two run");
    assert!(bench.server().await.limited_at.is_some());
    bench.refuse(&more[0]).await;
    assert_eq!(limit().await, Some(2));
    bench.later(2_000).await;
    bench.ledger.raise_limits().await.expect("a step");
    assert_eq!(limit().await, Some(2), "not so soon");
    for raised in 3..=8 {
        bench.later(3_000).await;
        bench.ledger.raise_limits().await.expect("a step");
        bench.ledger.raise_limits().await.expect("a step");
        assert_eq!(limit().await, Some(raised));
    }
    bench.later(3_000).await;
    bench.ledger.raise_limits().await.expect("a step");
    assert_eq!((limit().await, bench.server().await.limited_at), (None, None));
    assert_eq!(bench.take_all("b").await.len(), 12 - 4 - 3);
    assert_eq!(bench.targets("attempt - uncounted = 1").await, 12);
}

/// Whoever holds the row of a server may have been paused for an hour.
async fn a_locked_server_is_passed_over(home: Home) {
    let bench = Bench::new(home, false, 8).await;
    bench.put_on(FULL, "< 't05'").await;
    bench.cap(Some(2)).await;
    bench.enqueue().await;
    let lock = "BEGIN; SELECT id FROM servers WHERE address = 'full:5432' FOR UPDATE";
    let _paused = Stranger::that_runs(&bench.sql, lock).await;
    assert_eq!(bench.take_all("a").await.len(), 3);
    assert_eq!(bench.targets("state = 'pending' AND server_id > 0").await, 5);
}

#[tokio::test]
async fn a_server_whose_row_is_locked_holds_up_nobody_else_in_postgres() {
    a_locked_server_is_passed_over(Home::new().with_postgres_registry().await).await;
}

#[tokio::test]
async fn a_server_whose_row_is_locked_holds_up_nobody_else_in_mariadb() {
    a_locked_server_is_passed_over(Home::new().with_mariadb_registry().await).await;
}

pub(super) async fn a_suspect_waits_for_a_slot_of_its_server_too(bench: Bench) {
    bench.put_on(FULL, "< 't99'").await;
    bench.cap(Some(1)).await;
    bench.enqueue().await;
    let first = bench.take_all("a").await.remove(0);
    bench.sql.execute("UPDATE targets SET lapses = 2 WHERE state = 'pending'").await;
    let suspect = async || bench.ledger.claim_suspect("b", LEASE).await.expect("an answer");
    assert_eq!(suspect().await, None);
    assert!(bench.succeed(&first).await);
    assert!(suspect().await.is_some_and(|claim| claim.alone));
    assert_eq!(suspect().await, None);
    bench.cap(None).await;
    assert!(suspect().await.is_some());
}
