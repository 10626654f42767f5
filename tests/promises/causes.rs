//! Why tenants fail: grouped, the commonest cause first, each with the command that tries exactly its tenants again, and
//! the same in every command; and what goes on while a run goes on.

use serde_json::{Value, json};
use tenantry_tests::{Fleet, Home, TenantDb, fleet::Kind, wait::until};

use crate::stage::{Gates, enqueue, gated, ledger, targets, until_at_their_gates};

/// Tenants that refuse the migration, each in its own words.
async fn refusing(home: Home, words: &[&str]) -> (Home, Vec<TenantDb>) {
    let _ = home.run(&["registry", "init"]).exits(0);
    home.migration("1_count.sql", "CREATE TABLE fine (n INTEGER);\n\nUPDATE counter SET n = n + 1;\n");
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, words.len(), home.path()).await;
    fleet.tenants.sort_by(|a, b| a.id.cmp(&b.id));
    for (tenant, word) in fleet.tenants.iter().zip(words) {
        let trigger = match *word {
            "" => String::new(),
            word => format!(
                "CREATE TRIGGER no BEFORE UPDATE ON counter BEGIN SELECT RAISE(ABORT, 'no {word}'); END;"
            ),
        };
        tenant
            .execute(&format!("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0); {trigger}"))
            .await;
    }
    fleet.register(&home);
    (home, fleet.tenants)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().expect("a list")
}

const MIGRATE: [&str; 4] = ["migrate", "--all", "--halt-same-cause", "0"];

#[tokio::test]
async fn causes_are_told_alike_by_every_command_each_with_what_retries_exactly_its_tenants() {
    let words = [
        "beech", "ash", "cedar", "ash", "", "ash", "fir", "elm", "hazel", "ivy", "juniper", "kapok", "larch",
        "maple",
    ];
    for home in Home::on_each_registry().await {
        let (home, tenants) = refusing(home, &words).await;
        let ran = home.run(&MIGRATE).exits(100);
        let run = home.run(&["wait", "1", "--json"]).exits(100).json();
        let failures = list(&run, "failures");
        assert_eq!((failures.len(), &run["causes"]), (11, &11.into()), "{run}");
        let first = &failures[0];
        let ash: Vec<&str> = [1, 3, 5].map(|at: usize| tenants[at].id.as_str()).into();
        assert_eq!((&first["count"], &first["tenants"]), (&3.into(), &json!(ash)), "{first}");
        assert!(failures[1..].iter().all(|cause| cause["count"] == 1 && cause["truncated"] == false));
        let print = first["fingerprint"].as_str().expect("a fingerprint");
        let work = if home.registry_url().starts_with("sqlite") { " --work" } else { "" };
        let retry = format!("tenantry retry 1 --error {print}{work}");
        assert_eq!(first["retry"], json!(retry));

        // In full in what migrate says, and in wait and status.
        let waited = home.run(&["wait", "1"]).exits(100).stdout;
        let status = home.run(&["status", "1", "--state", "failed"]).exits(0).stderr;
        for text in [&ran.stdout, &waited, &status] {
            let head = format!("         3  {print}  1 statement 2");
            assert!(text.contains(&head) && text.contains("no ash"), "{text}");
            assert!(text.contains(&format!("        in  {}\n", ash.join(", "))), "{text}");
            assert!(text.contains(&format!("     retry  {retry}\n")), "{text}");
            assert_eq!(text.matches(" retry 1 --error ").count(), 10, "{text}");
            assert!(
                text.contains("…  1 more cause; see all with: ") && text.contains("status 1 --all-causes"),
                "{text}"
            );
        }
        let all = home.run(&["status", "1", "--all-causes"]).exits(0).stdout;
        assert_eq!(
            (all.matches(" retry 1 --error ").count(), all.contains("more cause")),
            (11, false),
            "{all}"
        );
        // Each cause once while it ran.
        assert_eq!(
            (ran.stderr.matches("FAIL ").count(), ran.stderr.matches("no ash").count()),
            (11, 1),
            "{ran:?}"
        );
        assert!(home.run(&["runs"]).exits(0).stdout.contains(" (+10) "));

        let again = home.run(&["retry", "1", "--error", print, "--work", "--json"]).exits(100).json();
        let retried: Vec<&str> =
            list(&again["failures"][0], "tenants").iter().filter_map(Value::as_str).collect();
        assert_eq!((&again["counts"]["total"], retried), (&3.into(), ash), "{again}");
    }
}

