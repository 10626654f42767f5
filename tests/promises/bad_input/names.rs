//! Tenants, runs and words that do not mean anything.

use tenantry_tests::Home;

use super::{home, refused, refused_with_input};
use crate::state;

#[tokio::test]
async fn a_tenant_that_is_not_there_is_named() {
    let home = home();
    for args in [
        &["enqueue", "-t", "nobody"][..],
        &["enqueue", "-t", "alpha,nobody"],
        &["enqueue", "--all", "-x", "nobody"],
        &["migrate", "-t", "nobody"],
        &["tenants", "show", "nobody"],
        &["tenants", "set", "nobody", "--status", "active"],
        &["logs", "-t", "nobody"],
        &["status", "-t", "nobody"],
    ] {
        refused(&home, args, 2, "nobody", "tenantry tenants list").await;
    }
    let from_stdin = ["enqueue", "--tenants-file", "-"];
    refused_with_input(&home, &from_stdin, "alpha\nnobody\n", 2, "nobody", "tenantry tenants list").await;
    refused_with_input(&home, &from_stdin, "alpha\na b\n", 2, "standard input: 'a b' is not a tenant id", "")
        .await;
    refused(&home, &["enqueue", "--tenants-file", "nowhere"], 2, "nowhere cannot be read: ", "").await;
}

#[tokio::test]
async fn an_inactive_tenant_is_not_taken_by_name_and_not_by_all() {
    let home = home();
    refused(&home, &["enqueue", "-t", "alpha,beta"], 2, "not active: 'beta' (suspended)", "--status active")
        .await;
    let run = home.run(&["enqueue", "--all", "--json"]).exits(0).json();
    assert_eq!(run["counts"]["total"], 1, "{run}");
}

#[tokio::test]
async fn an_empty_selection_ends_as_it_was_told_to() {
    let home = home();
    for command in ["enqueue", "migrate"] {
        for (selection, input) in [
            (&["-l", "plan=pro"][..], ""),
            (&["-t", "alpha", "-x", "alpha"], ""),
            (&["--tenants-file", "-"], "# nobody\n\n"),
        ] {
            let args = [&[command][..], selection].concat();
            refused_with_input(&home, &args, input, 4, "no tenant", "").await;
            let before = state::of(&home).await;
            let warn = home.run_with_input(&[&args[..], &["--no-tenants", "warn"]].concat(), input).exits(0);
            assert!(warn.stderr.contains("nothing to do") && warn.stdout.is_empty(), "{warn:?}");
            let pass = home.run_with_input(&[&args[..], &["--no-tenants", "pass"]].concat(), input).exits(0);
            assert!(!pass.stderr.contains("nothing to do") && pass.stdout.is_empty(), "{pass:?}");
            let json = [&args[..], &["--no-tenants", "pass", "--json"]].concat();
            let json = home.run_with_input(&json, input).exits(0).json();
            assert_eq!((&json["number"], &json["counts"]["total"]), (&serde_json::Value::Null, &0.into()));
            assert_eq!(state::of(&home).await, before);
        }
    }
}

#[tokio::test]
async fn there_is_no_implicit_selection_of_all_tenants() {
    let home = home();
    refused(&home, &["enqueue"], 2, "no tenants are selected", "--all").await;
    refused(&home, &["migrate"], 2, "neither tenants nor a database", "--all").await;
    let dedicated = home.with("DATABASE_URL", "sqlite:alpha.db");
    for args in [["migrate", "-x", "alpha"], ["migrate", "--limit", "1"], ["enqueue", "--limit", "1"]] {
        refused(&dedicated, &args, 2, "required", "").await;
    }
}

#[tokio::test]
async fn words_that_do_not_fit_a_flag_are_usage_errors() {
    let home = home();
    let cases: [(&[&str], &str); 13] = [
        (&["enqueue", "-l", "plan in (pro"], "'plan in (pro' is not a label condition"),
        (&["tenants", "list", "-l", "a,,b"], "'' is not a label condition"),
        (&["enqueue", "--all", "-t", "alpha"], "cannot be used with"),
        (&["enqueue", "--all", "--target", "2"], "there is no migration 2"),
        (&["enqueue", "--all", "--target", "newest"], "there is no migration newest"),
        (&["enqueue", "--all", "--limit", "0"], "invalid value '0'"),
        (&["enqueue", "--all", "--timeout", "5s"], "required"),
        (&["retry", "--timeout", "5s"], "required"),
        (&["wait", "--timeout", "5 parsecs"], "'5 parsecs' is not a duration"),
        (&["wait", "yesterday"], "'yesterday' is not a run"),
        (&["status", "1", "--state", "broken"], "'broken' is not a state"),
        (&["tenants", "set", "alpha", "--status", "gone"], "'gone' is not a status"),
        (&["tenants", "set", "alpha"], "nothing to change in tenant 'alpha'"),
    ];
    for (args, says) in cases {
        refused(&home, args, 2, says, "").await;
    }
}

#[tokio::test]
async fn a_run_that_is_not_there_is_named() {
    let home = home();
    for args in [
        &["wait", "99"][..],
        &["status", "99"],
        &["retry", "99"],
        &["logs", "99", "-t", "alpha"],
        &["enqueue", "--failed-in", "99"],
    ] {
        refused(&home, args, 2, "there is no run 99", "tenantry runs").await;
    }
    refused(&home, &["status", "latest-failed"], 2, "no run has failed", "").await;
    let empty = Home::new();
    let _ = empty.run(&["registry", "init"]).exits(0);
    refused(&empty, &["wait"], 2, "there is no run yet", "tenantry enqueue --all").await;
}

#[tokio::test]
async fn a_retry_of_nothing_ends_with_4() {
    let home = home();
    refused(&home, &["retry"], 4, "no run has failed", "").await;
    refused(&home, &["retry", "1"], 4, "no tenant failed in run #1", "tenantry status 1 --state failed")
        .await;
    home.migration("2_broken.sql", "SELECT * FROM nowhere;");
    let _ = home.run(&["migrate", "--all"]).exits(100);
    let says = "no tenant failed with cause deadbeef in run #2";
    refused(&home, &["retry", "--error", "deadbeef"], 4, says, "tenantry status 2 --all-causes").await;
    refused(&home, &["retry", "-t", "beta"], 2, "did not fail in that run: 'beta'", "--state failed").await;
    refused(&home, &["retry", "-t", "nobody"], 2, "nobody", "tenantry tenants list").await;
}
