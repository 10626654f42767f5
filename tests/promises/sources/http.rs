//! Sources that are an HTTP endpoint.

use std::sync::Arc;

use serde_json::json;
use tenantry_tests::{Home, Ran};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{configure, file, home_with, sync, tenant};
use crate::state;

/// A server that answers each request by its path; it keeps what it was asked.
async fn http(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![stream.read_u8().await.expect("a request")];
            if !request[0].is_ascii_alphabetic() {
                continue; // it speaks TLS
            }
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a request"));
            }
            let request = String::from_utf8(request).expect("text");
            let path = request.split(' ').nth(1).expect("a path").to_owned();
            log.lock().expect("a log").push(request);
            let (status, body) = answer(&path);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\nlocation: /elsewhere\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.expect("an answer");
        }
    });
    (origin, asked)
}

/// Runs it beside the server of this test.
async fn sync_beside(home: &Arc<Home>, more: &'static [&'static str]) -> Ran {
    let home = Arc::clone(home);
    tokio::task::spawn_blocking(move || sync(&home, more)).await.expect("a sync")
}

#[tokio::test]
async fn an_endpoint_is_read_page_by_page_with_its_secrets() {
    let pages = |path: &str| match path {
        "/tenants?token=in-the-query" => (
            200,
            json!({ "data": { "tenants": [
            { "slug": "acme", "db": { "host": "db1", "name": "acme" }, "active": true, "plan": "pro" }] },
            "links": { "next": "/tenants?page=2" } }),
        ),
        "/tenants?page=2" => (
            200,
            json!({ "data": { "tenants": [
            { "slug": 42, "db": { "host": "db2", "name": "forty-two" }, "active": false }] }, "links": { "next": null } }),
        ),
        _ => (404, json!(null)),
    };
    let (origin, asked) = http(move |path| (pages(path).0, pages(path).1.to_string())).await;
    let home = home_with(
        "[source]\nendpoint = { env = 'ENDPOINT' }\nitems = 'data.tenants'\nnext = 'links.next'\ntenant-url = 'postgres://app@{db.host}/{db.name}'\nactive-values = ['true']
         [source.headers]\nAuthorization = 'Bearer {token}'\nX-Key = { env = 'KEY' }\n[source.secrets]\ntoken = { file = 'token' }
         [source.columns]\nid = 'slug'\nstatus = 'active'\nlabels = { plan = 'plan' }\n",
    );
    file(&home, "token", "hush-token\n");
    let home = home.with("TENANTRY_LOG", "trace");
    let home = Arc::new(
        home.with("ENDPOINT", &format!("{origin}/tenants?token=in-the-query")).with("KEY", "hush-key"),
    );
    let told = sync_beside(&home, &["--yes"]).await.exits(0);
    assert!(told.stdout.contains("2 added") && !format!("{told:?}").contains("hush"), "{told:?}");
    let (acme, other) = (tenant(&home, "acme"), tenant(&home, "42"));
    assert_eq!(
        json!([acme["server"], acme["status"], other["database"], other["status"]]),
        json!(["db1:5432", "active", "forty-two", "suspended"])
    );
    let asked = asked.lock().expect("a log").clone();
    assert_eq!(asked.len(), 2);
    for request in asked.iter().map(|request| request.to_lowercase()) {
        assert!(
            request.contains("authorization: bearer hush-token\r\n")
                && request.contains("x-key: hush-key\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_something_else_changes_nothing_and_is_sent_no_secret_elsewhere() {
    let (other, asked_of_other) = http(|_| (200, "[]".into())).await;
    let elsewhere = json!({ "items": [], "next": format!("{other}/more") }).to_string();
    let (origin, _) = http(move |path| match path {
        "/busy" => (503, String::new()),
        "/moved" => (302, String::new()),
        "/who" => (401, "hush-body".into()),
        "/text" => (200, "hush-body".into()),
        "/object" => (200, "{\"items\":{}}".into()),
        "/strings" => (200, "{\"items\":[\"hush-body\"]}".into()),
        "/elsewhere" => (200, elsewhere.clone()),
        _ => (200, "{}".into()),
    })
    .await;
    let home = home_with("");
    let closed = "http://127.0.0.1:1/hush-path";
    for (url, code, says) in [
        (format!("{origin}/busy"), 75, "cannot be reached: it answers 503"),
        (closed.to_owned(), 75, "cannot be reached: "),
        (closed.replace("http:", "https:"), 75, "cannot be reached: "),
        (format!("{}/tls", origin.replace("http:", "https:")), 75, "cannot be reached: "),
        (format!("{origin}/moved"), 78, "it answers 302"),
        (format!("{origin}/who"), 78, "it answers 401"),
        (format!("{origin}/text"), 78, "its answer is not JSON"),
        (format!("{origin}/none"), 78, "its answer has no 'items'"),
        (format!("{origin}/object"), 78, "'items' in its answer is not a list"),
        (format!("{origin}/strings"), 78, "item 1 is not an object"),
        (format!("{origin}/elsewhere"), 78, "the next page is on another server"),
        ("ftp://hush-host/".to_owned(), 78, "endpoint is not an http:// or https:// URL"),
    ] {
        configure(
            &home,
            &format!(
                "[source]\nendpoint = '{url}'\nitems = 'items'\nnext = 'next'\nheaders = {{ X-Key = 'hush-key' }}\n"
            ),
        );
        let before = state::of(&home).await;
        let mut command = home.command("tenantry", &["tenants", "sync", "--yes"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().expect("tenantry");
        let ran = tokio::task::spawn_blocking(|| tenantry_tests::home::finish(child))
            .await
            .expect("an end")
            .exits(code);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint: "), "{url}: {ran:?}");
        assert!(!format!("{ran:?}").contains("hush"), "{url}: {ran:?}");
        assert_eq!(state::of(&home).await, before);
    }
    assert!(asked_of_other.lock().expect("a log").is_empty());
}