#[tokio::test]
async fn more_causes_than_anybody_reads_are_counted_and_cut() {
    for home in Home::on_each_registry().await {
        let (home, _) = refusing(home, &["alder"]).await;
        let _ = home.run(&MIGRATE).exits(100);
        let run = "(SELECT id FROM runs WHERE number = 1)";
        for chunk in (0..1_100).collect::<Vec<u32>>().chunks(275) {
            let tenants: Vec<String> = chunk
                .iter()
                .map(|n| format!("('many{n:05}', 'many{n:05}', 'active', 1, 'x', 'x', 1)"))
                .collect();
            let columns = "id, slug, status, server_id, database_name, sealed_url, created_at";
            ledger(&home)
                .execute(&format!("INSERT INTO tenants ({columns}) VALUES {}", tenants.join(",")))
                .await;
            let rows: Vec<String> = chunk
                .iter()
                .map(|n| {
                    format!(
                        "({run}, 'many{n:05}', 'failed', 1, 1, 1, 'permanent', 'x', 'why {n}', 1, '{n:08x}')"
                    )
                })
                .collect();
            let columns = "run_id, tenant_id, state, attempt, max_attempts, wave, class, code, message, refused, fingerprint";
            ledger(&home)
                .execute(&format!("INSERT INTO targets ({columns}) VALUES {}", rows.join(",")))
                .await;
        }
        let run = home.run(&["wait", "1", "--json"]).exits(100).json();
        assert_eq!((list(&run, "failures").len(), &run["causes"]), (1_000, &1_101.into()));
        let text = home.run(&["wait", "1"]).exits(100).stdout;
        let more = "…  1091 more causes; see all with: tenantry status 1 --all-causes";
        assert!(text.contains(more), "{text}");
        let all = home.run(&["status", "1", "--all-causes"]).exits(0).stdout;
        assert!(all.contains("…  101 more causes; the rarest are not told apart"), "{all}");
    }
}

#[tokio::test]
async fn a_run_that_goes_on_tells_what_is_worked_and_what_waits_for_another_attempt_and_why() {
    for home in Home::on_each_registry().await {
        let fleet = gated(&home, &[Kind::PostgresDatabase]).await;
        std::fs::write(
            home.path().join("tenantry.toml"),
            "[run]\nbackoff-base = '20h'\nbackoff-cap = '20h'\n",
        )
        .expect("a file");
        for id in ["away-one", "away-two"] {
            let add = ["tenants", "add", id, "--url-stdin"];
            let _ = home.run_with_input(&add, "postgres://nobody@127.0.0.1:1/nothing").exits(0);
        }
        let gates = Gates::close(&fleet.tenants).await;
        let worker = home.worker(&[]);
        enqueue(&home, &[]);
        until_at_their_gates(&fleet.tenants).await;
        until("two wait for another attempt", || async { targets(&home, "state = 'retryable'").await == 2 })
            .await;

        let run = home.run(&["status", "1", "--json"]).exits(0).json();
        let retrying = &run["retrying"][0];
        assert_eq!(
            (&retrying["count"], &retrying["tenants"]),
            (&2.into(), &json!(["away-one", "away-two"])),
            "{run}"
        );
        assert!(retrying["class"] == "transient" && retrying["next_attempt_at"].is_string(), "{retrying}");
        let running = &run["running"][0];
        assert_eq!(
            (&running["tenant"], &running["attempt"]),
            (&fleet.tenants[0].id.as_str().into(), &1.into())
        );
        let pid = format!("/{}/", worker.pid());
        assert!(running["worker"].as_str().is_some_and(|name| name.contains(&pid)), "{running}");
        assert!(
            running["duration_ms"].is_u64() && run["failures"] == json!([]) && run["exit_code"].is_null()
        );

        let text = home.run(&["status", "1"]).exits(0).stdout;
        let print = retrying["fingerprint"].as_str().expect("a fingerprint");
        assert!(text.contains("3 tenants: 0 applied, 0 current, 0 failed, 1 running, 2 retrying"), "{text}");
        assert!(
            text.contains(&format!("  retrying  {print}  ")) && text.contains("2 tenants, next attempt in "),
            "{text}"
        );
        assert!(
            text.contains(&format!("   running  {} for ", fleet.tenants[0].id)) && text.contains(&pid),
            "{text}"
        );
        let only = home.run(&["status", "1", "--state", "running"]).exits(0).stdout;
        assert!(only.starts_with("TENANT ") && !only.contains("3 tenants"), "{only}");
        let waited = home.run(&["wait", "1", "--timeout", "1s"]).exits(124).stderr;
        assert_eq!((waited.matches("RETRY ").count(), waited.matches("FAIL ").count()), (1, 0), "{waited}");

        gates.open().await;
        until("one is done", || async { targets(&home, "state = 'applied'").await == 1 }).await;
        let _ = home.run(&["cancel"]).exits(0);
        let ended = home.run(&["wait", "1", "--json"]).exits(102).json();
        assert_eq!((&ended["retrying"], &ended["running"]), (&json!([]), &json!([])));
        assert_eq!((&ended["failures"][0]["count"], &ended["causes"]), (&2.into(), &1.into()), "{ended}");
    }
}

