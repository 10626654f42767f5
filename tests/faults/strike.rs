//! The faults themselves: each begins, lasts, and leaves everything as it was.

mod network;
mod processes;
mod runs;
mod servers;
mod strangers;

use std::sync::Arc;

use crate::{
    fleet::Fleet,
    producer::Followed,
    scene::Scene,
    script::{Event, Fault},
};

/// Waits for the event's moment and lets it happen. What it followed to an end, it gives back.
pub(crate) async fn strike(scene: Arc<Scene>, fleet: Arc<Fleet>, event: Event) -> Vec<Followed> {
    if !scene.until_progress(event.at).await {
        scene.violated(format!("the runs do not get as far as {} ‰", event.at));
        return Vec::new();
    }
    let Event { fault, lasts, mut dice, .. } = event;
    let dice = &mut dice;
    scene.note(format!("{} ({lasts:?})", fault.name()));
    let mut followed = Vec::new();
    let struck = match fault {
        Fault::KillWorker => processes::kill(&scene, dice).await,
        Fault::KillConductor => processes::kill_conductor(&scene).await,
        Fault::PauseWorker => processes::pause(&scene, dice, lasts).await,
        Fault::DrainWorker => processes::drain(&scene, dice).await,
        Fault::WrongClock => processes::set_clock(&scene, dice).await,
        Fault::KillProducer => runs::kill_producer(&scene, dice).await,
        Fault::TwoRuns => runs::second(&scene, &mut followed).await,
        Fault::PauseRun => runs::pause(&scene, lasts).await,
        Fault::CancelRun => runs::cancel(&scene, dice).await,
        Fault::DoubleJobs => runs::double_jobs(&scene, dice).await,
        Fault::CrashPostgres => servers::crash_postgres(&scene, lasts).await,
        Fault::CrashMariaDb => servers::crash_mariadb(&scene, lasts).await,
        Fault::CrashRegistry => servers::crash_registry(&scene, lasts).await,
        Fault::CrashQueue => servers::crash_queue(&scene, lasts, false).await,
        Fault::LoseQueue => servers::crash_queue(&scene, lasts, true).await,
        Fault::TakeConnections => servers::take_connections(&scene, dice, lasts).await,
        Fault::EndSessions => servers::end_sessions(&scene, dice, lasts).await,
        Fault::FillDisk => servers::fill_disk(&scene, lasts).await,
        Fault::CutNetwork => network::cut(&scene, dice, lasts).await,
        Fault::SlowNetwork => network::slow(&scene, dice, lasts).await,
        Fault::StillNetwork => network::still(&scene, dice, lasts).await,
        Fault::LoseAnswers => network::lose_answers(&scene, dice, lasts).await,
        Fault::HoldAdvisoryLock => strangers::advisory_lock(&scene, &fleet, dice, lasts).await,
        Fault::LockTable => strangers::lock_table(&scene, &fleet, dice, lasts).await,
        Fault::OpenTransaction => strangers::open_transaction(&scene, &fleet, dice, lasts).await,
        Fault::LockFile => strangers::lock_file(&scene, &fleet, dice, lasts).await,
    };
    match struck {
        Ok(()) => scene.count(fault.name()),
        Err(why) => scene.note(format!("{} did not come to be: {why}", fault.name())),
    }
    followed
}

/// Whether a fault came to be; why not.
type Struck = Result<(), String>;

/// An error in a text.
fn say(error: impl ToString) -> String {
    error.to_string()
}
