//! Settings: flags, variables and files.

use std::process::Stdio;

use tenantry_tests::{Home, home::finish};

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "registry-url = 'sqlite:from-file.db'\nmaster-key = { file = 'key' }\n";
    let home = Home::new().without("TENANTRY_MASTER_KEY");
    std::fs::write(home.path().join("tenantry.toml"), file).expect("a file");
    std::fs::write(home.path().join("key"), "4f".repeat(32)).expect("a file");
    let exists = |name: &str| home.path().join(name).exists();
    let _ = home.run(&["registry", "init"]).exits(0);
    assert!(exists("from-file.db"));
    let made = |variable: &str, value: &str, more: &[&str], file: &str| {
        let mut command = home.command("tenantry", &[&["registry", "init"], more].concat());
        command.env(variable, value).stdout(Stdio::null()).stderr(Stdio::piped());
        let _ = finish(command.spawn().expect("tenantry")).exits(0);
        assert!(exists(file), "{variable} did not make {file}");
    };
    let flag = ["--registry-url", "sqlite:from-flag.db"];
    made("TENANTRY_REGISTRY_URL", "sqlite:from-env.db", &flag, "from-flag.db");
    assert!(!exists("from-env.db"));
    made("TENANTRY_REGISTRY_URL", "sqlite:from-env.db", &[], "from-env.db");
    std::fs::remove_file(home.path().join("from-file.db")).expect("a file");
    made("TENANTRY_REGISTRY_URL", "", &[], "from-file.db");
    made("TENANT_REGISTRY_DB_URL", "sqlite:from-other-name.db", &[], "from-other-name.db");
    std::fs::write(home.path().join("url"), "sqlite:from-url-file.db\n").expect("a file");
    made("TENANTRY_REGISTRY_URL_FILE", "url", &[], "from-url-file.db");
}

#[test]
fn a_key_is_taken_from_each_of_its_variables() {
    let home = Home::new();
    let _ = home.run(&["registry", "init"]).exits(0);
    let key = "4f".repeat(32);
    std::fs::write(home.path().join("key"), format!("{key}\n")).expect("a file");
    let home = home.without("TENANTRY_MASTER_KEY");
    for (name, value) in [
        ("TENANTRY_MASTER_KEY_FILE", "key"),
        ("MASTER_ENCRYPTION_KEY", key.as_str()),
        ("MASTER_ENCRYPTION_KEY_FILE", "key"),
    ] {
        let mut command = home.command("tenantry", &["registry", "check"]);
        command.env(name, value).stdout(Stdio::piped()).stderr(Stdio::piped());
        let _ = finish(command.spawn().expect("tenantry")).exits(0);
    }
    let _ = home.run(&["registry", "check"]).exits(78);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let names = [
        "CONFIG",
        "REGISTRY_URL",
        "QUEUE_URL",
        "OUTPUT",
        "PROGRESS",
        "NO_INPUT",
        "LOG",
        "LOG_FORMAT",
        "MIGRATIONS",
    ];
    let home = names.iter().fold(Home::new(), |home, name| home.with(&format!("TENANTRY_{name}"), ""));
    let _ = home.run(&["registry", "init"]).exits(0);
    assert_eq!(home.run(&["registry", "init"]).exits(0).stdout, "the registry is ready\n");
}