#[tokio::test]
async fn tenants_are_counted_in_groups_by_what_they_have_in_common() {
    for home in Home::on_each_registry().await {
        let (home, tenants) = refusing(home, &["ash", "", "ash", "elm", "", ""]).await;
        for tenant in &tenants[..4] {
            let _ = home.run(&["tenants", "set", &tenant.id, "--label", "plan=pro"]).exits(0);
        }
        let _ = home
            .run(&[&MIGRATE[..], &["--canary", "plan=pro", "--max-failures", "100%"]].concat())
            .exits(100);
        let groups = |args: &[&str]| {
            let run = home.run(&[&["status", "1", "--json", "--group-by"], args].concat()).exits(0).json();
            let of = |g: &Value| {
                (g["group"].clone(), g["counts"]["applied"].clone(), g["counts"]["failed"].clone())
            };
            list(&run, "groups").iter().map(of).collect::<Vec<_>>()
        };
        let of = |group: Value, applied: u64, failed: u64| (group, json!(applied), json!(failed));
        assert_eq!(groups(&["wave"]), [of(json!("1"), 1, 3), of(json!("2"), 2, 0)]);
        assert_eq!(groups(&["label:plan"]), [of(json!("pro"), 1, 3), of(json!(null), 2, 0)]);
        assert_eq!(
            groups(&["label:plan", "--state", "applied"]),
            [of(json!(null), 2, 0), of(json!("pro"), 1, 0)]
        );
        assert_eq!(
            groups(&["server"])
                .iter()
                .map(|(_, applied, failed)| (applied.clone(), failed.clone()))
                .collect::<Vec<_>>(),
            [(json!(3), json!(3))]
        );
        let run = home.run(&["wait", "1", "--json"]).exits(100).json();
        let print = |at: usize| run["failures"][at]["fingerprint"].clone();
        assert_eq!(groups(&["error", "--state", "failed"]), [of(print(0), 0, 2), of(print(1), 0, 1)]);
        let text = home.run(&["status", "1", "--group-by", "error"]).exits(0).stdout;
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = text.lines().map(words).collect();
        assert_eq!(lines[0][..3], ["CAUSE", "TENANTS", "APPLIED"]);
        assert_eq!(lines[1][..4], ["-", "3", "3", "0"], "{text}");
        assert!(!text.contains("PENDING"), "a state that nobody is in: {text}");
        assert!(lines[2][0] == print(0).as_str().expect("text") && text.contains("no ash"), "{text}");
        let wrong = home.run(&["status", "1", "--group-by", "color"]).exits(2);
        assert!(wrong.stderr.contains("error, label:KEY, server or wave"), "{wrong:?}");
        let _ = home.run(&["status", "--group-by", "wave"]).exits(2);
    }
}

#[tokio::test]
async fn what_was_not_begun_is_counted_apart_from_what_went_well() {
    for home in Home::on_each_registry().await {
        let (home, tenants) = refusing(home, &["", "", "ash", "elm"]).await;
        for tenant in &tenants[..3] {
            let _ = home.run(&["tenants", "set", &tenant.id, "--label", "ring=1"]).exits(0);
        }
        let _ = home.run(&["migrate", "--all", "--canary", "ring=1"]).exits(102);
        let run = home.run(&["status", "1", "--group-by", "error", "--json"]).exits(0).json();
        let of = |g: &Value| {
            let state = |state: &str| g["counts"][state].clone();
            (g["code"].clone(), [state("applied"), state("failed"), state("skipped")])
        };
        let groups: Vec<_> = list(&run, "groups").iter().map(of).collect();
        let of = |code: Value, counts: [u64; 3]| (code, counts.map(|count| json!(count)));
        let (went_well, failed) = (of(json!(null), [2, 0, 0]), of(json!("1811"), [0, 1, 0]));
        assert_eq!(groups, [went_well, failed, of(json!("halted"), [0, 0, 1])], "{run}");
        let logs = home.run(&["logs", "1", "-t", &tenants[3].id]).exits(0).stderr;
        let says = format!("run #1 has made no attempt at {}, which is skipped: not begun: ", tenants[3].id);
        assert!(logs.starts_with(&says), "{logs}");
        let _ = home.run(&["migrate", "-t", &tenants[0].id]).exits(0);
        let logs = home.run(&["logs", "2", "-t", &tenants[3].id]).exits(0).stderr;
        assert_eq!(logs, format!("{} is not in run #2\n", tenants[3].id));
    }
}
