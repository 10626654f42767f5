//! No secret is shown: not in a log, in an answer, in the registry, in the queue or on a command line, with every log line
//! there is and on every way that fails.

use std::process::{Child, Stdio};

use redis::AsyncCommands as _;
use tenantry_tests::{
    Fleet, Home, Ran, TenantDb,
    fleet::Kind,
    home::finish,
    server::{self, binary, passwords},
    wait::until,
};

use crate::stage::{ALL_KINDS, Gates, enqueue, gated, ledger};

const KEY: &str = "8d1f0c5b7e2a4963b1d0f7c8e6a5943218d1f0c5b7e2a4963b1d0f7c8e6a5943";

/// Passwords in URLs that are wrong in one way or another, as they are typed and as they are meant.
const WRONG: [&str; 12] = [
    "wrong-pg-canary",
    "wrong-maria-canary",
    "closed-port-canary",
    "no-such-host-canary",
    "in-the-query-canary",
    "p%40ss%2Fcanary",
    "p@ss/canary",
    "malformed-canary",
    "imported-canary",
    "far-registry-canary",
    "far-queue-canary",
    "dedicated-canary",
];

fn secrets() -> Vec<String> {
    let fixed = [KEY, "jR8MW34qSWOx0PfI5qWUMhjR8MW34qSWOx0PfI5qWUM"];
    passwords().into_iter().chain(WRONG.into_iter().chain(fixed).map(str::to_owned)).collect()
}

/// Everything that somebody could look into, each with its name.
type Seen = Vec<(String, String)>;

/// Which of the secrets stands where.
fn leaks(seen: &Seen, secrets: &[String]) -> Vec<String> {
    let in_one = |(name, text): &(String, String)| {
        let found = secrets.iter().filter(|secret| text.contains(secret.as_str()));
        found.map(|secret| format!("{secret} in {name}")).collect::<Vec<_>>()
    };
    seen.iter().flat_map(in_one).collect()
}

/// Runs a program of ours to its end, with more in its environment and on standard input.
fn run(home: &Home, program: &str, args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let mut command = home.command(program, args);
    command.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("a program");
    // A program that does not read it may have ended already.
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes());
    finish(child)
}

fn add(seen: &mut Seen, name: &str, ran: &Ran) {
    assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty(), "{name} said nothing");
    seen.push((format!("the answer of {name}"), ran.stdout.clone()));
    seen.push((format!("the log of {name}"), ran.stderr.clone()));
}

fn logs(home: &Home) -> Seen {
    let entries =
        std::fs::read_dir(home.path()).expect("a directory").map(|entry| entry.expect("an entry").path());
    let logs = entries.filter(|path| path.extension().is_some_and(|e| e == "log" || e == "health"));
    logs.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("text"))).collect()
}

/// Every column of every row of every table.
async fn registry(home: &Home) -> Seen {
    let db = ledger(home);
    let mut seen = Vec::new();
    for (table, columns) in db.tables().await {
        let rows = match db.kind {
            Kind::MariaDb => format!(
                "SELECT /*+ SET_VAR(group_concat_max_len = 4194304) */ CONVERT(CAST(group_concat(concat_ws(' ', {columns}) SEPARATOR '\n') AS BINARY) USING latin1) FROM {table}"
            ),
            _ => format!("SELECT string_agg(t::text, E'\n') FROM {table} t"),
        };
        seen.push((format!("the registry's {table}"), db.text(&rows).await.unwrap_or_default()));
    }
    assert!(
        seen.iter().any(|(name, text)| name.ends_with("tenants") && text.contains("wrong-pg")),
        "{seen:?}"
    );
    seen
}

/// Every key of this registry and what it holds.
async fn queue(home: &Home) -> Seen {
    let pool = Fleet::postgres_registry(home).await;
    let sql = "SELECT value FROM settings WHERE name = 'registry_id'";
    let id: String = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("an id");
    let client = redis::Client::open(server::redis()).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
    let keys: Vec<String> = redis.keys(format!("*{id}*")).await.expect("keys");
    let mut seen = Vec::new();
    for key in keys {
        let messages: Vec<String> = redis.lrange(&key, 0, -1).await.expect("a list");
        seen.push(("the queue's keys".to_owned(), key));
        seen.extend(messages.into_iter().map(|message| ("the queue".to_owned(), message)));
    }
    seen
}

/// The command lines of our two programs, as `ps` and the system tell them.
fn command_lines() -> Seen {
    let ours = ["tenantry", "tenantry-worker"].map(|name| binary(name).display().to_string());
    let is_ours = |line: &str| ours.iter().any(|path| line.split([' ', '\0']).any(|word| word == path));
    let ps = std::process::Command::new("ps").args(["-ww", "-ef"]).output().expect("ps");
    let listed = String::from_utf8_lossy(&ps.stdout)
        .lines()
        .filter(|line| is_ours(line))
        .collect::<Vec<_>>()
        .join("\n");
    let mut seen = vec![("ps".to_owned(), listed)];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A process may end while it is looked at.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if is_ours(&line) {
            seen.push((format!("the command line {}", entry.path().display()), line));
        }
    }
    seen
}

