//! One dedicated database: no registry, no queue, the same attempt.

use serde_json::json;
use tenantry_shared::{
    bundle::Scope,
    clock::{Stopwatch, chance},
    config::{Config, Env, dedicated_url},
    exit::Exit,
    failure::{Class, Failure},
    fault::Fault,
    place::DatabaseUrl,
    registry::Access,
    retry,
    run::{ActionKind, Back, Policy},
    tenant::Labels,
};
use tenantry_worker::{
    attempt::{Trail, attempt},
    orders::Order,
    revert,
};

use super::selection;
use crate::{
    cli::{DedicatedArgs, How},
    output::{Output, failure_line, ignored_files, short_duration},
};

/// Does to the one database what is asked for.
pub(crate) async fn run(one: One, output: &Output) -> Result<Exit, Fault> {
    let One { name, order, access } = one;
    output.ignored(&order.bundle);
    let watch = Stopwatch::start();
    let mut trail = Trail::default();
    let result = try_all(&order, &access, &mut trail, output).await;
    let exit = match &result {
        Ok(()) => Exit::Ok,
        Err((failure, 1)) if failure.refused && trail.steps.is_empty() => Exit::Refused,
        Err(_) => Exit::TenantsFailed,
    };
    let ended =
        Ended { exit, failure: result.err().map(|(failure, _)| failure), took_ms: watch.elapsed_ms() };
    tell(&name, &order, &trail, &ended, output);
    Ok(exit)
}

/// The one database, and what to do to it.
pub(super) struct One {
    pub(super) name: String,
    pub(super) order: Order,
    pub(super) access: Access,
}

/// What the flags and the environment name.
pub(super) fn one(config: &Config, named: &DedicatedArgs, how: &How, env: Env<'_>) -> Result<One, Fault> {
    let text = match &named.url_env {
        Some(name) => env(name).ok_or_else(|| Fault::usage(format!("the variable {name} is not set")))?,
        None => dedicated_url(env)?.ok_or_else(|| {
            Fault::usage("neither tenants nor a database are given")
                .with_hint("select tenants (--all, --tenant ID, …), or set DATABASE_URL, or name a variable with --url-env")
        })?,
    };
    let (bundle, target) = selection::bundle(config, how)?;
    let url = DatabaseUrl::parse(&text, &std::env::current_dir()?)?;
    let place = url.place(named.schema.as_deref())?;
    let name = place.schema.clone().unwrap_or_else(|| place.database.clone());
    let slug = "dedicated".parse().map_err(|_| Fault::new(Exit::Error, "no name"))?;
    let access = Access { slug, place, url, labels: Labels::new(), scope: Scope::Tenants };
    // There is nowhere to keep a fingerprint.
    let policy = Policy { fingerprint: false, ..selection::policy(config, how) };
    let order = Order { bundle: bundle.into(), target, policy, action: ActionKind::Apply };
    Ok(One { name, order, access })
}

/// Attempts until it succeeds, fails for good, or has been tried often enough. A failure comes with its attempt's
/// number: an earlier attempt may have changed something.
async fn try_all(
    order: &Order,
    access: &Access,
    trail: &mut Trail,
    output: &Output,
) -> Result<(), (Failure, u32)> {
    let (mut order, policy) = (order.clone(), &order.policy);
    let span = std::time::Duration::from_millis;
    let mut number = 1;
    loop {
        match once(&mut order, access, trail).await {
            Err(failure) if failure.class == Class::Transient && number < policy.max_attempts => {
                let delay =
                    retry::delay(number, span(policy.backoff_base_ms), span(policy.backoff_cap_ms), chance());
                output.note(&format!(
                    "attempt {number} of {}: {failure}; again in {delay:.1?}",
                    policy.max_attempts
                ));
                tokio::time::sleep(delay).await;
                number += 1;
            }
            result => return result.map_err(|failure| (failure, number)),
        }
    }
}

/// What "so many steps" are is decided once: an attempt that is made again goes as far as the first one meant to.
async fn once(order: &mut Order, access: &Access, trail: &mut Trail) -> Result<(), Failure> {
    if let ActionKind::Rollback { back: Back::Steps(_) } = &order.action {
        let plan = revert::fixed(order, access).await?;
        order.action = ActionKind::Rollback { back: Back::Exactly(plan) };
    }
    attempt(order, access, trail).await
}

struct Ended {
    exit: Exit,
    failure: Option<Failure>,
    took_ms: u64,
}

fn tell(name: &str, order: &Order, trail: &Trail, ended: &Ended, output: &Output) {
    let (failure, took_ms) = (ended.failure.as_ref(), ended.took_ms);
    if output.is_json() {
        return output.document(&json!({
            "schema": "tenantry.migrate/v1",
            "exit_code": ended.exit.code(),
            "action": order.action,
            "database": name,
            "target": order.target.to_string(),
            "from": trail.from,
            "to": trail.to,
            "applied": trail.steps,
            "ignored": ignored_files(&order.bundle),
            "duration_ms": took_ms,
            "error": failure.map(|f| json!({
                "class": f.class, "code": f.code, "message": f.message, "hint": f.hint, "refused": f.refused,
                "migration": f.version, "statement": f.statement, "line": f.line,
            })),
        }));
    }
    for step in &trail.steps {
        let (done, took) = (step.direction.done(), short_duration(step.duration_ms));
        output.data(&format!("{done:<7}  {}  {took}", step.file));
    }
    match failure {
        None => output.data(&format!(
            "{name} is at {} ({} {}, {})",
            if order.action.goes_forward() {
                &order.target
            } else {
                trail.to.as_ref().unwrap_or(&order.target)
            },
            trail.steps.len(),
            order.action.done(),
            short_duration(took_ms)
        )),
        Some(failure) => {
            let file = failure.version.as_ref().and_then(|v| order.bundle.get(v)).map(|m| m.file.as_str());
            let line = failure_line(file, failure.statement, &failure.code, &failure.message);
            let fault = Fault::new(ended.exit, format!("{name}: {line}"));
            output.fault(&Fault { hint: failure.hint.clone(), ..fault });
        }
    }
}
