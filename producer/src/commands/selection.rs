//! From flags to a selection and a policy.

use std::{io::Read as _, path::Path, str::FromStr as _};

use serde_json::json;
use tenantry_shared::{
    bundle::{Bundle, Link},
    clock::millis,
    config::{Config, SetConfig, environment},
    exit::Exit,
    fault::Fault,
    ledger::Ledger,
    place::{DatabaseUrl, Place},
    registry::{RegistryError, read_sets},
    run::{Pick, Policy, Selection},
    summary::Counts,
    tenant::Slug,
    version::Version,
};

use crate::{
    app::App,
    cli::{How, NoTenants, SelectionArgs, Target},
    output::{Output, plural},
};

/// Whether any tenants are selected at all.
pub(crate) fn is_given(args: &SelectionArgs) -> bool {
    args.all
        || !args.tenants.is_empty()
        || args.tenants_file.is_some()
        || args.selector.is_some()
        || args.failed_in.is_some()
}

/// There is no implicit "all".
pub(crate) fn must_be_given(args: &SelectionArgs) -> Result<(), Fault> {
    if is_given(args) {
        return Ok(());
    }
    let hint = "say which: --all, --tenant ID, --tenants-file FILE, --selector EXPR or --failed-in RUN";
    Err(Fault::usage("no tenants are selected").with_hint(hint))
}

/// The selection that the flags ask for.
pub(crate) async fn selection(ledger: &Ledger, args: SelectionArgs) -> Result<Selection, Fault> {
    must_be_given(&args)?;
    let pick = if args.all {
        Pick::All
    } else if let Some(path) = &args.tenants_file {
        Pick::Tenants(read_names(path)?)
    } else if let Some(selector) = args.selector {
        Pick::Labels(selector)
    } else if let Some(run) = args.failed_in {
        Pick::FailedIn { run: ledger.find_run(run).await?.id, fingerprint: None, tenants: Vec::new() }
    } else {
        Pick::Tenants(args.tenants)
    };
    Ok(Selection { pick, exclude: args.exclude, limit: args.limit })
}

/// What was found for a selection. None: it chose nobody, and that is fine.
pub(crate) fn or_nobody<T>(
    found: Result<T, Fault>,
    no_tenants: NoTenants,
    output: &Output,
) -> Result<Option<T>, Fault> {
    match found {
        Err(fault) if fault.exit == Exit::NothingSelected && no_tenants != NoTenants::Fail => {
            if no_tenants == NoTenants::Warn {
                output.note(&format!("{fault}, nothing to do"));
            }
            if output.is_json() {
                output.document(&json!({
                    "schema": "tenantry.run/v1", "run": null, "number": null, "state": null,
                    "exit_code": Exit::Ok.code(), "counts": Counts::default(), "failures": [],
                }));
            }
            Ok(None)
        }
        found => found.map(Some),
    }
}

fn read_names(path: &Path) -> Result<Vec<Slug>, Fault> {
    let text = read_text(path)?;
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let slugs: Vec<Slug> = names
        .map(Slug::from_str)
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::usage(format!("{}: {e}", name_of(path))))?;
    if slugs.is_empty() {
        return Err(Fault::new(Exit::NothingSelected, format!("{} names no tenant", name_of(path))));
    }
    Ok(slugs)
}

/// A whole file, or standard input for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|content| text = content)
    };
    read.map_err(|e| Fault::usage(format!("{} cannot be read: {e}", name_of(path))))?;
    Ok(text)
}

/// What a person calls a file that a flag names.
pub(crate) fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// The configured migrations, or those of a directory that stands for the configured one.
pub(crate) fn migrations(config: &Config, source: Option<&Path>) -> Result<Bundle, Fault> {
    let variable = || config.named_directory.as_deref().map(|path| ("TENANTRY_MIGRATIONS", path));
    let Some((name, path)) = source.map(|path| ("--source", path)).or_else(variable) else {
        return Ok(read_sets(&config.sets)?);
    };
    if config.has_sets {
        let sets: Vec<&str> = config.sets.iter().map(|set| set.spec.name.as_str()).collect();
        let exit = if source.is_some() { Exit::Usage } else { Exit::Config };
        let message =
            format!("{name} names one directory, and the configuration has sets: {}", sets.join(", "));
        return Err(Fault::new(exit, message).with_hint(
            "leave it out and choose sets with --set NAME, or take another configuration with --config",
        ));
    }
    let alone = SetConfig { directories: vec![path.to_path_buf()], ..config.sets[0].clone() };
    Ok(read_sets(&[alone])?)
}