/// Tenants that cannot be reached, each for a reason of its own.
fn add_unreachable_tenants(home: &Home, fleet: &Fleet, seen: &mut Seen) {
    let (postgres, maria) = (&fleet.tenants[0].url, &fleet.tenants[2].url);
    let real = passwords();
    let wrong = [
        ("wrong-pg", postgres.replace(&real[0], "wrong-pg-canary")),
        ("encoded-pg", postgres.replace(&real[0], "p%40ss%2Fcanary")),
        ("wrong-maria", maria.replace(&real[1], "wrong-maria-canary")),
        ("closed-port", "postgres://app:closed-port-canary@127.0.0.1:1/none".to_owned()),
        ("no-such-host", "mysql://app:no-such-host-canary@tenantry.invalid/none".to_owned()),
        (
            "in-the-query",
            format!("{}?password=in-the-query-canary", postgres.replace(&format!(":{}@", real[0]), "@")),
        ),
    ];
    for (id, url) in &wrong {
        add(seen, id, &home.run_with_input(&["tenants", "add", id, "--url-stdin"], url).exits(0));
    }
}

/// Commands that fail before they reach anything, and commands that reach nothing.
fn fail_in_every_way(home: &Home, seen: &mut Seen) {
    for url in [
        "postgres//app:malformed-canary@h/d",
        "ftp://app:malformed-canary@h/d",
        "mysql://app:malformed-canary@h:port/d",
        "postgres://app:malformed-canary@h",
    ] {
        add(
            seen,
            "tenants add",
            &home.run_with_input(&["tenants", "add", "bad", "--url-stdin"], url).exits(2),
        );
    }
    for (format, lines) in [
        ("csv", "id,url\ngood,postgres://app:imported-canary@h/d\nbad,postgres//app:imported-canary@h/d\n"),
        ("csv", "id,url\nbad,postgres://app:imported-canary@h/d,more\n"),
        ("jsonl", "{\"id\": 1, \"url\": \"postgres://app:imported-canary@h/d\"}\n"),
        ("jsonl", "{\"id\": \"a\", \"url\": \"postgres://app:imported-canary@h/d\", \"what\": 1}\n"),
    ] {
        add(
            seen,
            "tenants import",
            &home.run_with_input(&["tenants", "import", "-", "--format", format], lines).exits(2),
        );
    }
    let real = passwords();
    let bad = |scheme: &str, url: &str, password: &str| {
        [
            format!("{scheme}://app:far-registry-canary@127.0.0.1:1/none"),
            format!("{scheme}://app:far-registry-canary@h:port/none"),
            url.replace(password, "far-registry-canary"),
            url.replace(password, "p%40ss%2Fcanary"),
        ]
    };
    let registries =
        [bad("postgres", &home.registry_url(), &real[0]), bad("mysql", &server::mariadb(), &real[1])]
            .concat();
    let queues = [
        "redis://:far-queue-canary@127.0.0.1:1/0".to_owned(),
        "redis://:far-queue-canary@h:port/0".to_owned(),
        server::redis().replace(&real[2], "far-queue-canary"),
        "amqp://u:far-queue-canary@h/".to_owned(),
    ];
    let registries = registries.iter().map(|url| ("TENANTRY_REGISTRY_URL", url.as_str()));
    for pair in registries.chain(queues.iter().map(|url| ("TENANTRY_QUEUE_URL", url.as_str()))) {
        for (program, args) in [
            ("tenantry", &["enqueue", "--all", "--yes"][..]),
            ("tenantry", &["doctor"]),
            ("tenantry-worker", &["run"]),
        ] {
            let ran = run(home, program, args, &[pair], "");
            assert_ne!(ran.code, 0, "{program} {args:?} with a bad {}", pair.0);
            add(seen, program, &ran);
        }
    }
    let dedicated = ("DATABASE_URL", "postgres://app:dedicated-canary@127.0.0.1:1/none");
    let ran = run(home, "tenantry", &["migrate", "--retries", "1"], &[dedicated], "");
    assert_ne!(ran.code, 0);
    add(seen, "migrate", &ran);
}

