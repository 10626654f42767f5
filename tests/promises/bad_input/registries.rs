//! Registries, queues and keys that are not what they should be.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tenantry_tests::Home;

use super::{home, refused, refused_with_input};
use crate::site::with_account;

/// Longest time until a server that does not answer is reported.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_command_names_the_way_to_a_registry_when_there_is_none() {
    let home = Home::new();
    home.migration("1_a.sql", "SELECT 1;");
    let commands: [&[&str]; 11] = [
        &["enqueue", "--all"],
        &["wait"],
        &["migrate", "--all"],
        &["status"],
        &["runs"],
        &["retry"],
        &["logs", "-t", "a"],
        &["tenants", "list"],
        &["tenants", "set", "a", "--status", "active"],
        &["tenants", "add", "a", "--url-stdin"],
        &["registry", "check"],
    ];
    for args in commands {
        refused(&home, args, 78, "there is no registry at .tenantry/registry.db", "tenantry registry init")
            .await;
    }
}

#[tokio::test]
async fn a_postgres_registry_that_cannot_be_reached_is_reported_soon_as_temporary() {
    a_registry_cannot_be_reached("postgres").await;
}

#[tokio::test]
async fn a_mysql_registry_that_cannot_be_reached_is_reported_soon_as_temporary() {
    a_registry_cannot_be_reached("mysql").await;
}

async fn a_registry_cannot_be_reached(scheme: &str) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = {
        let once = TcpListener::bind("127.0.0.1:0").expect("a port");
        once.local_addr().expect("an address")
    };
    for address in [silent.local_addr().expect("an address"), closed] {
        let home =
            Home::new().with("TENANTRY_REGISTRY_URL", &format!("{scheme}://app:s3cret@{address}/registry"));
        let begun = Instant::now();
        refused(&home, &["status"], 75, "the registry cannot be reached: ", "tenantry doctor").await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_registry_url_of_something_else_is_a_configuration_error() {
    let home = Home::new();
    for url in ["oracle://app:s3cret@db/registry", "registry.db", "http://db/registry"] {
        let says = "the registry URL must begin with sqlite:, postgres: or mysql:";
        refused(&home, &["--registry-url", url, "status"], 78, says, "").await;
        refused(&home, &["--registry-url", url, "registry", "init"], 78, says, "").await;
    }
    for url in ["mysql://app:s3cret@db", "mysql://app:s3cret@db:3306/?ssl-mode=disabled", "mariadb://db/"] {
        let says = "the registry URL names no database";
        refused(&home, &["--registry-url", url, "status"], 78, says, "").await;
        refused(&home, &["--registry-url", url, "registry", "init"], 78, says, "").await;
    }
    for url in ["sqlite:", "sqlite::memory:", "sqlite://"] {
        refused(
            &home,
            &["--registry-url", url, "registry", "init"],
            78,
            "the registry URL names no file",
            "",
        )
        .await;
    }
}

#[tokio::test]
async fn a_mariadb_registry_that_is_not_there_is_told_from_one_that_refuses() {
    let home = Home::new().with_mariadb_registry().await;
    let says = "there is no registry at that database";
    refused(&home, &["status"], 78, says, "tenantry registry init").await;
    let url = home.registry_url();
    let nowhere = format!("{url}_nowhere");
    for args in [&["status"][..], &["registry", "init"]] {
        let elsewhere = [&["--registry-url", &nowhere], args].concat();
        refused(&home, &elsewhere, 1, "the registry database refused: ", "").await;
        let wrong = with_account(&url, "nobody", "s3cret");
        let stranger = [&["--registry-url", &wrong], args].concat();
        refused(&home, &stranger, 1, "the registry database refused: ", "").await;
    }
}

#[tokio::test]
async fn a_registry_that_can_never_be_there_is_a_configuration_error() {
    let home = Home::new();
    home.migration("1_a.sql", "SELECT 1;");
    std::fs::write(
        home.path().join("notes.txt"),
        "not a database, and longer than a header of one hundred bytes would be: ".repeat(9),
    )
    .expect("a file");
    refused(
        &home,
        &["runs", "--registry-url", "sqlite:notes.txt"],
        78,
        "the registry cannot be in notes.txt",
        "--registry-url sqlite:PATH",
    )
    .await;
    refused(&home, &["registry", "init", "--registry-url", "sqlite:notes.txt"], 78, "not a database", "")
        .await;
    refused(
        &home,
        &["registry", "init", "--registry-url", "sqlite:notes.txt/below/registry.db"],
        78,
        "notes.txt",
        "",
    )
    .await;
}

#[tokio::test]
async fn an_unreachable_queue_stops_an_enqueue_before_anything_is_written() {
    let home = home();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("redis://:s3cret@{}", silent.local_addr().expect("an address"));
    for (url, command) in
        [("redis://127.0.0.1:1", "enqueue"), ("redis://127.0.0.1:1", "migrate"), (&silent, "enqueue")]
    {
        let begun = Instant::now();
        let args = ["--queue-url", url, command, "--all"];
        refused(&home, &args, 75, "the queue cannot be reached: ", "tenantry doctor").await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_queue_url_of_something_else_is_a_configuration_error() {
    let home = home();
    let cases = [
        ("postgres://db/other", "the queue URL names a database that is not the registry"),
        ("sqlite:other.db", "the queue URL names a database that is not the registry"),
        ("amqp://mq", "the queue URL must begin with redis: or rediss:, or be the registry's own"),
    ];
    for (url, says) in cases {
        refused(&home, &["--queue-url", url, "enqueue", "--all"], 78, says, "").await;
    }
}

#[tokio::test]
async fn without_the_right_key_nothing_is_done() {
    let home = home().without("TENANTRY_MASTER_KEY");
    let enqueue = ["enqueue", "--all"];
    refused(&home, &enqueue, 78, "there is no master key", "openssl rand -hex 32").await;
    let add = ["tenants", "add", "gamma", "--url-stdin"];
    refused_with_input(&home, &add, "sqlite:gamma.db", 78, "there is no master key", "TENANTRY_MASTER_KEY")
        .await;

    let home = home.with("TENANTRY_MASTER_KEY", "not-a-key");
    refused(
        &home,
        &enqueue,
        78,
        "TENANTRY_MASTER_KEY: the master key is not 32 bytes",
        "openssl rand -hex 32",
    )
    .await;

    let home = home.with("TENANTRY_MASTER_KEY", &"ab".repeat(32));
    let says = "the registry is sealed with key ";
    refused(&home, &enqueue, 78, says, "TENANTRY_MASTER_KEY").await;
    refused(&home, &["migrate", "--all"], 78, says, "TENANTRY_MASTER_KEY").await;
    refused(&home, &["registry", "check"], 78, says, "TENANTRY_MASTER_KEY").await;
    refused_with_input(&home, &add, "sqlite:gamma.db", 78, says, "TENANTRY_MASTER_KEY").await;

    let home = home.without("TENANTRY_MASTER_KEY").with("TENANTRY_MASTER_KEY_FILE", "nowhere/key");
    refused(&home, &enqueue, 78, "nowhere/key cannot be read: ", "").await;
}
