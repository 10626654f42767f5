use secrecy::ExposeSecret as _;

use super::*;
use crate::plan::Order;

fn env_of(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
}

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tenantry.toml");
    std::fs::write(&path, text).unwrap();
    (directory, Flags { config: Some(path), ..Flags::default() })
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let (_dir, mut flags) = file("registry-url = 'sqlite:file.db'\nqueue-url = { env = 'Q' }");
    let none = env_of(&[("Q", "redis://q")]);
    let from_file = Config::load(&flags, &none).unwrap();
    assert!(from_file.registry_url.expose_secret().ends_with("/file.db"));
    assert_eq!(from_file.queue_url.unwrap().expose_secret(), "redis://q");
    let env = env_of(&[("Q", "redis://q"), ("TENANT_REGISTRY_DB_URL", "postgres://env/r")]);
    assert_eq!(Config::load(&flags, &env).unwrap().registry_url.expose_secret(), "postgres://env/r");
    flags.registry_url = Some("postgres://flag/r".into());
    assert_eq!(Config::load(&flags, &env).unwrap().registry_url.expose_secret(), "postgres://flag/r");
}

#[test]
fn an_unknown_setting_is_shown_with_its_line() {
    let (_dir, flags) = file("[run]\nlock_timeout = '5s'\n");
    let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("lock-timeout"), "{error}");
}

#[test]
fn a_misspelled_key_does_not_show_its_secret() {
    for text in ["urll = 'mysql://u:hush@h/d'", "source.headres = { a = \"hush\" }", "registry_url = \"hush"]
    {
        let (_dir, flags) = file(&format!("\n{text}\n"));
        let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hush"), "{error}");
    }
}

#[test]
fn an_unknown_setting_is_told_with_the_one_that_was_meant() {
    for (text, meant) in [
        ("[run]\nmax_failures = 1", "max-failures"),
        ("[run]\ncanry = 1", "canary"),
        ("[profile.live.run]\nwave = 1", "waves"),
        ("[rum]", "run"),
    ] {
        let (_dir, flags) = file(text);
        let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
        assert!(error.ends_with(&format!("did you mean `{meant}`?")), "{error}");
    }
    let (_dir, flags) = file("[run]\nxyz = 1");
    assert!(!Config::load(&flags, &env_of(&[])).unwrap_err().to_string().contains("did you mean"));
}

#[test]
fn the_environment_wins_over_the_profile_and_that_over_the_file() {
    let text = "[run]\ncanary = 5\nwaves = ['10%', 50]\nsoak = '1m'\nmax-failures = '1%'\nhalt-same-cause = 9
        deadline = '2h'\nretries = 2\n[profile.live]\nregistry-url = 'postgres://live/r'\n[profile.live.run]
        canary = 'tier=beta'\nwaves = 'none'\nsoak = '5m'\n[profile.live.worker]\nconcurrency = 3";
    let (_dir, mut flags) = file(text);
    let env = env_of(&[
        ("TENANTRY_RUN_SOAK", "7m"),
        ("TENANTRY_RUN_RETRIES", "4"),
        ("TENANTRY_RUN_FINGERPRINT", "false"),
    ]);
    let rollout = Config::load(&flags, &env_of(&[])).unwrap().policy.rollout;
    assert_eq!((rollout.canary, rollout.waves), ("5".parse().ok(), "10%,50".parse().ok()));
    assert_eq!((rollout.soak_ms, rollout.same_cause, rollout.deadline_ms), (60_000, 9, Some(7_200_000)));
    assert_eq!(rollout.max_failures, "1%".parse().ok());
    flags.profile = Some("live".into());
    let live = Config::load(&flags, &env).unwrap();
    assert_eq!((live.worker.concurrency, live.registry_url.expose_secret()), (3, "postgres://live/r"));
    assert_eq!((live.policy.max_attempts, live.policy.fingerprint), (4, false));
    let rollout = live.policy.rollout;
    assert_eq!((rollout.canary, rollout.waves), ("tier=beta".parse().ok(), None));
    assert_eq!((rollout.soak_ms, rollout.same_cause), (420_000, 9));
    flags.profile = Some("life".into());
    let error = Config::load(&flags, &env).unwrap_err().to_string();
    assert!(error.ends_with(": there is no profile life; did you mean live?"), "{error}");
    let error = Config::load(&Flags { config: None, ..flags }, &env_of(&[])).unwrap_err().to_string();
    assert_eq!(error, "there is no profile life, and no configuration file");
}

#[test]
fn a_rollout_that_makes_no_sense_is_shown_with_its_line_or_its_variable() {
    for (text, says) in [
        ("[run]\ncanary = '0%'", "nobody"),
        ("[run]\nwaves = '10%,1%'", "do not rise"),
        ("[run]\nmax-failures = true", "a text, a whole number or a list"),
        ("[run]\ndeadline = 'soon'", "not a duration"),
        ("[run]\ndeadline = '0'", "none is no deadline"),
    ] {
        let (_dir, flags) = file(text);
        let error = Config::load(&flags, &env_of(&[])).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains(says), "{error}");
    }
    for (name, value, says) in [
        ("TENANTRY_RUN_CANARY", "101%", "more than all"),
        ("TENANTRY_RUN_RETRIES", "many", "u32"),
        ("TENANTRY_RUN_DEADLINE", "soon", "not a duration"),
    ] {
        let env = move |wanted: &str| (wanted == name).then(|| value.to_owned());
        let error = Config::load(&Flags::default(), &env).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: ")) && error.contains(says), "{error}");
    }
}

#[test]
fn durations_and_policy_are_read() {
    let (_dir, flags) =
        file("[run]\nretries = 2\nlock-timeout = '1m 30s'\norder = 'any'\n[worker]\nconcurrency = 3");
    let config = Config::load(&flags, &env_of(&[])).unwrap();
    assert_eq!(
        (config.policy.max_attempts, config.policy.lock_timeout_ms, config.policy.order),
        (2, 90_000, Order::Any)
    );
    assert_eq!(config.worker.concurrency, 3);
}

#[test]
fn a_server_has_the_cap_of_its_address_or_that_of_all() {
    let caps = |text: &str| {
        let (_dir, flags) = file(text);
        Config::load(&flags, &env_of(&[])).map(|config| config.caps)
    };
    let named = caps("[run]\nper-server = 8\n[servers.'db1:5432']\ncap = 4").unwrap();
    assert_eq!((named.of("db1:5432"), named.of("db2:5432")), (Some(4), Some(8)));
    assert_eq!(caps("[run]\nper-host = 8").unwrap().of("db1:5432"), Some(8));
    assert_eq!(caps("").unwrap().of("db1:5432"), None);
    for wrong in ["[run]\nper-server = 0", "[servers.'db1:5432']\ncap = -1", "[servers.'db1:5432']\nmax = 1"]
    {
        assert!(matches!(caps(wrong), Err(ConfigError::Invalid { .. })), "{wrong}");
    }
}
