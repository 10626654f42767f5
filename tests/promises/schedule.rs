//! Runs that start by the clock: each time starts one run, however many schedulers there are and however their clocks go.

use std::process::{Child, Command};

use serde_json::Value;
use tenantry_tests::{Fleet, Home, fleet::Kind, home::finish, wait::until};

use crate::stage::ledger;

const HOURLY: &str = "[[schedule]]\nname = \"hourly\"\ncron = \"@hourly\"\nall = true\n";

/// How many schedulers look at the same moment.
const AT_ONCE: usize = 4;

/// A home with a configuration, two SQLite tenants and a migration.
async fn scene(home: &Home, config: &str) -> Fleet {
    home.migration("1_first.sql", "CREATE TABLE made (n INTEGER);");
    std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 2, home.path()).await;
    fleet.register(home);
    fleet
}

async fn runs(home: &Home) -> i64 {
    ledger(home).number("SELECT count(*) FROM runs").await
}

/// Makes the run of this number one that the schedule started so many hours ago.
async fn started_hours_ago(home: &Home, number: i64, hours: i64) {
    let mut command = Command::new("date");
    command.args(["-u", "-d", &format!("{hours} hours ago"), "+%Y-%m-%dT%H:00:00Z"]);
    let time = String::from_utf8(command.output().expect("date").stdout).expect("text");
    let key = format!("schedule:hourly:{}", time.trim());
    let sql = format!("UPDATE runs SET idempotency_key = '{key}' WHERE number = {number}");
    ledger(home).execute(&sql).await;
}

/// Sends SIGTERM, and gives what the scheduler said; it must end with 143.
fn terminated(child: Child) -> String {
    let done = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(done.success());
    finish(child).exits(143).stderr
}

/// Promise 1.
#[tokio::test]
async fn schedulers_that_look_at_the_same_moment_start_one_run() {
    for home in Home::on_each_registry().await {
        let _fleet = scene(&home, HOURLY).await;
        let looking: Vec<_> =
            (0..AT_ONCE).map(|_| home.spawn(&["schedule", "run", "--once", "--json"])).collect();
        let mut started = 0;
        for child in looking {
            let ran = finish(child).exits(0).json();
            // Who looks when it is there has nothing to do, and who asks for it at that moment joins it.
            let started_by_it = ran["runs"].as_array().expect("runs").iter();
            started += started_by_it.filter(|run| run["number"] == 1 && run["joined"] == false).count();
        }
        assert_eq!((started, runs(&home).await), (1, 1));
        let again = home.run(&["cron", "run", "--once", "--json"]).exits(0).json();
        assert_eq!(again["runs"], Value::Array(vec![]), "{again}");
        let listed = home.run(&["schedule", "list", "--json"]).exits(0).json();
        let last = &listed["schedules"][0]["last"];
        assert_eq!((&last["number"], &last["state"]), (&1.into(), &"pending".into()), "{listed}");
        let run = home.run(&["status", "1", "--json"]).exits(0).json();
        assert_eq!(
            run["idempotency_key"],
            format!("schedule:hourly:{}", last["at"].as_str().expect("a time"))
        );
        assert_eq!(run["reason"], "schedule hourly");
    }
}

#[tokio::test]
async fn of_what_was_missed_the_latest_is_started_once_and_the_scheduler_goes_on_until_a_signal() {
    let home = Home::new().with_postgres_registry().await;
    let _fleet = scene(&home, &format!("{HOURLY}catch-up = \"2h\"\n")).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    started_hours_ago(&home, 1, 30).await;
    let schedulers: Vec<_> = (0..2).map(|_| home.spawn(&["schedule", "run"])).collect();
    until("the run that was missed is there", || async { runs(&home).await == 2 }).await;
    let said: Vec<String> = schedulers.into_iter().map(terminated).collect();
    let started = said.iter().filter(|said| said.contains("hourly: started run #2 of 2 tenants")).count();
    assert_eq!((started, runs(&home).await), (1, 2), "{said:?}");
}

