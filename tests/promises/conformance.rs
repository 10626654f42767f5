//! The contract of the queue, one suite over every source: whatever carries the jobs must pass it. It speaks to the
//! queue and the ledger directly, and looks at what they did with SQL of its own.

mod again;
mod ahead;
mod bench;
mod bulk;
mod caps;
mod ends;
mod late;
mod locks;
mod machine;
mod suspects;
mod texts;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tenantry_shared::{
    failure::Class,
    id::{RunId, TenantId},
    job::{Job, Next},
    run::TargetState,
};
use tenantry_tests::{Home, fleet::Kind, wait::until};
use tokio::sync::Semaphore;

use self::{
    again::{
        a_claim_that_is_given_back_does_not_count, a_handler_that_panics_does_not_stop_its_consumer,
        a_job_that_is_sent_again_and_again_is_claimed_once, a_permanent_failure_is_not_given_again,
        a_retry_is_not_given_before_it_is_due_and_holds_no_slot, who_is_claimed_ahead_keeps_no_slot_busy,
    },
    ahead::{
        nobody_is_looked_for_of_whom_the_registry_knows_nothing_or_who_has_a_cap,
        what_was_found_before_another_run_was_written_is_forgotten,
        who_is_found_current_before_is_written_so_and_a_run_of_no_others_has_ended,
        who_is_not_found_current_before_is_worked,
        who_was_changed_since_it_was_found_is_not_written_as_current,
    },
    bench::{Bench, failure, handler, success},
    bulk::{
        an_outcome_that_the_registry_refuses_costs_those_beside_it_nothing,
        each_of_many_outcomes_is_answered_for_by_itself,
        the_tenant_that_took_longest_last_time_is_begun_first,
        two_who_record_the_same_at_once_do_not_wait_in_a_circle,
    },
    caps::{
        a_cap_holds_for_all_consumers_together, a_claim_that_lapsed_holds_no_slot_of_its_server,
        a_new_cap_holds_for_the_next_claim, a_server_that_refuses_gets_a_limit_that_grows_until_it_is_off,
        a_suspect_waits_for_a_slot_of_its_server_too, what_is_due_on_a_full_server_holds_up_nobody_else,
        what_was_sent_before_its_server_got_a_cap_costs_no_attempt,
    },
    ends::{
        a_lease_has_one_holder_until_it_lapses_or_is_given_up,
        a_run_is_closed_once_and_only_when_all_its_targets_have_ended,
        a_run_whose_targets_have_all_ended_is_stopped_by_nothing,
    },
    suspects::{
        a_busy_consumer_makes_room_for_a_suspect_and_works_it_alone_while_another_goes_on,
        a_suspect_of_a_paused_run_is_not_claimed, a_target_that_loses_three_workers_alone_is_failed,
        a_target_that_lost_two_workers_is_claimed_only_as_a_suspect,
    },
    texts::{
        a_schema_that_cannot_be_kept_does_not_cost_the_outcome,
        an_outcome_is_written_whatever_its_texts_hold, what_a_program_said_does_not_cost_the_outcome,
    },
};

const LEASE: Duration = Duration::from_secs(30);
const ENDED: Next = Next::End(TargetState::Applied);
const SHORT_LEASE: Duration = Duration::from_millis(100);

/// Runs each of these tests, which say how many tenants they need, over every source.
macro_rules! on_every_source {
    ($($test:ident: $tenants:literal),+ $(,)?) => {
        on_every_source!(@ an_sqlite_ledger: Home::new(), false; $($test: $tenants),+);
        on_every_source!(@ a_postgres_ledger: Home::new().with_postgres_registry().await, false; $($test: $tenants),+);
        on_every_source!(@ a_mariadb_ledger: Home::new().with_mariadb_registry().await, false; $($test: $tenants),+);
        on_every_source!(@ redis_over_sqlite: Home::new(), true; $($test: $tenants),+);
        on_every_source!(@ redis_over_postgres: Home::new().with_postgres_registry().await, true; $($test: $tenants),+);
        on_every_source!(@ redis_over_mariadb: Home::new().with_mariadb_registry().await, true; $($test: $tenants),+);
    };
    (@ $source:ident: $home:expr, $redis:literal; $($test:ident: $tenants:literal),+) => {
        mod $source {
            use super::{Bench, Home};
            $(#[tokio::test]
            async fn $test() {
                super::$test(Bench::new($home, $redis, $tenants).await).await;
            })+
        }
    };
}

