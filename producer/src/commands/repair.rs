//! `repair`: tells what is wrong with tenants' histories, and mends one thing at a time, on purpose.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_shared::{
    exit::Exit,
    failure::Failure,
    fault::Fault,
    plan::{Refusal, mend::Mend},
    registry::Access,
    run::{ActionKind, Selection},
};
use tenantry_worker::{
    mend::{self, Foreseen},
    orders::Order,
};

use super::{each::each, selection};
use crate::{
    app::App,
    cli::{Global, How, RepairArgs},
    output::{Output, plural},
};

pub(crate) async fn run(global: &Global, args: RepairArgs, output: &Output) -> Result<Exit, Fault> {
    selection::must_be_given(&args.selection)?;
    let app = App::open(global).await?;
    let how = How::from(&args.limits);
    let (bundle, target) = selection::bundle(&app.config, &how)?;
    let selection = selection::selection(&app.ledger, args.selection).await?;
    let order = Arc::new(Order {
        bundle: bundle.into(),
        target,
        policy: selection::policy(&app.config, &how),
        action: ActionKind::Apply,
    });
    match args.what.mend() {
        None => tell(&app, &selection, &order, output).await,
        Some(one) => {
            let repair = Repair { app: &app, selection: &selection, order: &order, one };
            repair.run(args.yes, output).await
        }
    }
}

/// What is wrong with each tenant, and the commands that mend it.
async fn tell(app: &App, selection: &Selection, order: &Arc<Order>, output: &Output) -> Result<Exit, Fault> {
    let (mut documents, mut wrong, mut exit) = (Vec::new(), 0, Exit::Ok);
    let look = |order: Arc<Order>, access: Access| async move { mend::look(&order, &access).await };
    each(app, selection, order, look, |tenant, found| {
        if found.is_err() {
            exit = Exit::TenantsFailed;
        }
        if found.as_ref().map_or(true, |troubles| !troubles.is_empty()) {
            wrong += 1;
            if !output.is_json() {
                output.data(troubles_text(&tenant, &found, output.program()).trim_end());
            }
            documents.push(troubles_document(&tenant, &found));
        }
    })
    .await?;
    if output.is_json() {
        output.document(
            &json!({ "schema": "tenantry.repair/v1", "exit_code": exit.code(), "tenants": documents }),
        );
    } else if wrong == 0 {
        output.data("nothing is wrong with the histories");
    }
    Ok(exit)
}

/// A way out with this tenant in it.
fn way_out(hint: &str, tenant: &str) -> String {
    hint.replace("--tenant ID", &format!("--tenant {tenant}"))
}

fn troubles_text(tenant: &str, found: &Result<Vec<Refusal>, Failure>, program: &str) -> String {
    match found {
        Err(failure) => format!("{tenant}  cannot be looked at: {failure}\n"),
        Ok(troubles) => troubles
            .iter()
            .map(|trouble| {
                let hint = way_out(&trouble.hint(), tenant).replace("tenantry ", &format!("{program} "));
                format!("{tenant}  {}: {trouble}\n  {hint}\n", trouble.code())
            })
            .collect(),
    }
}

fn troubles_document(tenant: &str, found: &Result<Vec<Refusal>, Failure>) -> Value {
    let trouble = |trouble: &Refusal| {
        json!({
            "code": trouble.code(), "migration": trouble.version(), "message": trouble.to_string(),
            "hint": way_out(&trouble.hint(), tenant),
        })
    };
    let troubles: Vec<Value> = found.iter().flatten().map(trouble).collect();
    json!({ "tenant": tenant, "troubles": troubles, "error": found.as_ref().err().map(ToString::to_string) })
}

/// One mend of a selection.
struct Repair<'a> {
    app: &'a App,
    selection: &'a Selection,
    order: &'a Arc<Order>,
    one: Mend,
}

impl Repair<'_> {
    async fn run(self, yes: bool, output: &Output) -> Result<Exit, Fault> {
        let foreseen = self.foresee(output).await?;
        if foreseen.is_empty() {
            return Err(Fault::new(Exit::Refused, "there is nothing to mend")
                .with_hint("see what is wrong with: tenantry repair and the same tenants"));
        }
        let question = format!("Write this into the history of {}?", plural(foreseen.len() as u64, "tenant"));
        if !yes && !output.confirm(&question, "--yes")? {
            return Err(Fault::new(Exit::Usage, "nothing was changed"));
        }
        self.mend(&foreseen, output).await
    }

    /// What would be changed in which tenant. It is shown before anybody is asked.
    async fn foresee(&self, output: &Output) -> Result<Vec<(String, Vec<String>)>, Fault> {
        let one = self.one.clone();
        let look = move |order: Arc<Order>, access: Access| {
            let one = one.clone();
            async move { mend::foresee(&order, &access, &one).await }
        };
        let (mut foreseen, mut unseen) = (Vec::new(), 0);
        each(self.app, self.selection, self.order, look, |tenant, found| match found {
            Ok(Foreseen::Edits(edits)) => {
                for edit in &edits {
                    output.note(&format!("{tenant}  {edit}"));
                }
                foreseen.push((tenant, edits));
            }
            Ok(Foreseen::Nothing(why)) => output.note(&format!("{tenant}  nothing to mend: {why}")),
            Err(failure) => {
                unseen += 1;
                output.note(&format!("{tenant}  cannot be looked at: {failure}"));
            }
        })
        .await?;
        if unseen > 0 {
            return Err(Fault::new(
                Exit::TenantsFailed,
                format!("{} cannot be looked at; nothing was changed", plural(unseen, "tenant")),
            )
            .with_hint("mend that first, or leave them out with --exclude"));
        }
        Ok(foreseen)
    }

    async fn mend(&self, foreseen: &[(String, Vec<String>)], output: &Output) -> Result<Exit, Fault> {
        let key = self.app.key().await?;
        let labels = self.order.bundle.asks_for_labels();
        let (mut documents, mut exit) = (Vec::new(), Exit::Ok);
        for (tenant, edits) in foreseen {
            let slug =
                tenant.parse().map_err(|_| Fault::new(Exit::Error, format!("'{tenant}' is no tenant")))?;
            let id = self.app.registry.tenant(&slug).await?.id;
            let access = self.app.registry.access(&key, id, labels).await?;
            let (actor, what) = (selection::requested_by(), edits.join("; "));
            let forgets = matches!(self.one, Mend::Forget(_));
            self.app.ledger.note_repair(tenant, &actor, &what, forgets).await?;
            let mended = mend::apply(self.order, &access, &self.one, edits).await;
            if let Err(failure) = &mended {
                exit = Exit::TenantsFailed;
                output.fault(&Fault::new(Exit::TenantsFailed, format!("{tenant}: {failure}")));
            } else if !output.is_json() {
                output.data(&format!("{tenant}  mended: {}", edits.join("; ")));
            }
            documents.push(json!({
                "tenant": tenant, "edits": edits, "mended": mended.is_ok(), "error": mended.err().map(|f| f.to_string()),
            }));
        }
        if output.is_json() {
            output.document(
                &json!({ "schema": "tenantry.repair/v1", "exit_code": exit.code(), "tenants": documents }),
            );
        }
        Ok(exit)
    }
}