/// The bundle that the flags ask for, and the version to reach.
pub(crate) fn bundle(config: &Config, how: &How) -> Result<(Bundle, Version), Fault> {
    let bundle = migrations(config, how.source.as_deref())?.only(&how.sets).map_err(RegistryError::Sets)?;
    let target = match &how.target {
        None | Some(Target::Latest) => bundle.latest().version.clone(),
        Some(Target::Version(version)) if bundle.find(version).is_some() => version.clone(),
        Some(Target::Version(version)) => {
            let set = if config.has_sets { format!(" in set {}", first_set(&bundle)) } else { String::new() };
            let fault = Fault::usage(format!("there is no migration {version}{set}"));
            return Err(fault.with_hint(format!("the newest is {}", bundle.latest().version)));
        }
    };
    Ok((bundle, target))
}

/// The set whose versions a run is known by.
fn first_set(bundle: &Bundle) -> &str {
    let first = bundle.main().links.first().and_then(|link| link.sets.first());
    first.map(|set| bundle.sets()[*set].spec.name.as_str()).unwrap_or_default()
}

/// The central database as it is configured, where a run of the bundle begins with it. Nothing is written.
pub(crate) async fn central(app: &App, bundle: &Bundle) -> Result<Option<(DatabaseUrl, Place)>, Fault> {
    if !bundle.has_central() {
        return Ok(None);
    }
    let known = app.registry.central().await?;
    match &app.config.central {
        Some(central) => Ok(Some(central.resolve(&environment, &std::env::current_dir()?)?)),
        None if known.is_some() => Ok(None),
        None => Err(Fault::new(
            Exit::Config,
            "the migrations have a set for the central database, and there is no [central] with its url",
        )),
    }
}

/// The configured policy with what the flags say.
pub(crate) fn policy(config: &Config, how: &How) -> Policy {
    let configured = config.policy.clone();
    Policy {
        max_attempts: how.retries.unwrap_or(configured.max_attempts),
        lock_timeout_ms: how.lock_timeout.map_or(configured.lock_timeout_ms, millis),
        statement_timeout_ms: how.statement_timeout.map_or(configured.statement_timeout_ms, millis),
        order: how.order.unwrap_or(configured.order),
        fingerprint: configured.fingerprint && !how.no_fingerprint,
        ..configured
    }
}

/// Who asks: the CI's actor, or the user of this machine.
pub(crate) fn requested_by() -> String {
    let ci = environment("GITHUB_ACTOR")
        .or_else(|| environment("GITLAB_USER_LOGIN"))
        .or_else(|| environment("BUILD_USER"));
    ci.unwrap_or_else(|| {
        let user = environment("USER").or_else(|| environment("LOGNAME")).unwrap_or_else(|| "unknown".into());
        let host = hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{user}@{host}")
    })
}

/// Why: what was said, or where the CI job can be looked at.
pub(crate) fn reason(said: Option<String>) -> Option<String> {
    said.or_else(|| environment("CI_JOB_URL")).or_else(|| environment("BUILD_URL")).or_else(|| {
        let part = |name: &str| environment(name);
        let (server, repository, run) =
            (part("GITHUB_SERVER_URL")?, part("GITHUB_REPOSITORY")?, part("GITHUB_RUN_ID")?);
        Some(format!("{server}/{repository}/actions/runs/{run}"))
    })
}

/// Says what is going to be done.
pub(crate) fn announce(output: &Output, bundle: &Bundle, target: &Version) {
    let description = bundle.find(target).map(|m| m.description.as_str()).unwrap_or_default();
    let sets: Vec<&str> =
        bundle.sets().iter().filter(|set| set.chosen).map(|set| set.spec.name.as_str()).collect();
    let of_sets = if bundle.sets().len() > 1 { format!(" of {}", sets.join(", ")) } else { String::new() };
    let chosen = |link: &&Link| link.sets.iter().any(|set| bundle.sets()[*set].chosen);
    output.note(&format!(
        "target {target} {description}: {}{of_sets} in bundle {}",
        plural(
            bundle.chains().iter().flat_map(|chain| &chain.links).filter(chosen).count() as u64,
            "migration"
        ),
        &bundle.digest().as_str()[..12]
    ));
    output.ignored(bundle);
}