on_every_source! {
    every_enqueued_target_is_delivered: 40,
    a_claim_takes_no_more_than_its_limit: 20,
    no_more_is_held_at_once_than_there_are_slots: 12,
    two_consumers_share_the_work_and_no_attempt_is_given_twice: 30,
    a_lapsed_target_is_given_again_under_a_higher_number_and_the_lost_attempt_does_not_count: 1,
    a_result_of_an_old_attempt_changes_nothing: 1,
    a_renewal_holds_a_claim_until_it_is_rescued: 1,
    a_retry_is_not_given_before_it_is_due_and_holds_no_slot: 2,
    a_permanent_failure_is_not_given_again: 1,
    a_job_that_is_sent_again_and_again_is_claimed_once: 1,
    a_handler_that_panics_does_not_stop_its_consumer: 5,
    a_claim_that_is_given_back_does_not_count: 1,
    who_is_claimed_ahead_keeps_no_slot_busy: 3,
    a_target_that_lost_two_workers_is_claimed_only_as_a_suspect: 2,
    a_target_that_loses_three_workers_alone_is_failed: 1,
    a_busy_consumer_makes_room_for_a_suspect_and_works_it_alone_while_another_goes_on: 5,
    a_suspect_of_a_paused_run_is_not_claimed: 1,
    no_two_targets_of_a_tenant_are_given_at_once: 3,
    a_job_that_waits_for_its_tenant_is_given_as_soon_as_that_is_free: 1,
    a_run_is_closed_once_and_only_when_all_its_targets_have_ended: 3,
    a_run_whose_targets_have_all_ended_is_stopped_by_nothing: 1,
    a_lease_has_one_holder_until_it_lapses_or_is_given_up: 1,
    a_cap_holds_for_all_consumers_together: 40,
    what_is_due_on_a_full_server_holds_up_nobody_else: 27,
    a_claim_that_lapsed_holds_no_slot_of_its_server: 5,
    a_new_cap_holds_for_the_next_claim: 10,
    what_was_sent_before_its_server_got_a_cap_costs_no_attempt: 20,
    a_server_that_refuses_gets_a_limit_that_grows_until_it_is_off: 12,
    a_suspect_waits_for_a_slot_of_its_server_too: 3,
    an_outcome_is_written_whatever_its_texts_hold: 3,
    what_a_program_said_does_not_cost_the_outcome: 1,
    a_schema_that_cannot_be_kept_does_not_cost_the_outcome: 1,
    no_duration_is_too_long: 1,
    each_of_many_outcomes_is_answered_for_by_itself: 60,
    an_outcome_that_the_registry_refuses_costs_those_beside_it_nothing: 20,
    two_who_record_the_same_at_once_do_not_wait_in_a_circle: 90,
    the_tenant_that_took_longest_last_time_is_begun_first: 20,
    who_is_found_current_before_is_written_so_and_a_run_of_no_others_has_ended: 10,
    who_is_not_found_current_before_is_worked: 10,
    what_was_found_before_another_run_was_written_is_forgotten: 10,
    who_was_changed_since_it_was_found_is_not_written_as_current: 10,
    nobody_is_looked_for_of_whom_the_registry_knows_nothing_or_who_has_a_cap: 10,
}

/// Promise 1.
async fn every_enqueued_target_is_delivered(bench: Bench) {
    bench.enqueue().await;
    let (seen, own) = (Arc::new(Mutex::new(HashSet::new())), bench.clone());
    let noted = seen.clone();
    let served = bench.serve(
        "a",
        8,
        LEASE,
        handler(move |claim| {
            let (bench, noted) = (own.clone(), noted.clone());
            async move {
                noted.lock().expect("no panic").insert(claim.job.tenant);
                assert!(bench.succeed(&claim).await);
            }
        }),
    );
    until("all have ended", || async { bench.targets("state = 'applied' AND attempt = 1").await == 40 })
        .await;
    served.drain().await;
    assert_eq!(seen.lock().expect("no panic").len(), 40);
}

async fn a_claim_takes_no_more_than_its_limit(bench: Bench) {
    // A server plans by what it knows: here, that there is one target.
    bench.enqueue_some(1).await;
    let analyze = if bench.sql.kind == Kind::MariaDb { "ANALYZE TABLE targets" } else { "ANALYZE" };
    bench.sql.execute(analyze).await;
    bench.enqueue().await;
    assert_eq!(bench.take(2, "a", LEASE).await.len(), 2);
    assert_eq!(bench.take(3, "b", LEASE).await.len(), 3);
    assert_eq!(bench.targets("state = 'running' AND owner = 'a'").await, 2);
    assert_eq!(bench.targets("state = 'running' AND owner = 'b'").await, 3);
    let sent = bench.ledger.take_due(2, LEASE).await.expect("due jobs").len();
    assert_eq!(sent, if bench.queue.kind() == "ledger" { 2 } else { 0 }, "the rest is in the queue");
}

