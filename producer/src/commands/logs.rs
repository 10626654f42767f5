//! `logs`: one tenant's attempts in a run.

use std::fmt::Write as _;

use serde_json::json;
use tenantry_shared::{
    clock::rfc3339,
    exit::Exit,
    fault::Fault,
    ledger::{AttemptRow, TargetQuery},
    run::Run,
    tenant::Slug,
};

use crate::{
    app::App,
    cli::LogsArgs,
    output::{Output, failure_line, short_duration},
};

pub(crate) async fn run(app: &App, args: &LogsArgs, output: &Output) -> Result<Exit, Fault> {
    let run = app.ledger.find_run(args.run).await?;
    let tenant = app.registry.tenant(&args.tenant).await?;
    let attempts = app.ledger.attempts(run.id, tenant.id).await?;
    if attempts.is_empty() {
        output.note(&nothing_done(app, &run, &tenant.slug, output).await?);
        if !output.is_json() {
            return Ok(Exit::Ok);
        }
    }
    let documents: Vec<_> = attempts.iter().map(document).collect();
    output.either(&json!({ "schema": "tenantry.logs/v1", "number": run.number, "tenant": tenant.slug, "attempts": documents }), || {
        attempts.iter().map(text).collect()
    });
    Ok(Exit::Ok)
}

/// Why there is no attempt.
async fn nothing_done(app: &App, run: &Run, tenant: &Slug, output: &Output) -> Result<String, Fault> {
    let query = TargetQuery { tenant: Some(tenant.to_string()), limit: 1, ..TargetQuery::default() };
    let Some(target) = app.ledger.targets(run.id, &query).await?.pop() else {
        return Ok(format!("{tenant} is not in run #{}", run.number));
    };
    if let Some(failed_in) = target.failed_in {
        return Ok(format!(
            "run #{} has not tried {tenant}, which failed in run #{failed_in}: see {} logs {failed_in} -t {tenant}",
            run.number,
            output.program()
        ));
    }
    if target.state == "current" {
        return Ok(format!(
            "run #{} has made no attempt at {tenant}: its history, read with those of many, had all",
            run.number
        ));
    }
    let why = target.message.map(|message| format!(": {message}")).unwrap_or_default();
    Ok(format!("run #{} has made no attempt at {tenant}, which is {}{why}", run.number, target.state))
}

fn took(attempt: &AttemptRow) -> u64 {
    u64::try_from(attempt.finished_at - attempt.started_at).unwrap_or(0)
}

fn text(attempt: &AttemptRow) -> String {
    let mut out = String::new();
    let head = (
        rfc3339(attempt.started_at),
        attempt.number,
        &attempt.outcome,
        short_duration(took(attempt)),
        &attempt.worker,
    );
    let _ = writeln!(out, "{}  attempt {}  {}  {}  {}", head.0, head.1, head.2, head.3, head.4);
    for step in &attempt.steps {
        let (done, took) = (step.direction.done(), short_duration(step.duration_ms));
        let _ = writeln!(out, "  {done:<7}  {}  {took}", step.file);
    }
    if let (Some(code), Some(message)) = (&attempt.code, &attempt.message) {
        let error = failure_line(attempt.version.as_deref(), attempt.statement, code, message);
        let line = attempt.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        let _ = writeln!(out, "  error    {error}{line}");
    }
    if let Some(hint) = &attempt.hint {
        let _ = writeln!(out, "  hint     {hint}");
    }
    for line in attempt.output.iter().flat_map(|output| output.lines()) {
        let _ = writeln!(out, "  | {line}");
    }
    out
}

fn document(attempt: &AttemptRow) -> serde_json::Value {
    json!({
        "attempt": attempt.number, "worker": attempt.worker, "outcome": attempt.outcome,
        "started_at": rfc3339(attempt.started_at), "finished_at": rfc3339(attempt.finished_at), "duration_ms": took(attempt),
        "applied": attempt.steps, "code": attempt.code, "message": attempt.message, "hint": attempt.hint,
        "migration": attempt.version, "statement": attempt.statement, "line": attempt.line, "output": attempt.output,
    })
}