#[tokio::test]
async fn a_first_start_and_a_late_one_make_up_for_nothing() {
    let home = Home::new();
    let config = "[[schedule]]\nname = \"hourly\"\ncron = \"0 * 1 1 *\"\nall = true\ncatch-up = \"1m\"\n";
    let _fleet = scene(&home, config).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    for known in [false, true] {
        if known {
            ledger(&home)
                .execute("UPDATE runs SET idempotency_key = 'schedule:hourly:2020-01-01T00:00:00Z'")
                .await;
        }
        let ran = home.run(&["schedule", "run", "--once", "--json"]).exits(0).json();
        assert_eq!(ran["runs"], Value::Array(vec![]), "{ran}");
    }
    assert_eq!(runs(&home).await, 1);
}

#[tokio::test]
async fn a_run_that_is_still_going_is_joined_and_not_doubled() {
    let home = Home::new();
    let _fleet = scene(&home, HOURLY).await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let joined = home.run(&["schedule", "run", "--once"]).exits(0);
    assert!(joined.stderr.contains("run #1 is still under way, no other one is started"), "{joined:?}");
    let other = home.run(&["schedule", "trigger", "hourly"]).exits(0);
    assert_eq!((other.stdout.as_str(), runs(&home).await), ("1\n", 1), "{other:?}");
    let _ = home.run(&["cancel", "1"]).exits(0);
    let worker = home.worker(&[]);
    let triggered = home.run(&["schedule", "trigger", "hourly", "--wait", "--json"]).exits(0).json();
    drop(worker);
    assert_eq!(
        (&triggered["number"], &triggered["counts"]["applied"]),
        (&2.into(), &2.into()),
        "{triggered}"
    );
}

#[tokio::test]
async fn a_scheduler_outlives_an_outage_of_its_registry() {
    let server = tenantry_tests::server::Private::start("postgres", "");
    let home = Home::new().with("TENANTRY_REGISTRY_URL", &server.url);
    let _fleet = scene(&home, HOURLY).await;
    let _ = home.run(&["migrate", "--all"]).exits(0);
    started_hours_ago(&home, 1, 30).await;
    server.stop("fast");
    let scheduler = home.spawn(&["schedule", "run"]);
    let _ = home.run(&["schedule", "run", "--once"]).exits(75);
    server.restart();
    until("the run is there", || async { runs(&home).await == 2 }).await;
    assert!(terminated(scheduler).contains("trying again"));
}

#[tokio::test]
async fn the_next_times_are_told_in_utc_and_as_they_are_read_off_a_clock() {
    let home = Home::new();
    let config = "[[schedule]]\nname = \"nightly\"\ncron = \"30 2 * * *\"\ntimezone = \"Europe/Berlin\"\nselector = \"!manual\"\n";
    let _fleet = scene(&home, &format!("{config}{HOURLY}")).await;
    let next = home.run(&["schedule", "next", "nightly", "--count", "3", "--json"]).exits(0).json();
    let times = next["times"].as_array().expect("times");
    assert!(times.len() == 3 && times.iter().all(|time| time["name"] == "nightly"), "{next}");
    let text = home.run(&["schedule", "next"]).exits(0).stdout;
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.contains(" 02:30 CE") && text.contains(" UTC"), "{text}");
    let unknown = home.run(&["schedule", "next", "daily"]).exits(2);
    assert!(unknown.stderr.contains("there is no schedule 'daily' (nightly, hourly)"), "{unknown:?}");
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_told_before_anything_is_started() {
    let home = Home::new();
    for (config, says) in [
        ("", "there is no schedule in the configuration"),
        ("[[schedule]]\nname = \"a\"\ncron = \"@daily\"\n", "[[schedule]] a: no tenants are selected"),
        (
            "[[schedule]]\nname = \"a\"\ncron = \"61 * * * *\"\nall = true\n",
            "is not a cron expression of five fields",
        ),
        ("[[schedule]]\nname = \"a\"\ncron = \"@daily\"\nall = true\ncanry = 1\n", "'--canary'"),
        ("[[schedule]]\nname = \"a\"\ncron = \"@daily\"\nall = true\nwait = true\n", "'--wait'"),
    ] {
        std::fs::write(home.path().join("tenantry.toml"), config).expect("a file");
        let _ = home.run(&["registry", "init"]);
        let refused = home.run(&["schedule", "run", "--once"]).exits(78);
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
}