async fn no_more_is_held_at_once_than_there_are_slots(bench: Bench) {
    bench.enqueue().await;
    let (counts, gate, own) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)), bench.clone());
    let (noted, passing) = (counts.clone(), gate.clone());
    let served = bench.serve(
        "a",
        3,
        LEASE,
        handler(move |claim| {
            let (bench, noted, gate) = (own.clone(), noted.clone(), passing.clone());
            async move {
                gate.acquire().await.expect("open").forget();
                let held = bench.targets("state = 'running'").await;
                noted.lock().expect("no panic").push(held);
                assert!(bench.succeed(&claim).await);
            }
        }),
    );
    until("all slots are taken", || async { bench.targets("state = 'running'").await == 3 }).await;
    for ended in 1..=12 {
        gate.add_permits(1);
        until("one more has ended", || async { bench.targets("state = 'applied'").await == ended }).await;
    }
    served.drain().await;
    assert_eq!(counts.lock().expect("no panic").iter().max(), Some(&3));
}

/// Promise 2.
async fn two_consumers_share_the_work_and_no_attempt_is_given_twice(bench: Bench) {
    bench.enqueue().await;
    let (given, gate) = (Arc::new(Mutex::new(Vec::<(Job, u32)>::new())), Arc::new(Semaphore::new(0)));
    let consumer = |owner| {
        let (given, gate, own) = (given.clone(), gate.clone(), bench.clone());
        let work = handler(move |claim| {
            let (given, gate, bench) = (given.clone(), gate.clone(), own.clone());
            async move {
                given.lock().expect("no panic").push((claim.job, claim.attempt));
                drop(gate.acquire().await.expect("open"));
                assert!(bench.succeed(&claim).await);
            }
        });
        bench.serve(owner, 2, LEASE, work)
    };
    let (a, b) = (consumer("a"), consumer("b"));
    for owner in ["a", "b"] {
        let held = format!("state = 'running' AND owner = '{owner}'");
        until("each has what its slots can hold", || async { bench.targets(&held).await == 2 }).await;
    }
    gate.add_permits(4);
    until("all have ended", || async { bench.targets("state = 'applied'").await == 30 }).await;
    a.drain().await;
    b.drain().await;
    let given = given.lock().expect("no panic");
    assert_eq!((given.len(), given.iter().collect::<HashSet<_>>().len()), (30, 30));
}

async fn a_lapsed_target_is_given_again_under_a_higher_number_and_the_lost_attempt_does_not_count(
    bench: Bench,
) {
    bench.enqueue().await;
    let lost = bench.take_and_lose().await;
    let again = bench.take(1, "b", LEASE).await.remove(0);
    assert_eq!((lost.attempt, lost.counted), (1, 1));
    assert_eq!((again.job, again.attempt, again.counted), (lost.job, 2, 1));
    assert_eq!(bench.targets("state = 'running' AND owner = 'b' AND lapses = 1 AND uncounted = 1").await, 1);
    let noted = "SELECT count(*) FROM attempts WHERE number = 1 AND worker = 'lost' AND outcome = 'interrupted' AND code = 'worker-lost'";
    assert_eq!(bench.sql.number(noted).await, 1);
}

/// Promise 2.
async fn a_result_of_an_old_attempt_changes_nothing(bench: Bench) {
    bench.enqueue().await;
    let old = bench.take_and_lose().await;
    assert!(!bench.succeed(&old).await, "it waits for its next attempt");
    let new = bench.take(1, "b", LEASE).await.remove(0);
    assert!(!bench.succeed(&old).await, "the next attempt runs");
    assert!(!bench.record(&old, failure(Class::Permanent), Next::End(TargetState::Failed)).await);
    assert!(!bench.ledger.release(&old).await.expect("an answer"));
    assert_eq!(bench.targets("state = 'running' AND attempt = 2 AND uncounted = 1").await, 1);
    assert!(bench.succeed(&new).await);
    assert!(!bench.succeed(&new).await, "it has ended");
    assert_eq!(bench.targets("state = 'applied' AND attempt = 2 AND code IS NULL").await, 1);
    assert_eq!(bench.sql.number("SELECT count(*) FROM attempts").await, 2);
}

async fn a_renewal_holds_a_claim_until_it_is_rescued(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", SHORT_LEASE).await.remove(0);
    assert!(bench.ledger.renew(&claim, LEASE).await.expect("an answer"));
    assert_eq!(bench.targets("state = 'running' AND due_at > started_at + 1000").await, 1);
    assert!(bench.ledger.renew(&claim, Duration::ZERO).await.expect("an answer"));
    assert_eq!(bench.ledger.rescue(i64::MAX).await.expect("a rescue"), 1);
    assert!(!bench.ledger.renew(&claim, LEASE).await.expect("an answer"));
    let next = bench.take(1, "b", LEASE).await.remove(0);
    assert!(!bench.ledger.renew(&claim, LEASE).await.expect("an answer"));
    assert!(bench.ledger.renew(&next, LEASE).await.expect("an answer"));
}