/// Promise 5.
#[tokio::test]
async fn no_secret_is_shown_anywhere_even_when_everything_fails() {
    let home = Home::new().with("TENANTRY_MASTER_KEY", KEY).with("TENANTRY_LOG", "trace");
    let home = home.with_postgres_registry().await.with_redis_queue();
    let fleet = gated(&home, &ALL_KINDS).await;
    let mut seen = Vec::new();
    add_unreachable_tenants(&home, &fleet, &mut seen);
    let broken = &fleet.tenants[1];
    broken.execute("ALTER TABLE counter RENAME TO missing").await;
    fail_in_every_way(&home, &mut seen);

    // One slot, and the gates are closed: jobs stay in the queue while all is looked into.
    let gates = Gates::close(fleet.tenants.iter().filter(|tenant| tenant.kind != Kind::Sqlite)).await;
    let worker = home.worker(&["--concurrency", "1"]);
    add(&mut seen, "enqueue", &enqueue(&home, &["--retries", "2"]));
    let waiting = home.spawn(&["wait", "--json"]);
    until("a migration runs and others are queued", || async {
        let running = ledger(&home).number("SELECT count(*) FROM targets WHERE state = 'running'").await;
        running == 1 && queue(&home).await.len() > 1
    })
    .await;
    let lines = command_lines();
    for pid in [worker.pid(), waiting.id()] {
        let listed = |(name, text): &(String, String)| name == "ps" && text.contains(&pid.to_string());
        assert!(
            lines.iter().any(listed) && lines.iter().any(|(name, _)| name.ends_with(&format!("/{pid}"))),
            "{lines:?}"
        );
    }
    seen.extend(lines);
    seen.extend(queue(&home).await);
    gates.open().await;

    let run = finish(waiting).exits(100);
    assert_eq!(
        (&run.json()["counts"]["applied"], &run.json()["counts"]["failed"]),
        (&3.into(), &7.into()),
        "{}",
        run.stdout
    );
    add(&mut seen, "wait", &run);
    for args in [
        &["status", "latest", "--json"][..],
        &["status", "latest"],
        &["status"],
        &["runs"],
        &["tenants", "list", "--json"],
        &["tenants", "show", "wrong-pg"],
        &["logs", "-t", "wrong-pg"],
        &["logs", "-t", "encoded-pg"],
        &["doctor"],
    ] {
        add(&mut seen, args[0], &home.run(args));
    }
    let worker_log = worker.log();
    assert!(worker_log.contains("\"TRACE\"") && worker_log.contains("28P01"), "the worker logs everything");
    seen.extend(logs(&home));
    seen.extend(registry(&home).await);
    assert_eq!(leaks(&seen, &secrets()), Vec::<String>::new());
    a_planted_secret_is_found_everywhere(&home, &seen).await;
}

/// Promise 5.
#[tokio::test]
async fn no_secret_is_shown_with_a_registry_in_mariadb() {
    let home = Home::new().with("TENANTRY_MASTER_KEY", KEY).with("TENANTRY_LOG", "trace");
    let home = home.with_mariadb_registry().await;
    let fleet = gated(&home, &ALL_KINDS).await;
    let mut seen = Vec::new();
    add_unreachable_tenants(&home, &fleet, &mut seen);
    let worker = home.worker(&[]);
    add(&mut seen, "enqueue", &enqueue(&home, &["--retries", "1"]));
    add(&mut seen, "wait", &home.run(&["wait", "--json"]).exits(100));
    for args in [
        &["status", "latest"][..],
        &["tenants", "list", "--json"],
        &["logs", "-t", "wrong-maria"],
        &["doctor"],
    ] {
        add(&mut seen, args[0], &home.run(args));
    }
    seen.extend(command_lines());
    assert!(worker.log().contains("\"TRACE\""), "the worker logs everything");
    seen.extend(logs(&home));
    seen.extend(registry(&home).await);
    assert_eq!(leaks(&seen, &secrets()), Vec::<String>::new());
}

/// Promise 5. The same search finds what is really there.
async fn a_planted_secret_is_found_everywhere(home: &Home, seen: &Seen) {
    let planted = vec!["planted-canary".to_owned()];
    assert_eq!(leaks(seen, &planted), Vec::<String>::new());
    std::fs::write(home.path().join("planted.log"), "a line with planted-canary in it").expect("a log");
    let db: TenantDb = ledger(home);
    db.execute("INSERT INTO events (at, kind, actor, detail) VALUES (1, 'x', 'x', 'planted-canary')").await;
    db.execute("UPDATE runs SET state = 'running', finished_at = NULL; UPDATE targets SET due_at = 9000000000000, state = 'retryable' WHERE state = 'failed'").await;
    let id = "SELECT value FROM settings WHERE name = 'registry_id'";
    let id: String =
        sqlx::query_scalar(id).fetch_one(&Fleet::postgres_registry(home).await).await.expect("an id");
    let client = redis::Client::open(server::redis()).expect("a URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
    let _: u64 = redis.rpush(format!("planted:{id}"), "planted-canary").await.expect("pushed");
    let url = format!("{}?application_name=planted-canary", home.registry_url());
    let mut careless = home.spawn(&["--registry-url", &url, "wait"]);
    let lines = command_lines();
    careless.kill().expect("a kill");
    careless.wait().expect("its end");
    let all = [logs(home), registry(home).await, queue(home).await, lines].concat();
    let found = leaks(&all, &planted);
    for place in ["planted.log", "the registry's events", "the queue", "ps", "the command line"] {
        assert!(found.iter().any(|leak| leak.contains(place)), "not found in {place}: {found:?}");
    }
    let _: u64 = redis.del(format!("planted:{id}")).await.expect("deleted");
}