async fn no_duration_is_too_long(bench: Bench) {
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.ledger.renew(&claim, Duration::MAX).await.expect("an answer"));
    assert!(bench.record(&claim, failure(Class::Transient), Next::RetryIn(Duration::MAX)).await);
    assert_eq!(bench.ledger.retrying(claim.job.run).await.expect("what waits").len(), 1);
}

async fn no_two_targets_of_a_tenant_are_given_at_once(bench: Bench) {
    bench.enqueue().await;
    bench.enqueue().await;
    let first = bench.take(10, "a", LEASE).await;
    let tenants: HashSet<TenantId> = first.iter().map(|claim| claim.job.tenant).collect();
    assert_eq!((first.len(), tenants.len()), (3, 3));
    assert_eq!(bench.take(10, "b", LEASE).await, []);
    for claim in &first {
        assert!(bench.succeed(claim).await);
        let next = bench.take(10, "b", LEASE).await;
        assert_eq!(next.iter().map(|claim| claim.job.tenant).collect::<Vec<_>>(), [claim.job.tenant]);
        assert_eq!((next[0].attempt, next[0].job.run > claim.job.run), (1, true));
    }
}

async fn a_job_that_waits_for_its_tenant_is_given_as_soon_as_that_is_free(bench: Bench) {
    bench.enqueue().await;
    let old = bench.take(1, "a", LEASE).await.remove(0);
    assert!(bench.record(&old, failure(Class::Transient), Next::RetryIn(LEASE)).await);
    bench.enqueue().await;
    let new = bench.job("t00").await;
    // Sent while the other one waited for its next attempt, which is due now: both are in the queue.
    bench.conduct().await;
    bench.sql.execute("UPDATE targets SET due_at = 0 WHERE state = 'retryable'").await;
    let claims = bench.take(10, "a", LEASE).await;
    assert_eq!(claims.iter().map(|claim| claim.job.tenant).collect::<Vec<_>>(), [new.tenant]);
    assert_eq!(bench.take(10, "b", LEASE).await, []);
    assert!(bench.succeed(&claims[0]).await);
    let other = bench.take(10, "b", LEASE).await;
    assert_eq!((other.len(), other[0].job.run != claims[0].job.run), (1, true));
    assert_eq!(bench.targets("state = 'running' AND attempt - uncounted = attempt").await, 1);
}

/// Whoever has changed less is chosen to give way.
#[tokio::test]
async fn a_deadlock_in_a_mariadb_registry_is_temporary_and_writes_nothing() {
    let bench = Bench::new(Home::new().with_mariadb_registry().await, false, 1).await;
    bench.enqueue().await;
    let claim = bench.take(1, "a", LEASE).await.remove(0);
    let mut other = MySqlConnection::connect(&bench.sql.url).await.expect("mariadb");
    let hold =
        "START TRANSACTION; UPDATE tenants SET version_at = 1; INSERT INTO events (at, kind, actor, detail)
        SELECT 1, 'x', 'x', 'x' FROM information_schema.columns LIMIT 200";
    other.execute(sqlx::raw_sql(hold)).await.expect("a lock");
    let (own, late) = (bench.clone(), claim.clone());
    let recording = tokio::spawn(async move { own.ledger.record(&late, "a", &success(), ENDED).await });
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'UPDATE tenants%'";
    until("the outcome waits for the tenant", || async { bench.sql.number(waiting).await == 1 }).await;
    other.execute("UPDATE targets SET lapses = 0").await.expect("the other one is chosen");
    let error = recording.await.expect("an end").expect_err("a deadlock");
    assert!(error.is_temporary() && error.to_string().contains("1213"), "{error}");
    other.execute(sqlx::raw_sql("ROLLBACK")).await.expect("an end");
    assert_eq!(bench.targets("state = 'running' AND attempt = 1").await, 1);
    assert_eq!(bench.sql.number("SELECT count(*) FROM attempts").await, 0);
    assert!(bench.succeed(&claim).await);
}

#[tokio::test]
async fn jobs_that_nobody_can_claim_do_not_hold_up_those_behind_them() {
    let bench = Bench::new(Home::new(), true, 2).await;
    bench.enqueue().await;
    let stale = Job { run: RunId::new(), tenant: TenantId::new() };
    bench.queue.send(&[stale; 100]).await.expect("sent");
    assert_eq!(bench.take(1, "a", LEASE).await.len(), 1);
}
